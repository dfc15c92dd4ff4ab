"""`spct criteria` and judging by criteria from the command line, through the scripted engine."""

import csv
import json

import pytest

from spct.models.writer import read_list
from spct.runs.store import Store
from spct.types import Completion, Unscored
from spct.votes.criteria import mean_cells

EXAMPLES = "examples/criteria.jsonl"


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [
        {
            "query": f"Explain {word} slowly",
            "responses": [f"Of {word}.", "Nothing."],
            "gold": [1, 0],
        }
        for word in ("gravity", "volcanoes", "glaciers")
    ]
    rows.append({**rows[0], "responses": ["Other gravity.", "No."]})
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_a_query_is_written_once_and_an_edit_of_a_locked_list_is_refused(run, pairs, tmp_path):
    out = tmp_path / "lists.jsonl"
    ask = ("criteria", "write", pairs, "--engine", "scripted", "-o", out, "--output-dir", tmp_path)
    code, _, err = run(*ask)
    assert code == 0 and "3 lists for 3 queries, 3 replies drawn, 0 taken" in err
    first = out.read_text()
    code, _, err = run(*ask)
    assert code == 0 and "0 replies drawn, 3 taken" in err and out.read_text() == first
    assert run("criteria", "lock", out)[0] == 0
    out.write_text(out.read_text().replace('"weight":50', '"weight":49'))
    code, _, err = run("criteria", "check", out)
    assert code == 2 and "locked" in err
    assert run("criteria", "lock", "--again", out)[0] == 0
    assert run("criteria", "show", out)[1].count("[") >= 3


def test_a_run_by_criteria_goes_on_and_refuses_a_changed_list(run, pairs, tmp_path):
    mine, out = tmp_path / "mine.toml", tmp_path / "run"
    mine.write_text('[[criteria]]\ntext = "Speaks of gravity"\n[[criteria]]\ntext = "Is slow"\n')
    ask = ("sample", pairs, "--engine", "scripted", "--format", "met", "--criteria", mine,
           "-k", "2", "-o", out)  # fmt: skip
    assert run(*ask)[0] == 0
    code, _, err = run(*ask)
    assert code == 0 and "4 examples were finished before" in err
    code, rescored, told = run("rescore", out, "--aggregate", "overall", "--to", "-")
    assert "rewards not compared: totals of two ways" in told and "'overall'" in told
    assert code == 0 and all(json.loads(line)["rewards"][0] >= 1 for line in rescored.splitlines())
    with Store.read(out) as store:
        assert len(mean_cells(next(store.verdicts()).trajectories)[0]) == 2
    table = tmp_path / "rows.csv"
    code, told, _ = run("criteria", "measure", out, "--to", table)
    assert code == 0 and "met rate" in told
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == 4 * 2 * 2
    mine.write_text(mine.read_text().replace("gravity", "levity"))
    code, _, err = run(*ask)
    assert code in (2, 5) and "criteria" in err


def test_swapped_written_and_missing_lists(run, pairs, tmp_path):
    out = tmp_path / "lists.jsonl"
    run("criteria", "write", pairs, "--engine", "scripted", "-o", out, "--output-dir", tmp_path)
    base = ("judge", pairs, "--engine", "scripted", "--format", "met", "-k", "1", "--json")
    for source, best in ((str(out), 0), ("write", 0)):
        lines = run(*base, "--criteria", source)[1].splitlines()
        assert [json.loads(line)["winner"] for line in lines] == [best] * 4
    swapped = run(*base, "--criteria", f"swapped:{out}")[1].splitlines()
    assert sum(json.loads(line)["winner"] == 0 for line in swapped) < 4
    code, _, err = run(*base)
    assert code == 3 and "no criteria" in err
    code, _, err = run("judge", pairs, "--engine", "scripted", "--criteria", out)
    assert code == 2 and "--format met" in err


def test_the_card_shows_criteria_as_rows_and_marks_gates(run):
    code, out, _ = run("judge", EXAMPLES, "--engine", "scripted", "--format", "met", "-k", "2")
    assert code == 0 and "cooling [required]" in out and "✗" in out


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Completion("A good response is kind and helpful."), "no_criteria"),
        (
            Completion("\n".join(f"{i}. The response says {i}." for i in range(1, 41))),
            "no_criteria",
        ),
        (Completion("  "), "empty"),
        (Completion("1. The response", finish_reason="length"), "truncated"),
    ],
)
def test_a_writer_that_writes_no_list_is_unscored(reply, reason):
    found = read_list(reply)
    assert isinstance(found, Unscored) and found.reason == reason
