"""Run folders from elsewhere: another version's, damaged ones, and those made to mislead."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spct.core.settle import settle
from spct.errors import StoreError
from spct.runs import rows
from spct.runs.codec import BadRecord, dump_verdict, encode, load_verdict
from spct.runs.export import export
from spct.runs.rows import as_means, checksum_of, unpack
from spct.runs.store import Store
from spct.types import Judgement, Verdict
from spct.votes.vote import mean_scores, meta_top
from tests.runs.nouns import prompt_of, reply_of, verdict_of

IDS = ("id-0", "id-1")


def verdict(example_id: str) -> Verdict:
    prompt = prompt_of(example_id)
    drawn = verdict_of(example_id, [(prompt, seed, reply_of(prompt, seed)) for seed in (1, 2)])
    return settle(example_id, drawn.trajectories, mean_scores, 2)


async def filled(folder: Path) -> None:
    with Store.open(folder, {}) as store:
        for place, example_id in enumerate(IDS):
            await store.put_verdict(verdict(example_id), position=place)


def plant(folder: Path, payload: bytes, example_id: str = IDS[0]) -> None:
    """Put a payload in a verdict's row, with the checksum that goes with it."""
    key = example_id.encode()
    with closing(sqlite3.connect(folder / "run.db")) as db, db:
        (place, n_failed) = db.execute(
            "SELECT position, n_failed FROM verdicts WHERE example_id = ?", (key,)
        ).fetchone()
        found = checksum_of(key, payload, place, n_failed)
        db.execute(
            "UPDATE verdicts SET payload = ?, checksum = ? WHERE example_id = ?",
            (payload, found, key),
        )


def changed(**changes: Any) -> bytes:
    return zlib.compress(encode({**dump_verdict(verdict(IDS[0])), **changes}), 1)


def of_first(change: Callable[[dict[str, Any]], Any]) -> bytes:
    record = dump_verdict(verdict(IDS[0]))
    change(record["trajectories"][0])
    return zlib.compress(encode(record), 1)


BOMB = zlib.compress(b'{"a": "' + b" " * 2**23 + b'"}', 9)
PAYLOADS: dict[str, bytes] = {
    "not deflated": b"hello",
    "cut off": changed()[:-9],
    "more behind it": changed()[:-4] + b"\0\0\0\0",
    "not JSON": zlib.compress(b"hello"),
    "not UTF-8": zlib.compress(b'{"id": "\xff"}'),
    "too deep": zlib.compress(b"[" * 200_000),
    "a bare number": zlib.compress(b"1"),
    "a list": zlib.compress(b"[]"),
    "NaN": zlib.compress(encode(dump_verdict(verdict(IDS[0]))).replace(b"8.0", b"NaN")),
    "too large a number": zlib.compress(
        encode(dump_verdict(verdict(IDS[0]))).replace(b"8.0", b"1e999")
    ),
    "rewards are words": changed(rewards="high"),
    "rewards of another number": changed(rewards=[1.0, 2.0, 3.0]),
    "another example": changed(id=IDS[1]),
    "the best is nobody": changed(best=[7]),
    "a count that is not so": changed(k_drawn=9),
    "no trajectories": changed(trajectories=None),
    "no prompt": changed(prompts=[]),
    "an example of another id": changed(
        example={"id": "x", "query": [], "responses": [], "gold": None, "reference": None}
    ),
    "a prompt counted from the end": of_first(lambda t: t.update(prompt=-1)),
    "an outcome of both kinds": of_first(lambda t: t.update(unscored={"reason": "bored"})),
    "text that is a number": of_first(lambda t: t.update(text=7)),
    "a finish that nobody says": of_first(lambda t: t.update(finish_reason="bored")),
    "log probabilities of another shape": of_first(lambda t: t.update(logprobs=[1])),
    "a key that is missing": of_first(lambda t: t.pop("seed")),
}


@pytest.mark.parametrize("what", PAYLOADS)
async def test_a_row_that_is_not_a_verdict_is_left_out_and_counted(
    tmp_path: Path, what: str
) -> None:
    await filled(tmp_path)
    plant(tmp_path, PAYLOADS[what])
    for name in ("out.jsonl", "out.parquet", "out.csv"):
        with Store.read(tmp_path) as store:
            assert export(store, tmp_path / name) == 1
            assert store.n_damaged == 1
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == IDS[1]
    with Store.open(tmp_path, {}) as store:  # and once it was read, its example is judged again
        assert [v.example_id for v in store.verdicts()] == [IDS[1]]
        assert set(store.finished_ids()) == {IDS[1]}
        assert store.counts()["quarantine"] == 1


async def test_what_inflates_without_end_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_INFLATED", 2**16)
    await filled(tmp_path)
    plant(tmp_path, BOMB)
    tracemalloc.start()
    try:
        with Store.read(tmp_path) as store:
            assert [v.example_id for v in store.verdicts()] == [IDS[1]]
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


async def test_a_payload_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    await filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "run.db")) as db, db:
        db.execute("UPDATE verdicts SET payload = zeroblob(100000000) WHERE rowid = 1")
    with Store.read(tmp_path) as store:
        assert [v.example_id for v in store.verdicts()] == [IDS[1]]


async def test_a_verdict_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_INFLATED", 100)
    why = r"cannot store the verdict on 'id-0': it is \d+ bytes"
    with Store.open(tmp_path, {}) as store, pytest.raises(StoreError, match=why):
        await store.put_verdict(verdict(IDS[0]))


def test_numbers_that_no_request_can_have_are_not_believed() -> None:
    record = dump_verdict(verdict(IDS[0]))
    record["usage"]["prompt_tokens"] = 2**63
    record["trajectories"][0]["usage"]["completion_tokens"] = -1
    read = load_verdict(record)
    assert read.usage.prompt_tokens == 0
    assert read.trajectories[0].completion.usage.completion_tokens == 0


def test_unpacking_says_what_is_wrong() -> None:
    with pytest.raises(BadRecord, match="not deflated"):
        unpack(b"hello")
    with pytest.raises(BadRecord, match="cut off, or inflates"):
        unpack(PAYLOADS["cut off"])


# --- runs of spct 0.1.0 --------------------------------------------------------------------------


def summed(example_id: str) -> dict[str, Any]:
    """A record as 0.1.0 wrote it: rewards are the sums of the scores."""
    record = dump_verdict(verdict(example_id))
    record["rewards"] = [16.0, 10.0]
    return record


async def made_old(folder: Path) -> None:
    await filled(folder)
    for example_id in IDS:
        plant(folder, zlib.compress(encode(summed(example_id)), 1), example_id)
    with closing(sqlite3.connect(folder / "run.db")) as db, db:
        db.execute("PRAGMA user_version = 1")


async def test_the_sums_of_an_old_run_are_read_as_means(tmp_path: Path) -> None:
    await made_old(tmp_path)
    with Store.read(tmp_path) as store:
        assert list(store.verdicts()) == [verdict(example_id) for example_id in IDS]
        assert [record["rewards"] for record in store.records()] == [[8.0, 5.0]] * 2


async def test_an_old_run_that_goes_on_is_rewritten_once(tmp_path: Path) -> None:
    await made_old(tmp_path)
    for _ in range(2):
        with Store.open(tmp_path, {}) as store:
            assert list(store.verdicts()) == [verdict(example_id) for example_id in IDS]
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_sum_over_the_best_half_is_divided_by_its_half() -> None:
    scores = [(9.0, 1.0), (2.0, 8.0), (7.0, 7.0), (3.0, 4.0)]
    prompt = prompt_of("a")
    drawn = verdict_of("a", [(prompt, seed, reply_of(prompt, seed)) for seed in range(4)])
    trajectories = [
        replace(t, outcome=Judgement((), "", row), meta_score=float(-i))
        for i, (t, row) in enumerate(zip(drawn.trajectories, scores, strict=True))
    ]
    now = settle("a", trajectories, meta_top(), 4)
    old = {**dump_verdict(now), "rewards": [11.0, 9.0]}  # of the first two
    assert as_means(old)["rewards"] == list(now.rewards or ()) == [5.5, 4.5]


def test_what_were_means_stay_as_they_are() -> None:
    record = dump_verdict(verdict("a"))
    assert as_means(record) == record
    assert as_means({**record, "rewards": None})["rewards"] is None
