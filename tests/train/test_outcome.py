"""Eq. 10, worked by hand. Garbage first."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.errors import DataError
from spct.train.outcome import advantages, correct, gold_problem, is_tie, outcome_reward


def test_an_unscored_judgement_is_wrong_and_costs_one() -> None:
    assert not correct(None, (1.0, 0.0))
    assert outcome_reward(None, (1.0, 0.0)) == -1.0
    assert outcome_reward(None, (0.0,)) == -1.0


@pytest.mark.parametrize("scores", [(math.nan, 3.0), (3.0, math.nan), (math.nan,)])
def test_nan_is_never_correct(scores: tuple[float, ...]) -> None:
    gold = (1.0, 0.0) if len(scores) == 2 else (1.0,)
    assert not correct(scores, gold)


@pytest.mark.parametrize(
    ("scores", "gold", "expected"),
    [
        ((8, 7), (1, 0), True),
        ((7, 8), (1, 0), False),
        ((8, 8), (1, 0), False),  # a tie with the best is wrong
        ((8, 3, 3), (2, 0, 1), True),  # order among the losers does not matter
        ((8, 8, 3), (2, 1, 0), False),
        ((8, 9, 9), (2, 1, 0), False),  # a tie above the best
        ((3, 9, 9), (0, 1, 2), False),
        ((5, 5, 6), (0.1, 0.2, 0.9), True),
        ((1,), (1,), True),
        ((0,), (0,), True),
        ((1,), (0,), False),
        ((10,), (1,), False),  # a 1..10 score of a single response is not its label
    ],
)
def test_eq_10_by_hand(scores: tuple[float, ...], gold: tuple[float, ...], expected: bool) -> None:
    assert correct(scores, gold) is expected
    assert outcome_reward(scores, gold) == (1.0 if expected else -1.0)


@pytest.mark.parametrize(
    ("gold", "n", "problem"),
    [
        (None, 2, "no gold"),
        ((1, 0), 3, "wrong number of gold rewards"),
        ((1, 1), 2, "no unique best"),
        ((1, 1, 0), 3, "no unique best"),
        ((0.5,), 1, "gold of a single response is not 0 or 1"),
        ((math.nan, 1), 2, "gold is not finite"),
        ((1, 0, 0), 3, None),
        ((1,), 1, None),
    ],
)
def test_gold_that_cannot_decide_is_named(
    gold: tuple[float, ...] | None, n: int, problem: str | None
) -> None:
    assert gold_problem(gold, n) == problem
    if gold is not None and len(gold) == n and problem:
        with pytest.raises(DataError, match="drop or relabel"):
            correct(tuple(1.0 for _ in range(n)), gold)


def test_another_number_of_scores_raises() -> None:
    with pytest.raises(DataError, match="2 scores for 3 gold"):
        correct((1, 2), (1, 2, 3))


@given(st.lists(st.integers(1, 10), min_size=2, max_size=6), st.randoms())
def test_correctness_does_not_depend_on_the_order_of_responses(
    scores: list[int], rng: object
) -> None:
    gold = list(range(len(scores)))
    order = list(range(len(scores)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    permuted = correct([scores[i] for i in order], [gold[i] for i in order])
    assert permuted == correct(scores, gold)


def test_a_tie_is_among_the_highest_only() -> None:
    assert is_tie((5, 5)) and is_tie((9, 2, 9))
    assert not is_tie((9, 2, 2)) and not is_tie((7,)) and not is_tie(None)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1.0, -1.0, -1.0, -1.0], [1.5, -0.5, -0.5, -0.5]),  # one right of four
        ([1.0, 1.0], [0.0, 0.0]),
        ([-1.0], [0.0]),
    ],
)
def test_advantages_are_those_of_grpo(rewards, expected):
    assert advantages(rewards) == pytest.approx(expected, abs=1e-3)
