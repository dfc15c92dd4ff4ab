"""`--shard i/n` and `spct merge`: the shards of a run are the run of a single process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.errors import ConfigError
from spct.runs.folder import RunLock
from spct.runs.shards import Shard
from spct.types import Example, Message
from tests.fuzz.scale import endpoints as kills_of_endpoints
from tests.fuzz.scale import shards


def rows_in(folder: Path, n: int, name: str = "rows") -> Path:
    file = folder / f"{name}.jsonl"
    rows = [{"id": f"e{i}", "query": f"Tide {i}?", "responses": ["ebb", "flood"]} for i in range(n)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def export(run: Any, folder: Path) -> str:
    code, out, _ = run("export", folder)
    assert code == 0
    return str(out)


@pytest.fixture
def sharded(run: Any, tmp_path: Path) -> Any:
    """Four shards of forty rows, judged by the scripted engine."""
    rows = rows_in(tmp_path, 40)

    def sample(folder: str, *flags: Any) -> Path:
        args = ["sample", rows, "--engine", "scripted", "-k", "2", "--progress", "none"]
        code, _, err = run(*args, "-o", tmp_path / folder, *flags)
        assert code == 0, err
        return tmp_path / folder

    sample.parts = [sample(f"s{i}", "--shard", f"{i}/4") for i in range(1, 5)]  # type: ignore[attr-defined]
    return sample


def test_merged_shards_are_the_run_of_a_single_process(
    run: Any, tmp_path: Path, sharded: Any
) -> None:
    whole = sharded("whole")
    code, out, err = run("merge", *reversed(sharded.parts), "-o", tmp_path / "merged")
    assert code == 0 and out.strip() == str(tmp_path / "merged"), err
    assert export(run, tmp_path / "merged") == export(run, whole)
    sharded("merged")  # the same command without shards goes on with it, and has nothing to do
    code, _, err = run("rescore", tmp_path / "merged", "--vote", "majority")
    assert code == 0, err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.parts[:3], "3 of 4 shards are there, missing: 4/4; name their runs too"),
        (lambda s: [*s.parts, s("again", "--shard", "2/4")], "the shard 2/4 is there 2 times"),
        (lambda s: [*s.parts[:3], s("whole")], "it is no shard"),
        (lambda s: [*s.parts[:3], s("other", "--shard", "4/4", "--seed", "1")], "another run than"),
        (lambda s: [*s.parts[:3], s("other", "--shard", "4/5")], "shards of [4, 5]"),
        (lambda s: [*s.parts[:3], s("less", "--shard", "4/4", "--limit", "39")], "data:"),
    ],
)
def test_a_merge_that_is_not_the_whole_run_is_refused(
    run: Any, tmp_path: Path, sharded: Any, change: Any, said: str
) -> None:
    code, _, err = run("merge", *change(sharded), "-o", tmp_path / "merged")
    assert code == 5 and said in err, err
    assert not (tmp_path / "merged").exists()


def test_an_unfinished_shard_one_in_use_and_an_old_folder_are_refused(
    run: Any, tmp_path: Path, sharded: Any
) -> None:
    import sqlite3

    with RunLock(sharded.parts[1]):
        code, _, err = run("merge", *sharded.parts, "-o", tmp_path / "merged")
        assert code == 5 and "is in use by process" in err
    with sqlite3.connect(sharded.parts[0] / "run.db") as db:
        db.execute("DELETE FROM verdicts WHERE rowid = (SELECT min(rowid) FROM verdicts)")
    db.close()
    code, _, err = run("merge", *sharded.parts, "-o", tmp_path / "merged")
    assert code == 5 and "run its command again, which continues it" in err, err
    sharded("s1", "--shard", "1/4")
    assert run("merge", *sharded.parts, "-o", tmp_path / "merged")[0] == 0
    code, _, err = run("merge", *sharded.parts, "-o", tmp_path / "merged")
    assert code == 5 and "is there already" in err


@given(st.text(max_size=20), st.integers(1, 9))
def test_every_example_is_in_exactly_one_shard_whatever_stands_beside_it(
    query: str, count: int
) -> None:
    example = Example("x", (Message("user", query),), ("a", "b"))
    assert sum(Shard(i, count).holds(example) for i in range(1, count + 1)) == 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/4", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 3/64"):
        Shard.parse(text)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_shards_that_are_killed_merge_into_the_run_of_a_single_process(tmp_path: Path) -> None:
    """Four processes, five kills, an endpoint that dies; `tests.fuzz.scale` does eight and 20."""
    assert "verdicts equal" in shards(tmp_path, kills=5, n=4, n_rows=120, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_endpoints_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    """Four kills over four endpoints, which come back; `tests.fuzz.scale` does 20."""
    assert "verdicts equal" in kills_of_endpoints(tmp_path, kills=4, n_rows=300, seed=1)
