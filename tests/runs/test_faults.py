"""Kills, signals, full disks and damage: nothing acknowledged is lost, nothing paid for twice."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spct.errors import StoreError
from spct.runs.engines import call_keys
from spct.runs.export import export
from spct.runs.store import Store
from tests.runs.conftest import Endpoint
from tests.runs.nouns import params_of, prompt_of, reply_of, verdict_of
from tests.runs.worker import IN_FLIGHT, SEEDS, digest_of


def start(folder: Path, log: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.runs.worker", str(folder), str(log), *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, log: Path, *flags: str) -> tuple[int, str]:
    with start(folder, log, *flags) as process:
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def events(log: Path, kind: str) -> Counter[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} "))


def n_drawn(log: Path) -> int:
    return log.read_bytes().count(b"drawn ") if log.exists() else 0


def check_acknowledged(folder: Path, log: Path, fingerprint: str = "test") -> None:
    """Every reply and verdict that was acknowledged is in the store, as it was given."""
    with Store.open(folder, {}) as store:
        assert events(log, "verdict").keys() <= set(store.finished_ids())
        for event in events(log, "reply"):
            example_id, seed, digest = event.split()
            order = next(order for order, seeds in SEEDS.items() if int(seed) in seeds)
            prompt = prompt_of(example_id, order)
            [key] = call_keys(fingerprint, prompt, params_of(int(seed)))
            assert digest_of(store.replies([key])[key]) == digest
        assert store.counts()["quarantine"] == 0


def exported(folder: Path) -> bytes:
    path = folder.with_suffix(".jsonl")
    with Store.open(folder, {}) as store:
        export(store, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run of 200 examples exports when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert finish(folder, folder.with_suffix(".log")) == (0, "")
    return exported(folder)


# --- kills ---------------------------------------------------------------------------------------


def kill_often(tmp_path: Path, kills: int, examples: int, dice: random.Random) -> Path:
    """Kill a run at random moments, check it after each, then let it finish; return its folder."""
    folder, log = tmp_path / "run", tmp_path / "run.log"
    for kill in range(kills + 1):
        drawn = events(log, "drawn")
        acknowledged = {event.rpartition(" ")[0] for event in events(log, "reply")}
        if kill == kills:
            assert finish(folder, log, f"--examples={examples}") == (0, "")
        else:
            with start(folder, log, f"--examples={examples}") as process:
                wait_a_while(process, log, dice, 6 * examples // kills)
                process.kill()
        again = (events(log, "drawn") - drawn).keys()
        assert not again & acknowledged
        check_acknowledged(folder, log)
    repeated = sum(events(log, "drawn").values()) - 4 * examples
    assert repeated <= kills * IN_FLIGHT * 2  # a call in flight is two samples of one prompt
    return folder


def wait_a_while(process: subprocess.Popen[str], log: Path, dice: random.Random, most: int) -> None:
    """Wait for a number of calls, or for a time that may fall into the opening of the store."""
    if dice.random() < 0.3:
        time.sleep(dice.uniform(0, 0.3))
        return
    enough = n_drawn(log) + dice.randrange(most)
    while process.poll() is None and n_drawn(log) <= enough:
        time.sleep(0.002)


def check_whole(folder: Path, examples: int) -> None:
    with closing(sqlite3.connect(folder / "run.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counts = db.execute(
            "SELECT count(*), count(DISTINCT key), (SELECT count(*) FROM verdicts) FROM calls"
        )
        assert counts.fetchall() == [(4 * examples, 4 * examples, examples)]


def test_twenty_kills_lose_nothing_and_repeat_at_most_what_was_in_flight(
    tmp_path: Path, undisturbed: bytes
) -> None:
    folder = kill_often(tmp_path, kills=20, examples=200, dice=random.Random(2))
    check_whole(folder, 200)
    assert exported(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    folder = kill_often(tmp_path, kills=100, examples=1000, dice=random.Random(seed))
    check_whole(folder, 1000)


def test_kills_of_a_client_repeat_at_most_the_requests_in_flight(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    folder, log, kills = tmp_path / "run", tmp_path / "run.log", 3
    flags = ("--examples=150", f"--base-url={endpoint.url}")
    for kill in range(kills):
        with start(folder, log, *flags) as process:
            while process.poll() is None and endpoint.stats()["calls"] < 80 * (kill + 1):
                time.sleep(0.002)
            process.kill()
        check_acknowledged(folder, log, f"openai:mock-judge@{endpoint.url}")
    assert finish(folder, log, *flags) == (0, "")
    check_whole(folder, 150)
    served = endpoint.stats()
    assert served["distinct_calls"] == 2 * 150
    assert served["repeated_calls"] <= kills * IN_FLIGHT


def test_sigterm_ends_after_a_clean_flush_and_repeats_no_call(
    tmp_path: Path, undisturbed: bytes
) -> None:
    folder, log = tmp_path / "run", tmp_path / "run.log"
    for _ in range(3):
        with start(folder, log, "--examples=200") as process:
            enough = n_drawn(log) + 100
            while process.poll() is None and n_drawn(log) <= enough:
                time.sleep(0.002)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 143
        assert not (folder / "run.db-wal").exists()  # closed, not killed
        check_acknowledged(folder, log)
    assert finish(folder, log) == (0, "")
    assert max(events(log, "drawn").values()) == 1
    assert exported(folder) == undisturbed


# --- storage that refuses ------------------------------------------------------------------------


def test_a_quota_ends_the_run_with_code_5_and_more_room_continues_it(
    tmp_path: Path, undisturbed: bytes
) -> None:
    folder, log = tmp_path / "run", tmp_path / "run.log"
    code, message = finish(folder, log, "--file-size=150000")
    assert code == 5
    assert re.search(r"cannot write to .*run\.db.*SQLITE_(FULL|IOERR).*same command", message)
    assert len(events(log, "reply")) > 10
    check_acknowledged(folder, log)
    assert finish(folder, log) == (0, "")
    check_whole(folder, 200)
    assert exported(folder) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of one megabyte, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here: needs root and CAP_SYS_ADMIN")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


async def put_until_full(store: Store, done: list[str]) -> None:
    for number in range(len(done), len(done) + 3000):
        prompt = prompt_of(f"id-{number}")
        await store.put_verdict(verdict_of(prompt.example_id, [(prompt, 1, reply_of(prompt, 1))]))
        done.append(prompt.example_id)


async def test_a_full_disk_is_survived_by_the_same_store_once_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spct.runs.commit.LINGER_S", 0)
    done: list[str] = []
    with Store.open(small_disk / "run", {}) as store:
        with pytest.raises(StoreError, match=r"disk is full \(SQLITE_FULL\); free some space"):
            await put_until_full(store, done)
        assert len(done) > 30
        assert set(store.finished_ids()) == set(done)
        remount(small_disk, "size=20m")
        await put_until_full(store, done)
    with Store.open(small_disk / "run", {}) as store:
        assert set(store.finished_ids()) == set(done)


async def test_a_full_disk_can_still_be_closed_and_read(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spct.runs.commit.LINGER_S", 0)
    done: list[str] = []
    with Store.open(small_disk / "run", {}) as store, pytest.raises(StoreError):
        await put_until_full(store, done)
    with Store.read(small_disk / "run") as store:
        assert set(store.finished_ids()) == set(done)


async def test_a_disk_that_turns_read_only_is_named(small_disk: Path) -> None:
    Store.open(small_disk / "run", {}).close()
    remount(small_disk, "ro")
    with pytest.raises(StoreError, match="Read-only file system"):
        Store.open(small_disk / "run", {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make the run folder .*file/run: .*directory"):
        Store.open(tmp_path / "file" / "run", {})


# --- damage --------------------------------------------------------------------------------------


async def filled(folder: Path, rows: int = 60) -> dict[bytes, str]:
    """Fill a run; return the reply's text under each key."""
    written = {}
    with Store.open(folder, {}) as store:
        for i in range(rows):
            prompt = prompt_of(f"id-{i}")
            reply, [key] = reply_of(prompt, 1), call_keys("test", prompt, params_of(1))
            written[key] = reply.text
            put = store.put_verdict(verdict_of(f"id-{i}", [(prompt, 1, reply)]), position=i)
            await asyncio.gather(store.put_replies(f"id-{i}", [(key, 1, reply)]), put)
    return written


def edit(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "run.db")) as db, db:
        assert db.execute(statement).rowcount == 1


async def test_an_edited_reply_is_quarantined_and_drawn_again(tmp_path: Path) -> None:
    key, *others = await filled(tmp_path, 2)
    edit(tmp_path, "UPDATE calls SET payload = replace(payload, '8, 5', '9, 5') WHERE rowid = 1")
    with Store.open(tmp_path, {}) as store:
        assert store.replies([key, *others]).keys() == set(others)
        assert store.n_damaged == 1
        assert store.counts() == {"calls": 1, "failed_calls": 0, "verdicts": 2, "quarantine": 1}
        await store.put_replies("id-0", [(key, 1, reply_of(prompt_of("id-0"), 1))])
        assert store.replies([key]) == {key: reply_of(prompt_of("id-0"), 1)}


EDITS = {
    "id": "UPDATE verdicts SET example_id = CAST('id-9' AS BLOB) WHERE rowid = 1",
    "position": "UPDATE verdicts SET position = 9 WHERE rowid = 1",
    "n_failed": "UPDATE verdicts SET n_failed = 1 WHERE rowid = 1",
    "payload": "UPDATE verdicts SET payload = payload || x'00' WHERE rowid = 1",
    "swap": "UPDATE verdicts SET payload = (SELECT payload FROM verdicts WHERE rowid = 2),"
    " checksum = (SELECT checksum FROM verdicts WHERE rowid = 2) WHERE rowid = 1",
    "checksum": "UPDATE verdicts SET checksum = x'00' WHERE rowid = 1",
    "payload type": "UPDATE verdicts SET payload = 7 WHERE rowid = 1",
    "id type": "UPDATE verdicts SET example_id = CAST(x'ff' AS TEXT) WHERE rowid = 1",
}


@pytest.mark.parametrize("what", EDITS)
async def test_an_edited_verdict_is_quarantined_and_to_be_done_again(
    tmp_path: Path, what: str
) -> None:
    await filled(tmp_path, 3)
    edit(tmp_path, EDITS[what])
    with Store.open(tmp_path, {}) as store:
        assert set(store.finished_ids()) == {"id-1", "id-2"}
        assert store.counts()["quarantine"] == 1
        assert store.n_damaged == 1


async def test_damage_is_left_out_of_an_export_and_counted(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    edit(tmp_path, EDITS["payload"])
    with Store.read(tmp_path) as reader:  # only looks: it moves nothing
        assert export(reader, tmp_path / "out.jsonl") == 2
        assert (reader.n_damaged, reader.counts()["quarantine"]) == (1, 0)
    with Store.open(tmp_path, {}) as store:
        assert export(store, tmp_path / "out.jsonl") == 2
        assert store.counts()["quarantine"] == 1


async def test_no_flipped_byte_is_ever_read_as_a_reply(tmp_path: Path) -> None:
    written = await filled(tmp_path / "run")
    whole = (tmp_path / "run" / "run.db").read_bytes()
    dice = random.Random(5)
    outcomes: Counter[str] = Counter()
    for _ in range(100):
        flipped = bytearray(whole)
        flipped[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        (tmp_path / "run" / "run.db").write_bytes(flipped)
        try:
            with Store.open(tmp_path / "run", {}) as store:
                found = store.replies(list(written))
                verdicts = list(store.verdicts())
        except StoreError:
            outcomes["refused"] += 1
            continue
        assert all(written[key] == reply.text for key, reply in found.items())
        for verdict in verdicts:
            prompt = prompt_of(verdict.example_id)
            assert verdict == verdict_of(verdict.example_id, [(prompt, 1, reply_of(prompt, 1))])
        outcomes["redone" if len(found) + len(verdicts) < 2 * len(written) else "harmless"] += 1
    assert outcomes["redone"] > 30  # most of the file is payload


async def test_a_torn_log_loses_only_whole_commits_from_its_end(tmp_path: Path) -> None:
    with Store.open(tmp_path / "run", {}) as store:
        keys = []
        for i in range(40):
            prompt = prompt_of(f"id-{i}")
            keys += call_keys("test", prompt, params_of(1))
            await store.put_replies(f"id-{i}", [(keys[-1], 1, reply_of(prompt, 1))])
        db, wal = ((tmp_path / "run" / name).read_bytes() for name in ("run.db", "run.db-wal"))
    (tmp_path / "torn").mkdir()
    sizes = set()
    for share in range(0, 101, 5):
        for name in ("run.db-shm", "run.db-wal", "run.db"):
            (tmp_path / "torn" / name).unlink(missing_ok=True)
        (tmp_path / "torn" / "run.db").write_bytes(db)
        (tmp_path / "torn" / "run.db-wal").write_bytes(wal[: len(wal) * share // 100])
        with Store.open(tmp_path / "torn", {}) as store:
            found = store.replies(keys)
            assert list(found) == keys[: len(found)]
            assert [r.text for r in found.values()] == [
                reply_of(prompt_of(f"id-{i}"), 1).text for i in range(len(found))
            ]
            assert store.n_damaged == 0
        sizes.add(len(found))
    assert {0, 40} < sizes


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be read" * 50, b"\0" * 5000]
)
def test_a_file_that_is_no_database_is_refused_and_fresh_sets_it_aside(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "run.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"SQLITE_(NOTADB|CORRUPT).*recover.*--fresh"):
        Store.open(tmp_path, {})
    Store.open(tmp_path, {}, fresh=True).close()
    assert (tmp_path / "run-1.db").read_bytes() == content


@pytest.mark.parametrize("config", ["CAST(x'ff' AS TEXT)", "'{'", "'7'", "x'00'"])
async def test_a_damaged_config_is_named_and_what_is_finished_can_be_kept(
    tmp_path: Path, config: str
) -> None:
    await filled(tmp_path, 2)
    edit(tmp_path, f"UPDATE configs SET config = {config}")
    for opening in (lambda: Store.open(tmp_path, {}), lambda: Store.read(tmp_path)):
        with pytest.raises(StoreError, match=r"config stored in run\.db is damaged.*accept-drift"):
            opening()
    with Store.open(tmp_path, {}, accept_drift=True) as store:
        assert set(store.finished_ids()) == {"id-0", "id-1"}


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path, {}).close()
    edit_version = "PRAGMA user_version = 99"
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.execute(edit_version)
    for opening in (lambda: Store.open(tmp_path, {}), lambda: Store.read(tmp_path)):
        with pytest.raises(StoreError, match="schema version is 99, this spct reads"):
            opening()


def test_somebody_elses_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "run.db")) as db, db:
        db.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(StoreError, match="schema version is 0"):
        Store.open(tmp_path, {})
    assert (tmp_path / "run.db").read_bytes() == before
