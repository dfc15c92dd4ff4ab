"""The one estimator of Voting@k: all disjoint groups of k stored samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.settle import settle
from spct.errors import DataError
from spct.measure.estimator import by, credits_at, named, shared_credit, votes_at
from spct.measure.rules import credit
from spct.types import Verdict
from spct.votes.vote import majority, mean_scores
from tests.measure.makers import example, trajectory, verdict

NAN, INF = float("nan"), float("inf")


def stored(*scores: tuple[float, ...] | None, id: str = "e") -> Verdict:
    some = [trajectory(id, i, s) for i, s in enumerate(scores)]
    return settle(id, some, mean_scores, len(scores))


@pytest.mark.parametrize(
    ("rewards", "gold", "earned"),
    [
        (None, (1.0, 0.0), 0.0),  # no verdict earns nothing
        ((9.0, 3.0), (1.0, 0.0), 1.0),
        ((3.0, 9.0), (1.0, 0.0), 0.0),
        ((9.0, 9.0), (1.0, 0.0), 0.5),
        ((9.0, 9.0, 9.0), (0.0, 1.0, 0.5), 1 / 3),
        ((9.0, 9.0, 1.0), (0.0, 0.5, 1.0), 0.0),
        ((2.0, 1.0, 2.0), (1.0, 0.0, 1.0), 1.0),  # either best will do
        ((NAN, 1.0), (1.0, 0.0), 0.0),  # never an error, and never right by accident
        ((1.0, NAN), (1.0, 0.0), 0.0),
        ((INF, 1.0), (1.0, 0.0), 0.0),
        ((0.75,), (1.0,), 1.0),  # single responses: the side of one half
        ((0.25,), (1.0,), 0.0),
        ((0.5,), (1.0,), 0.5),
        ((0.25,), (0.0,), 1.0),
        ((NAN,), (1.0,), 0.0),
    ],
)
def test_a_credit_is_the_chance_of_being_right(
    rewards: tuple[float, ...] | None, gold: tuple[float, ...], earned: float
) -> None:
    assert credit(rewards, gold) == pytest.approx(earned)


def test_every_group_of_k_consecutive_samples_votes_once() -> None:
    full = stored((8, 3), (3, 8), (5, 5), None, (1, 2))
    votes = votes_at(full, 2, by(mean_scores))
    assert [v.rewards for v in votes] == [(5.5, 5.5), (5.0, 5.0)]  # the fifth sample is left over
    assert [[t.index for t in v.trajectories] for v in votes] == [[0, 1], [2, 3]]
    assert {v.k_asked for v in votes} == {2}


def test_accuracy_at_each_k_by_hand() -> None:
    pair = example((1, 0), "e")
    verdicts = {"e": stored((8, 3), (3, 8), (5, 5), None)}
    # one sample: 1 + 0 + 1/2 + 0 (unscored), over four
    assert credits_at([pair], verdicts, 1, by(mean_scores)) == [1.5 / 4]
    # groups of two: means tie at 5.5; 5 and 5 of the only counted one: a half each
    assert credits_at([pair], verdicts, 2, by(mean_scores)) == [0.5]
    assert credits_at([pair], verdicts, 4, by(majority)) == [0.5]


def test_a_vote_on_more_than_is_stored_is_an_error() -> None:
    with pytest.raises(DataError, match="only 1 are stored"):
        votes_at(stored((8, 3)), 2, by(mean_scores))


def test_a_verdict_without_samples_stands_for_every_k() -> None:
    scalar = verdict("e", (2, 1))
    assert votes_at(scalar, 8, by(mean_scores)) == (scalar,)


def test_rows_say_which_estimator_they_are() -> None:
    assert named("Voting", 1) == "one sample, all groups"
    assert named("Meta", 8) == "Meta@8, all groups"


SCORES = st.lists(
    st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=4, max_size=12
)


@given(SCORES, st.integers(1, 4))
def test_the_estimate_is_a_share_and_at_one_sample_the_mean_over_all(
    scores: list[tuple[int, int] | None], k: int
) -> None:
    pair, full = example((1, 0), "e"), stored(*scores)
    assert 0 <= shared_credit(votes_at(full, k, by(mean_scores)), pair) <= 1
    ones = shared_credit(votes_at(full, 1, by(mean_scores)), pair)
    alone = [credit(None if s is None else (float(s[0]), float(s[1])), (1.0, 0.0)) for s in scores]
    assert ones == pytest.approx(sum(alone) / len(alone))
