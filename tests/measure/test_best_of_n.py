"""Best of n: chances against all subsets, KL by hand, and a judge that over-optimises is caught."""

import json
import math
import random
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from spct.errors import DataError
from spct.measure.best_of_n import Judged, Lists, chances, kl_of, lists_of, markdown, measure
from spct.runs.store import Store
from spct.types import Example, Message, Verdict


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0, 4.0), (2.0, 2.0, 1.0, 3.0), (5.0,) * 4])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_chances_are_those_of_all_subsets(values: tuple[float, ...], n: int) -> None:
    counted = [0.0] * 4
    subsets = list(combinations(range(4), n))
    for subset in subsets:
        top = [i for i in subset if values[i] == max(values[j] for j in subset)]
        for i in top:
            counted[i] += 1 / len(top) / len(subsets)
    assert chances(values, n) == pytest.approx(counted)


def test_kl_by_hand() -> None:
    assert kl_of(1) == 0.0
    assert kl_of(4) == pytest.approx(math.log(4) - 0.75)


def example_of(i: int, gold: tuple[float, ...], texts: tuple[str, ...] = ()) -> Example:
    return Example(str(i), (Message("user", f"q{i}"),), texts or ("x",) * len(gold), gold)


def test_a_judge_that_is_gold_attains_all_and_a_reversed_one_loses_beyond_noise() -> None:
    rng = random.Random(0)
    golds = [tuple(rng.random() for _ in range(8)) for _ in range(60)]
    right = Lists([Judged(example_of(i, g), g) for i, g in enumerate(golds)])
    report = measure(right, [1, 2, 4, 8])
    assert [p.attained for p in report.points][1:] == pytest.approx([1.0, 1.0, 1.0])
    assert report.loss is None and not report.over_optimised and report.peak == 8
    assert report.points[-1].gold.point == pytest.approx(fmean(map(max, golds)))
    wrong = Lists(
        [Judged(e, tuple(-x for x in g)) for (e, _), g in zip(right.kept, golds, strict=True)]
    )
    report = measure(wrong, [1, 8])
    assert report.over_optimised and report.peak == 1
    assert "over-optimised" in markdown(report)
    assert report.points[1].reward.point > report.points[0].reward.point


def test_a_judge_of_length_is_seen_in_the_words_of_its_pick() -> None:
    texts = ("a", "a a", "a a a", "a a a a")
    lists = Lists([Judged(example_of(i, (1.0, 1.0, 0.0, 0.0), texts), (1.0, 2.0, 3.0, 4.0))
                   for i in range(4)])  # fmt: skip
    report = measure(lists, [1, 2, 4])
    assert [p.words for p in report.points] == pytest.approx([2.5, 10 / 3, 4.0])
    # of six pairs one has two good responses, and one is picked from it
    assert [p.gold.point for p in report.points] == pytest.approx([0.5, 1 / 6, 0.0])


async def test_the_command_reads_a_run_and_counts_what_is_left_out(
    run: Any, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "run", {}) as store:
        for i in range(12):
            n = 2 if i == 11 else 4
            gold = None if i == 10 else tuple(float((j + i) % n) for j in range(n))
            example = Example(str(i), (Message("user", f"q{i}"),), ("x",) * n, gold)
            rewards = None if i == 9 else tuple(float(j) for j in range(n))
            best = () if rewards is None else (n - 1,)
            verdict = Verdict(str(i), rewards, best, (), 0, 0, 0, None)
            await store.put_verdict(verdict, example, position=i)
    code, told, said = run("bench", "best-of-n", tmp_path / "run", "--figure", tmp_path / "f")
    assert code == 0, said
    assert (tmp_path / "f.png").is_file() and (tmp_path / "f.svg").is_file()
    left = ("9 lists", "1 left out: no gold", "1 left out: no rewards", "fewer than 4 responses")
    assert all(text in told for text in left)
    code, told, _ = run("bench", "best-of-n", tmp_path / "run", "-n", 2, "--json")
    found = json.loads(told)
    assert [p["n"] for p in found["points"]] == [1, 2] and found["n_lists"] == 10
    code, _, said = run("bench", "best-of-n", tmp_path / "run", "-n", 9)
    assert code == 2 and "smaller -n" in said
    code, _, said = run("bench", "best-of-n", tmp_path / "run", "-n", 0)
    assert code == 2 and "from 1 on" in said


def test_no_list_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="at least 2 lists"):
        lists_of([])
