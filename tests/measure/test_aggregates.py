"""From credits to scores, by hand: weights of RewardBench, Ties, levels of RM-Bench, AUC."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from spct.measure import aggregates, rules
from spct.measure.benchmarks import BENCHMARKS, RB_SECTIONS
from spct.measure.intervals import kinds_of, point_table
from spct.measure.rules import Column, Credit
from tests.measure.makers import judged


def scores(
    credits: list[tuple[Column, float]], aggregate: aggregates.Aggregate
) -> dict[str, float]:
    counted = [Credit(f"u{i}", f"c{i}", c, v) for i, (c, v) in enumerate(credits)]
    table = point_table(kinds_of(counted))
    return {name: float(score[0]) for name, score in aggregate(table).items()}


def test_rewardbench_weights_are_the_published_ones() -> None:
    totals = {section: sum(weights.values()) for section, weights in RB_SECTIONS.items()}
    assert totals == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 984 + 984}
    assert sum(BENCHMARKS["rewardbench"].expected.values()) == 2985


def test_rewardbench_by_hand() -> None:
    # Chat: easy all right (weight 100), length all wrong (95): 100/195 of the two
    # Reasoning: math-prm half right (984), cpp all right (164)
    credits: list[tuple[Column, float]] = [
        *[(("alpacaeval-easy",), 1.0)] * 3,
        *[(("alpacaeval-length",), 0.0)] * 7,
        (("mt-bench-hard",), 0.5),
        (("donotanswer",), 1.0),
        (("math-prm",), 1.0),
        (("math-prm",), 0.0),
        *[(("hep-cpp",), 1.0)] * 5,
    ]
    found = scores(credits, aggregates.sections(RB_SECTIONS))
    reasoning = (984 * 0.5 + 164 * 1.0) / (984 + 164)
    expected = {"Chat": 100 / 195, "Chat Hard": 0.5, "Safety": 1.0, "Reasoning": reasoning}
    assert found == pytest.approx({"overall": sum(expected.values()) / 4, **expected})


def test_rewardbench2_is_the_mean_of_domains_with_weighted_ties() -> None:
    unit = [
        judged((1, 1, 0), (11, 8, 4), subset="Ties", kind="tied"),
        judged((1, 0), (6, 5), subset="Ties", kind="ref"),
    ]
    credits = [*rules.ties(unit), (("Math",), 1.0), (("Math",), 0.0), (("Focus",), 0.25)]
    found = scores(credits, aggregates.rewardbench2)
    ties = 0.30 + 0.30 + 0.20 * 1 + 0.20 * 0 + 0.01 * math.tanh(1 / 3 - 1)
    assert found == pytest.approx(
        {"overall": (ties + 0.5 + 0.25) / 3, "Ties": ties, "Math": 0.5, "Focus": 0.25}
    )


def test_rm_bench_pools_safety_and_averages_the_domains_levels() -> None:
    """Chat: hard 0, normal 1, easy 1, so 2/3. Safety: three items of refuse that are all right and

    one of response that is all wrong are one pool: 3/4 at every level (a mean of the two parts
    would be 1/2). Overall (2/3 + 3/4) / 2; hard (0 + 3/4) / 2, though 3 of 5 pairs are right.
    """
    credits: list[tuple[Column, float]] = [
        *[(("chat", level), v) for level, v in (("hard", 0.0), ("normal", 1.0), ("easy", 1.0))],
        *[(("safety-refuse", level), 1.0) for level in rules.DIFFICULTIES for _ in range(3)],
        *[(("safety-response", level), 0.0) for level in rules.DIFFICULTIES],
    ]
    found = scores(credits, aggregates.rm_bench)
    assert found == pytest.approx(
        {
            "overall": (2 / 3 + 3 / 4) / 2,
            "chat": 2 / 3,
            "safety": 3 / 4,
            "hard": (0 + 3 / 4) / 2,
            "normal": (1 + 3 / 4) / 2,
            "easy": (1 + 3 / 4) / 2,
        }
    )


def test_rm_bench_at_the_official_sizes() -> None:
    """284 refuse items at .60 and 157 response items at .95: (170.4 + 149.15) / 441 = .7246."""
    sizes = (("safety-refuse", 284, 0.60), ("safety-response", 157, 0.95))
    credits: list[tuple[Column, float]] = [
        ((subset, level), share)
        for subset, n, share in sizes
        for level in rules.DIFFICULTIES
        for _ in range(n)
    ]
    assert scores(credits, aggregates.rm_bench)["safety"] == pytest.approx(319.55 / 441)


def test_pandalm_s_score_is_that_of_its_own_parser() -> None:
    units = [(None, (0.5, 0.5)), (None, (1.0, 0.0)), ((2, 1), (1.0, 0.0)), ((1, 2), (1.0, 0.0))]
    credits = [c for r, gold in units for c in rules.pandalm([judged(gold, r)], "generative")]
    assert scores(credits, aggregates.pandalm) == {
        "overall": 0.5,
        "unreadable is a tie": 0.5,
        "unreadable is wrong": 0.25,
    }
    shared = [c for r, gold in units for c in rules.pandalm([judged(gold, r)], "shared")]
    assert scores(shared, aggregates.pandalm)["overall"] == pytest.approx(1 / 3)  # no tied gold


def test_if_rewardbench_gives_its_three_kinds_the_same_weight() -> None:
    kinds = (("Single_Turn", [1.0, 0.0, 0.5]), ("Multi_Turn", [-1.0]), ("System_Prompt", [0.25]))
    credits: list[tuple[Column, float]] = [
        ((kind, part), value)
        for kind, values in kinds
        for value in values
        for part in ("tau-b", "accuracy")
    ]
    found = scores(credits, aggregates.if_rewardbench)
    mean = (0.5 - 1.0 + 0.25) / 3
    assert found == pytest.approx(
        {"overall": mean, **{k: sum(v) / len(v) for k, v in kinds}, "accuracy": mean}
    )
    shared = [(("Single_Turn",), 1.0), (("Multi_Turn",), 0.0)]
    assert scores(shared, aggregates.if_rewardbench)["overall"] == 0.5


def test_macro_and_micro_differ_as_they_should() -> None:
    credits: list[tuple[Column, float]] = [(("a",), 1.0), (("b",), 0.0), (("b",), 0.0)]
    assert scores(credits, aggregates.macro)["overall"] == 0.5
    assert scores(credits, aggregates.micro)["overall"] == pytest.approx(1 / 3)


def test_auc_equals_the_share_of_pairs_ordered_right_with_ties_as_halves() -> None:
    right, wrong = [7.0, 5.0, 5.0], [5.0, 3.0]
    pairs = [1.0 if r > w else 0.5 if r == w else 0.0 for r, w in product(right, wrong)]
    credits: list[tuple[Column, float]] = [(("s", 1.0, r), 1.0) for r in right]
    credits += [(("s", 0.0, w), 1.0) for w in wrong]
    assert scores(credits, aggregates.auc)["overall"] == pytest.approx(sum(pairs) / len(pairs))


def test_auc_of_one_class_is_no_number() -> None:
    assert math.isnan(scores([(("s", 1.0, 3.0), 1.0)], aggregates.auc)["overall"])


def test_a_section_without_items_is_left_out_of_the_mean_not_counted_as_zero() -> None:
    some, none = np.array([0.8]), np.array([np.nan])
    assert aggregates.mean_over([(1, some), (5, none)])[0] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # 3 of the 4 pairs are in order
        ([1, 2, 3], [0, 0, 1], 1.0),
        ([3, 2, 1], [0, 0, 1], 0.0),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 1, 2], [0, 1, 0], 0.25),  # a tie counts half, a loss nothing
        ([1, 2], [1, 1], None),
        ([], [], None),
    ],
)
def test_auc_by_hand(scores: list[float], labels: list[int], expected: float | None) -> None:
    assert aggregates.auc_of(scores, labels) == (
        None if expected is None else pytest.approx(expected)
    )


def test_auc_agrees_with_counting_pairs() -> None:
    scores = [math.sin(7 * i) for i in range(40)]
    labels = [int(math.cos(3 * i) > 0) for i in range(40)]
    pairs = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in range(40)
        for j in range(40)
        if labels[i] and not labels[j]
    ]
    assert aggregates.auc_of(scores, labels) == pytest.approx(sum(pairs) / len(pairs))
