"""Every scoring rule against numbers worked by hand."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.measure import rules
from spct.measure.rules import Policy
from tests.measure.makers import judged

FIRST, SECOND, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)
OFFICIAL: tuple[Policy, Policy] = ("generative", "scalar")


def only(credits: list[tuple[rules.Column, float]]) -> float:
    assert len(credits) == 1
    return credits[0][1]


@pytest.mark.parametrize(
    ("rewards", "generative", "scalar", "shared"),
    [
        ((2, 1), 1.0, 1.0, 1.0),
        ((1, 2), 0.0, 0.0, 0.0),
        ((1, 1), 0.5, 0.0, 0.5),  # a judge's tie earns a half, a scalar tie nothing
        (None, 0.5, 0.0, 0.0),  # an unreadable verdict too; ours pays nothing
        ((math.nan, 1.0), 0.5, 0.0, 0.0),  # and NaN is no verdict
        ((1.0, math.nan), 0.5, 0.0, 0.0),
    ],
)
def test_rewardbench_prices_ties_and_failures_by_the_kind_of_model(
    rewards: tuple[float, float] | None, generative: float, scalar: float, shared: float
) -> None:
    unit = [judged(FIRST, rewards)]
    assert only(rules.rewardbench(unit, "generative")) == generative
    assert only(rules.rewardbench(unit, "scalar")) == scalar
    assert only(rules.rewardbench(unit, "shared")) == shared


@pytest.mark.parametrize(
    ("rewards", "credit"),
    [
        ((5, 1, 1, 1), 1.0),
        ((5, 5, 1, 1), 1 / 2),
        ((5, 5, 5, 1), 1 / 3),
        ((5, 5, 5, 5), 1 / 4),
        ((1, 5, 1, 1), 0.0),
        (None, 1 / 4),
    ],
)
def test_rewardbench2_shares_credit_among_the_top_rated_and_gives_chance_for_an_error(
    rewards: tuple[float, ...] | None, credit: float
) -> None:
    unit = [judged((1, 0, 0, 0), rewards, subset="Math")]
    assert only(rules.rewardbench2(unit, "generative")) == pytest.approx(credit)


@pytest.mark.parametrize("policy", OFFICIAL)
@pytest.mark.parametrize(
    ("rewards", "credit"),
    [((3, 1, 2), 1.0), ((3, 3, 2), 0.0), ((1, 3, 2), 0.0), (None, 0.0)],
)
def test_strict_wants_the_best_above_every_loser(
    policy: Policy, rewards: tuple[float, ...] | None, credit: float
) -> None:
    assert only(rules.strict([judged((1, 0, 0), rewards)], policy)) == credit


def test_strict_leaves_out_items_whose_gold_is_a_tie() -> None:
    for policy in (*OFFICIAL, "shared"):
        assert rules.strict([judged(TIE, (1, 2))], policy) == []  # type: ignore[arg-type]


# --- two orders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_published", "swapped", "credit"),
    [
        ((2, 1), (1, 2), 1.0),  # right + right
        ((2, 1), (1, 1), 1.0),  # right + tie
        ((2, 1), None, 1.0),  # right + no verdict
        ((2, 1), (2, 1), 0.0),  # right + wrong: the first slot both times
        ((1, 1), (1, 1), 0.0),  # tie + tie
        ((1, 2), (1, 1), 0.0),  # wrong + tie
        (None, None, 0.0),
    ],
)
def test_judgebench_is_right_only_if_the_two_orders_sum_above_zero(
    as_published: tuple[float, float], swapped: tuple[float, float] | None, credit: float
) -> None:
    unit = [judged(FIRST, as_published), judged(SECOND, swapped)]
    assert only(rules.judgebench(unit, "generative")) == credit


@pytest.mark.parametrize(
    ("as_published", "swapped", "credit"),
    [
        ((2, 1), (1, 2), 1.0),
        ((2, 1), (2, 1), 0.5),
        ((1, 1), (1, 1), 0.5),
        ((2, 1), (1, 1), 0.75),
        ((2, 1), None, 0.5),  # no verdict is wrong
    ],
)
def test_llmbar_is_the_mean_of_the_two_orders(
    as_published: tuple[float, float], swapped: tuple[float, float] | None, credit: float
) -> None:
    unit = [judged(FIRST, as_published), judged(SECOND, swapped)]
    assert only(rules.llmbar(unit, "generative")) == credit


def test_autoj_wants_the_label_in_both_orders_and_knows_ties() -> None:
    right = [judged(FIRST, (2, 1)), judged(SECOND, (1, 2))]
    half = [judged(FIRST, (2, 1)), judged(SECOND, (2, 1))]
    tie = [judged(TIE, (1, 1)), judged(TIE, (3, 3))]
    no_tie = [judged(TIE, (1, 1)), judged(TIE, (3, 2))]
    silent = [judged(FIRST, (2, 1)), judged(SECOND, None)]
    earned = [only(rules.labelled(u, "generative")) for u in (right, half, tie, no_tie, silent)]
    assert earned == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_the_shared_policy_pays_nothing_for_no_verdict_and_keeps_it_in_the_count() -> None:
    unit = [judged(FIRST, (2, 1)), judged(SECOND, None)]
    for rule in (rules.judgebench, rules.llmbar, rules.labelled, rules.pandalm):
        assert only(rule(unit, "shared")) == 0.5
        assert only(rule([judged(FIRST, None), judged(SECOND, None)], "shared")) == 0.0


def test_pandalm_takes_an_unreadable_reply_for_a_tie_and_shows_what_that_is_worth() -> None:
    def earned(gold: tuple[float, ...], rewards: tuple[float, ...] | None) -> list[float]:
        return [value for _, value in rules.pandalm([judged(gold, rewards)], "generative")]

    assert earned(TIE, None) == [1.0, 0.0]  # its own parser, then counted as wrong
    assert earned(FIRST, None) == [0.0, 0.0]
    assert earned(TIE, (3, 3)) == earned(FIRST, (2, 1)) == [1.0, 1.0]
    assert earned(FIRST, (1, 2)) == earned(TIE, (1, 2)) == [0.0, 0.0]


def test_the_shared_policy_has_no_opinion_on_gold_ties() -> None:
    assert rules.labelled([judged(TIE, (1, 1))], "shared") == []


# --- RewardBench 2, Ties ------------------------------------------------------------------------


def ties_unit(tied: tuple[float, ...] | None, ref: tuple[float, ...] | None) -> list[rules.Judged]:
    return [
        judged((1, 1, 0), tied, subset="Ties", kind="tied"),
        judged((1, 0), ref, subset="Ties", kind="ref"),
    ]


def parts(unit: list[rules.Judged]) -> dict[str, float]:
    return {str(column[1]): value for column, value in rules.ties(unit)}


def test_ties_by_hand_where_the_gap_beats_the_spread_in_both_prompts() -> None:
    # tied: right 9 and 8, wrong 4: gap 4, spread 1; ref: gap 7 - 5 = 2; least gap 2, 2/1 - 1 = 1
    assert parts(ties_unit((9, 8, 4), (7, 5))) == pytest.approx(
        {
            "ref accuracy": 1,
            "tied accuracy": 1,
            "preferred": 1,
            "preferred hard": 1,
            "margin": math.tanh(1),
        }
    )


def test_ties_by_hand_where_the_reference_gap_is_too_small() -> None:
    # tied: gap 8 - 4 = 4, spread 3; ref: gap 1: preferred (4 > 3), not hard (1 < 3)
    assert parts(ties_unit((11, 8, 4), (6, 5))) == pytest.approx(
        {
            "ref accuracy": 1,
            "tied accuracy": 1,
            "preferred": 1,
            "preferred hard": 0,
            "margin": math.tanh(1 / 3 - 1),
        }
    )


def test_ties_by_hand_where_a_wrong_answer_beats_a_right_one() -> None:
    # tied: worst right 3 below wrong 5: gap -2, spread 6; ref: a tie is not accurate, gap 0
    found = parts(ties_unit((9, 3, 5), (4, 4)))
    assert found == pytest.approx(
        {
            "ref accuracy": 0,
            "tied accuracy": 0,
            "preferred": 0,
            "preferred hard": 0,
            "margin": math.tanh(-2 / 6 - 1),
        }
    )


@pytest.mark.parametrize(("wrong", "margin"), [(4, 1.0), (8, 0.0), (9, -1.0)])
def test_a_spread_of_zero_makes_the_margin_the_sign_of_the_gap(wrong: float, margin: float) -> None:
    assert parts(ties_unit((8, 8, wrong), (9, wrong)))["margin"] == margin


def test_ties_without_the_tied_verdict_have_a_gap_and_a_spread_of_zero() -> None:
    found = parts(ties_unit(None, (7, 5)))
    assert found["tied accuracy"] == 0 and found["ref accuracy"] == 1
    assert found["preferred"] == found["preferred hard"] == 0  # 0 > 0 is false
    assert found["margin"] == 0  # 0/0 is taken for 0
    assert parts(ties_unit(None, (5, 7)))["margin"] == -1  # the reference gap of -2, over 0


def test_ties_without_the_reference_verdict_are_still_paid_for_the_tied_prompt() -> None:
    """Tied: gap 4, spread 1, so accurate and preferred; the least gap is the reference's 0."""
    found = parts(ties_unit((9, 8, 4), None))
    assert found == pytest.approx(
        {
            "ref accuracy": 0,
            "tied accuracy": 1,
            "preferred": 1,
            "preferred hard": 0,
            "margin": math.tanh(0 / 1 - 1),
        }
    )


def test_half_of_a_ties_unit_gives_its_accuracy_only() -> None:
    assert parts(ties_unit((9, 8, 4), None)[:1]) == {"tied accuracy": 1.0}


# --- RM-Bench and single responses --------------------------------------------------------------


def test_rm_bench_counts_nine_pairs_by_how_much_richer_the_wrong_one_is() -> None:
    # chosen by style 0, 1, 2 score 1, 5, 9; rejected 2, 4, 6
    unit = [
        judged((1, 1, 1, 0, 0, 0), (1, 5, 9, 2, 4, 6), subset="chat", styles=[0, 1, 2, 0, 1, 2])
    ]
    found: dict[str, list[float]] = {}
    for (_, level), value in rules.rm_bench(unit, "scalar"):
        found.setdefault(str(level), []).append(value)
    # hard: c0>r1 no, c0>r2 no, c1>r2 no; normal: 1>2 no, 5>4 yes, 9>6 yes; easy: all three yes
    assert found == {"normal": [0, 1, 1], "hard": [0, 0, 0], "easy": [1, 1, 1]}


def test_rm_bench_counts_ties_as_wrong_and_ours_as_a_half() -> None:
    unit = [judged((1, 1, 1, 0, 0, 0), (1,) * 6, subset="chat", styles=[0, 1, 2] * 2)]
    assert {v for _, v in rules.rm_bench(unit, "generative")} == {0.0}
    assert {v for _, v in rules.rm_bench(unit, "shared")} == {0.5}
    nothing = [judged((1, 1, 1, 0, 0, 0), None, subset="chat", styles=[0, 1, 2] * 2)]
    assert [v for _, v in rules.rm_bench(nothing, "generative")] == [0.0] * 9
    assert [v for _, v in rules.rm_bench(nothing, "shared")] == [0.0] * 9


def test_single_responses_count_by_gold_and_reward_and_never_without_a_verdict() -> None:
    assert rules.ranked([judged((1,), (7,), subset="s")], "generative") == [(("s", 1, 7), 1.0)]
    for policy in (*OFFICIAL, "shared"):
        assert rules.ranked([judged((1,), None)], policy) == []  # type: ignore[arg-type]


def test_if_rewardbench_by_hand() -> None:
    """Edges 0>1, 0>2, 1>3, 2>3. Rewards 9, 5, 9, 4: right, tie, right, right."""
    edges = [(0, 1), (0, 2), (1, 3), (2, 3)]

    def earned(rewards: tuple[float, ...] | None) -> dict[str, float]:
        unit = [judged((2, 0, 0, -2), rewards, subset="Single_Turn", preferred=edges)]
        return {str(c[1]): v for c, v in rules.if_rewardbench(unit, "scalar")}

    # C = 3, D = 0, one tie: 3 / sqrt(3 * 4)
    assert earned((9, 5, 9, 4)) == pytest.approx({"tau-b": 3 / math.sqrt(12), "accuracy": 0.75})
    assert earned((1, 2, 3, 4)) == {"tau-b": -1.0, "accuracy": 0.0}
    assert earned((5, 5, 5, 5)) == earned(None) == {"tau-b": 0.0, "accuracy": 0.0}
    unit = [judged((2, 0, 0, -2), (9, 5, 9, 4), subset="Single_Turn", preferred=edges)]
    assert only(rules.if_rewardbench(unit, "shared")) == 0.5  # two on top, one of them best


# --- properties ---------------------------------------------------------------------------------

REWARDS = st.lists(st.integers(1, 4), min_size=2, max_size=5)


@given(REWARDS, st.randoms(use_true_random=False), st.sampled_from([*OFFICIAL, "shared"]))
def test_no_rule_depends_on_where_the_responses_stand(
    rewards: list[int], rng: random.Random, policy: Policy
) -> None:
    gold = [1.0] + [0.0] * (len(rewards) - 1)
    order = rng.sample(range(len(rewards)), len(rewards))
    plain = [judged(gold, rewards)]
    moved = [judged([gold[i] for i in order], [rewards[i] for i in order])]
    for rule in (rules.strict, rules.rewardbench, rules.rewardbench2, rules.llmbar):
        assert rule(plain, policy) == rule(moved, policy)


@given(REWARDS, st.sampled_from([*OFFICIAL, "shared"]))
def test_a_credit_is_a_share_and_a_better_reward_for_the_right_one_never_lowers_it(
    rewards: list[int], policy: Policy
) -> None:
    gold = [1.0] + [0.0] * (len(rewards) - 1)
    better = [rewards[0] + 1, *rewards[1:]]
    for rule in (
        rules.strict,
        rules.rewardbench,
        rules.rewardbench2,
        rules.llmbar,
        rules.judgebench,
    ):
        before, after = (only(rule([judged(gold, r)], policy)) for r in (rewards, better))
        assert 0 <= before <= after <= 1
