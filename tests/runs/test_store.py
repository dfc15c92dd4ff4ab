from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spct.errors import StoreError
from spct.runs.database import connect_writer
from spct.runs.engines import call_keys
from spct.runs.store import Store
from spct.types import Completion, Example, Message
from tests.runs.nouns import params_of, prompt_of, reply_of, verdict_of

CONFIG = {"model": "judge-1", "k": 8, "template": "ab12"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def store(run: Path) -> Iterator[Store]:
    with Store.open(run, CONFIG) as store:
        yield store


async def judge(store: Store, example_id: str, position: int = 0) -> bytes:
    """Store a reply and the verdict on it; return the reply's key."""
    prompt = prompt_of(example_id)
    reply, [key] = reply_of(prompt, 1), call_keys("test", prompt, params_of(1))
    await store.put_replies(example_id, [(key, 1, reply)])
    await store.put_verdict(verdict_of(example_id, [(prompt, 1, reply)]), position=position)
    return key


def sql(run: Path, statement: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        return db.execute(statement, values).fetchall()


# --- rows ----------------------------------------------------------------------------------------


async def test_what_is_put_is_there_after_reopening(run: Path) -> None:
    with Store.open(run, CONFIG) as store:
        key = await judge(store, "a")
    with Store.open(run, CONFIG) as store:
        prompt = prompt_of("a")
        assert store.replies([key]) == {key: reply_of(prompt, 1)}
        assert set(store.finished_ids()) == {"a"}
        assert list(store.verdicts()) == [verdict_of("a", [(prompt, 1, reply_of(prompt, 1))])]
        assert store.counts() == {"calls": 1, "failed_calls": 0, "verdicts": 1, "quarantine": 0}


@pytest.mark.parametrize("example_id", ["", "\x00", "\ud800", "\ud83d\ude00", "a\x00b", "é" * 999])
async def test_any_id_is_stored_under_its_own_name(store: Store, example_id: str) -> None:
    await judge(store, "plain")
    await judge(store, example_id)
    assert set(store.finished_ids()) == {"plain", example_id}


async def test_verdicts_come_by_position_over_many_pages(store: Store) -> None:
    places = [(i * 7) % 200 for i in range(200)]
    await asyncio.gather(*(judge(store, f"id-{i}", place) for i, place in enumerate(places)))
    ids = [verdict.example_id for verdict in store.verdicts()]
    assert ids == [f"id-{i}" for i in sorted(range(200), key=places.__getitem__)]


async def test_equal_positions_come_by_id(store: Store) -> None:
    for example_id in ("c", "a", "b"):
        await judge(store, example_id)
    assert [verdict.example_id for verdict in store.verdicts()] == ["a", "b", "c"]


async def test_a_second_verdict_takes_the_first_ones_place(store: Store) -> None:
    await judge(store, "a")
    prompt = prompt_of("a")
    again = verdict_of("a", [(prompt, 2, reply_of(prompt, 2))])
    await store.put_verdict(again)
    assert list(store.verdicts()) == [again]


async def test_an_example_with_a_failed_call_is_not_finished(store: Store) -> None:
    prompt = prompt_of("a")
    failed = Completion("", "error", error="timed out")
    await store.put_verdict(
        verdict_of("a", [(prompt, 1, reply_of(prompt, 1)), (prompt, 2, failed)])
    )
    assert set(store.finished_ids()) == set()
    assert len(list(store.verdicts())) == 1


@pytest.mark.parametrize("finish", ["error", "content_filter"])
async def test_failures_and_refusals_are_kept_but_are_no_replies(store: Store, finish: Any) -> None:
    first = Completion("", finish, error="first")
    second = Completion("partial", finish, error="second")
    await store.put_replies("a", [(b"k", 1, first)])
    await store.put_replies("a", [(b"k", 1, second)])
    assert store.replies([b"k"]) == {}
    assert store.failures([b"k"]) == {b"k": second}
    assert store.counts()["failed_calls"] == 2


async def test_the_original_texts_are_kept_beside_a_verdict(store: Store) -> None:
    prompt = prompt_of("a")
    example = Example("a", (Message("user", "\\boxed{10}?"),), ("x", "y"), (1.0, 0.0))
    await store.put_verdict(verdict_of("a", [(prompt, 1, reply_of(prompt, 1))]), example)
    [record] = store.records()
    assert record["example"]["query"] == [{"role": "user", "content": "\\boxed{10}?"}]
    assert record["example"]["gold"] == [1.0, 0.0]


async def test_a_thousand_puts_at_once_are_all_there(store: Store) -> None:
    await asyncio.gather(*(judge(store, f"id-{i}") for i in range(1000)))
    assert len(set(store.finished_ids())) == 1000
    assert store.counts()["calls"] == 1000


async def test_a_commit_that_fails_leaves_nothing_and_the_next_one_works(store: Store) -> None:
    reply = Completion("x")
    with pytest.raises(StoreError):
        await store.put_replies("a", [(b"k1", 1, reply), (b"k2", 2**70, reply)])
    assert store.replies([b"k1", b"k2"]) == {}
    await store.put_replies("a", [(b"k1", 1, reply)])
    assert store.replies([b"k1"]) == {b"k1": reply}


async def test_a_cancelled_put_is_written_all_the_same(run: Path) -> None:
    with Store.open(run, CONFIG) as store:
        put = asyncio.create_task(store.put_replies("a", [(b"k", 1, Completion("paid for"))]))
        await asyncio.sleep(0)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
    with Store.open(run, CONFIG) as store:
        assert store.replies([b"k"]) == {b"k": Completion("paid for")}


def test_a_store_outlives_event_loops(run: Path) -> None:
    with Store.open(run, CONFIG) as store:
        for example_id in ("a", "b"):
            with pytest.raises(TimeoutError):  # leaves the loop with a row that still waits
                asyncio.run(asyncio.wait_for(judge(store, f"cut-{example_id}"), 0.001))
            asyncio.run(judge(store, example_id))
        assert set(store.finished_ids()) == {"a", "b"}
        assert store.counts()["calls"] == 4


async def test_a_closed_store_refuses_writes(run: Path) -> None:
    store = Store.open(run, CONFIG)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        await judge(store, "a")


# --- reading beside the writer ------------------------------------------------------------------


async def test_a_reader_sees_what_is_committed_while_the_writer_works(
    run: Path, store: Store
) -> None:
    await judge(store, "a")
    with Store.read(run) as reader:
        assert set(reader.finished_ids()) == {"a"}
        await judge(store, "b")
        assert set(reader.finished_ids()) == {"a", "b"}
        assert reader.config == CONFIG
        with pytest.raises(StoreError, match="open for reading"):
            await judge(reader, "c")


def test_reading_a_run_that_is_not_there_names_the_file(run: Path) -> None:
    with pytest.raises(StoreError, match=r"expected the file .*run\.db"):
        Store.read(run)
    assert not run.exists()


# --- one writer ----------------------------------------------------------------------------------

HOLDER = "import sys, time; from spct.runs.store import Store; s = Store.open(sys.argv[1], {});"


def test_a_second_process_is_refused_with_the_pid_of_the_first(run: Path) -> None:
    with Store.open(run, {}):
        second = subprocess.run(
            [sys.executable, "-c", HOLDER, str(run)], capture_output=True, text=True
        )
    assert second.returncode == 1
    assert f"in use by process {os.getpid()};" in second.stderr


def test_a_second_store_of_one_process_is_refused(run: Path, store: Store) -> None:
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        Store.open(run, CONFIG)


def test_the_lock_dies_with_its_holder(run: Path) -> None:
    code = HOLDER + "print('open', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}"):
            Store.open(run, {})
        holder.kill()
    Store.open(run, {}).close()


def test_a_refused_opening_leaves_the_run_unlocked(run: Path, store: Store) -> None:
    store.close()
    with pytest.raises(StoreError):
        Store.open(run, {"k": 1})
    Store.open(run, CONFIG).close()


# --- the config of a run ------------------------------------------------------------------------


async def test_another_config_is_refused_and_every_difference_named(run: Path) -> None:
    with Store.open(run, CONFIG) as store:
        await judge(store, "a")
    with pytest.raises(StoreError) as caught:
        Store.open(run, {"model": "judge-2", "k": 8, "seed": 3})
    message = str(caught.value)
    assert "  model: was 'judge-1', now 'judge-2'\n" in message
    assert "  seed: was (absent), now 3\n" in message
    assert "  template: was 'ab12', now (absent)\n" in message
    assert "k:" not in message
    assert "--fresh" in message and "--accept-drift" in message
    assert caught.value.exit_code == 5


async def test_accepted_drift_keeps_what_is_finished(run: Path) -> None:
    with Store.open(run, CONFIG) as store:
        await judge(store, "a")
    other = {**CONFIG, "k": 16}
    with Store.open(run, other, accept_drift=True) as store:
        assert set(store.finished_ids()) == {"a"}
    with Store.open(run, other) as store:
        assert store.config == other
    assert [json for (json,) in sql(run, "SELECT config FROM configs")] == [
        '{"k": 8, "model": "judge-1", "template": "ab12"}',
        '{"k": 16, "model": "judge-1", "template": "ab12"}',
    ]


async def test_fresh_starts_over_and_sets_the_old_run_aside(run: Path) -> None:
    for number in range(3):
        with Store.open(run, {"number": number}, fresh=True) as store:
            assert set(store.finished_ids()) == set()
            await judge(store, f"a{number}")
    assert sorted(p.name for p in run.glob("*.db*")) == ["run-1.db", "run-2.db", "run.db"]
    (run / "run-1.db").replace(run / "run.db")
    with Store.open(run, {"number": 0}) as store:
        assert set(store.finished_ids()) == {"a0"}


@pytest.mark.parametrize(("durable", "synchronous"), [(False, 1), (True, 2)])
def test_a_durable_store_waits_for_the_disk(
    tmp_path: Path, durable: bool, synchronous: int
) -> None:
    with closing(connect_writer(tmp_path / "run.db", durable)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_the_owner_can_read_a_run(run: Path, store: Store) -> None:
    assert run.stat().st_mode & 0o777 == 0o700
    assert (run / "run.db").stat().st_mode & 0o777 == 0o600
