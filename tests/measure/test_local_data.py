"""The real sets beside a checkout, where they are: counts, oddities, and the baselines' floors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spct.measure.benchmarks import BENCHMARKS
from spct.measure.intervals import bootstrap
from spct.measure.loading import DATA_VARIABLE, DEFAULT_DATA, load_benchmark
from spct.measure.rows import Part, credits_of, row_of, units_of
from spct.models.baselines import Baseline

ROOT = Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA)
pytestmark = pytest.mark.skipif(not (ROOT / "llmbar").is_dir(), reason=f"no data in {ROOT}")

# units and presentations of the copies that are kept, and whether they are the whole benchmark
KEPT = {
    "llmbar-natural": (100, 200, True),
    "judgebench": (259, 518, False),
    "autoj": (1388, 2776, False),
    "pandalm": (928, 928, False),
    "rmb": (811, 811, False),
    "rm-bench": (24, 24, False),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_copies_are_read_whole_and_known_to_be_partial_or_not(name: str) -> None:
    found = load_benchmark(BENCHMARKS[name], ROOT)
    assert (found.n_units, len(found.examples), found.is_complete) == KEPT[name]


async def test_the_two_identical_pairs_of_rmb_are_named() -> None:
    problems = load_benchmark(BENCHMARKS["rmb"], ROOT).problems
    assert sum("pair/" in problem for problem in problems) == 2


async def test_longer_wins_as_often_as_the_data_s_notes_say_and_first_is_never_consistent() -> None:
    loaded = load_benchmark(BENCHMARKS["autoj"], ROOT)
    scores = {}
    for name in ("length", "first"):
        model = Baseline(name)
        verdicts = {e.id: await model.judge(e) for e in loaded.examples}
        row = row_of(Part(name, "reward", verdicts, {}), "reward", verdicts)
        scores[name] = bootstrap(
            credits_of(loaded.benchmark.rule, units_of(loaded, row), "shared"),
            loaded.benchmark.aggregate,
            resamples=100,
        )["overall"].point
    assert scores["length"] == pytest.approx(0.72, abs=0.01)
    assert scores["first"] == 0.5
