"""Bench rows of a judge by criteria: its own list, a written one, another query's, none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spct.errors import ConfigError
from spct.measure.command import run_bench
from spct.measure.config import BenchConfig
from spct.measure.criteria_arms import arms
from spct.models.load import load_reward_model
from spct.runs.identity import unlike_totals

WORDS = ("harbour", "orchard", "glacier", "compass", "lantern", "meadow")


def rows(**changes: Any) -> list[dict[str, Any]]:
    """Pairs of which the chosen one says the word that its query asks for."""
    return [
        {
            "id": word,
            "query": f"Say something of a {word}",
            "responses": [f"Behold the {word}", "Behold nothing much"],
            "gold": [1, 0],
            "criteria": [{"name": "word", "text": f"Speaks of the {word}", **changes}],
        }
        for word in WORDS
    ]


def write(path: Path, some: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return path


@pytest.fixture
def judge(tmp_path: Path) -> str:
    file = tmp_path / "met.toml"
    file.write_text('[engine]\nkind = "scripted"\n[judge]\nformat = "met"\n')
    return str(file)


def bench(judge: str, data: Path, out: Path, **settings: Any) -> dict[str, Any]:
    config = BenchConfig(
        benchmarks=(str(data),), samples=(2,), greedy=False, resamples=200, **settings
    )
    _, report = run_bench([judge, "length"], config, out)
    return report


@pytest.mark.slow
def test_a_swapped_list_lowers_accuracy_and_each_way_is_a_row(judge: str, tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", rows())
    ways = ("given", "written", "swapped", "none")
    report = bench(judge, data, tmp_path / "out", criteria=ways)
    (found,) = report["benchmarks"]
    labels = list(dict.fromkeys(row["model"] for row in found["rows"]))
    assert labels == [*(f"met, {way}" for way in ways), "length"]
    score = {row["model"]: row["shared"]["overall"]["point"] for row in found["rows"]}
    assert score["met, given"] > 0.8 > 0.7 > score["met, swapped"]
    assert report["settings"]["criteria"] == list(ways)


def test_lists_to_swap_need_two_queries(judge: str) -> None:
    model = load_reward_model(judge)
    with pytest.raises(ConfigError, match="bring lists for 0 queries"):
        arms({"met": model}, ("swapped",), ())


@pytest.mark.parametrize(
    "command",
    [
        ["bench", "length", "-b", "DATA", "--samples", "1", "--out", "OUT"],
        ["compare", "DATA", "-m", "length", "-k", "1", "--out", "OUT"],
        ["data", "convert", "DATA", "--out", "FILE"],
    ],
)
def test_what_a_sign_means_is_asked_for_and_taken(
    command: list[str], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    data, out = write(tmp_path / "rows.jsonl", rows(weight=-2)), str(tmp_path / "out")
    argv = [{"DATA": str(data), "OUT": out, "FILE": f"{out}.jsonl"}.get(w, w) for w in command]
    code, _, err = run(*argv)
    assert code == 2 and "--negative occurs-is-bad" in err
    assert run(*argv, "--negative", "occurs-is-bad")[0] == 0


def test_totals_of_two_ways_are_not_compared_and_the_reason_is_said() -> None:
    met = {"format": "met-1", "aggregate": "weighted", "chunk": 10, "k": 4}
    assert unlike_totals(met, {**met, "k": 8}) is None
    assert unlike_totals({"format": "pointwise-1"}, {"format": "single-1"}) is None
    why = unlike_totals(met, {**met, "aggregate": "overall"})
    assert why is not None and "aggregate 'weighted' and 'overall'" in why
    assert "format" in str(unlike_totals(met, {**met, "format": "met_one-2", "chunk": 1}))
    assert unlike_totals(met, {"format": "pointwise-1"}) is not None
