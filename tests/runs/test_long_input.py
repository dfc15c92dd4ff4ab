"""`spct sample` over an input that is too long to be held: it is read while it is judged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spct.cli.source import HELD, LONG_BYTES, LOOKED_AT, source_of
from tests.runs.test_shards import export

ROWS, BLANKS = 300, 4_000_000  # more rows than are looked at first


def row(i: int, **more: Any) -> str:
    return json.dumps({"query": f"Tide {i % 290}?", "responses": ["ebb", "no"], **more}) + "\n"


def written(file: Path, lines: list[str], blanks: int = 0) -> Path:
    """Blank lines make it long, and change nothing of what it holds."""
    space = (" " * blanks + "\n") * (LONG_BYTES // blanks + 1) if blanks else ""
    file.write_text("".join(lines) + space)
    return file


@pytest.fixture
def sample(run: Any, tmp_path: Path) -> Any:
    def go(file: Path, out: str, *flags: Any, code: int = 0) -> str:
        args = ["sample", file, "--engine", "scripted", "-k", "1", "--progress", "none"]
        got, _, err = run(*args, "-o", tmp_path / out, *flags)
        assert got == code, err
        return str(err)

    return go


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_input_gives_the_run_of_a_held_one_whole_and_in_shards(
    run: Any, tmp_path: Path, sample: Any
) -> None:
    lines = [row(i) for i in range(ROWS)]  # without ids, and ten contents occur twice
    held, long = written(tmp_path / "held.jsonl", lines), tmp_path / "long.jsonl"
    written(long, lines, BLANKS)
    assert source_of([str(long)], "auto", None, None, None, None, None).is_long()
    sample(held, "held")
    sample(long, "long")
    whole = export(run, tmp_path / "held")
    assert whole.count("\n") == ROWS and export(run, tmp_path / "long") == whole
    assert f"{ROWS} examples were finished before" in sample(long, "long")
    for i in (1, 2):
        sample(long, f"s{i}", "--shard", f"{i}/2")
    shards = [tmp_path / f"s{i}" for i in (1, 2)]
    code, _, err = run("merge", *shards, "-o", tmp_path / "merged")
    assert code == 0, err
    assert export(run, tmp_path / "merged") == whole
    (shards[1] / "complete.json").unlink()
    code, _, err = run("merge", *shards, "-o", tmp_path / "again")
    assert code == 5 and "an input not yet read to its end" in err


@pytest.mark.slow
def test_a_bad_row_far_in_ends_a_long_run_that_goes_on_without_it(
    run: Any, tmp_path: Path, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [row(i, id=f"e{i}") for i in range(ROWS)]
    good = written(tmp_path / "good.jsonl", lines)
    bad = written(tmp_path / "bad.jsonl", [*lines[:250], "{broken\n", lines[3], *lines[250:]],
                  BLANKS)  # fmt: skip
    err = sample(bad, "long", code=2)
    assert "bad.jsonl:251" in err and "The 250 examples before it were good" in err
    assert 190 < export(run, tmp_path / "long").count("\n") <= 250
    err = sample(bad, "long", "--drop-bad")
    assert "bad rows left out: 2" in err and "e3" in Path("bad.bad.jsonl").read_text()
    before = re.search(r"(\d+) examples were finished before", err)
    assert before and int(before[1]) > 190
    sample(good, "good")
    assert export(run, tmp_path / "long") == export(run, tmp_path / "good")
    early = written(tmp_path / "early.jsonl", ["{broken\n", *lines], BLANKS)
    sample(early, "early", code=2)
    assert not (tmp_path / "early").exists()  # the first rows are looked at before anything


def test_what_is_told_counted_and_held_of_a_long_input(tmp_path: Path, sample: Any) -> None:
    long = written(tmp_path / "long.jsonl", [row(i, id=f"e{i}") for i in range(ROWS)], BLANKS)
    source = source_of([str(long)], "auto", None, None, None, None, None)
    with source.reading() as reading:
        assert reading.n is None
        assert len({example.id for example in reading.examples}) == ROWS == reading.n
    sample(long, "none", "--dry-run")
    assert not (tmp_path / "none").exists() and LOOKED_AT < ROWS
    for limit, span, ids in ((HELD - 1, None, None), (None, "5:90", None), (None, None, ["e1"])):
        assert not source_of([str(long)], "auto", None, limit, span, ids, None).is_long()
    assert not source_of([str(long)], "auto", None, None, None, None, 1).is_long()
