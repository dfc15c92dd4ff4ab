import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.parse import TEN
from spct.core.stopping import exact, sign_flip, sign_flip_p
from spct.core.vote import best, expected_scores, majority, mean_scores, meta_top
from spct.errors import ConfigError
from spct.types import Completion, Judgement, Prompt, Trajectory


def trajectories(rows):
    prompt = Prompt("e", (), (0, 1))
    return [
        Trajectory("e", i, i, prompt, Completion(""), Judgement((), "", tuple(row)), "t")
        for i, row in enumerate(rows)
    ]


def stops(rule, rows, left, vote=mean_scores, looks=3):
    return rule.should_stop(trajectories(rows), vote, TEN, left, looks)


def test_exact_waits_until_the_lead_is_out_of_reach():
    assert not stops(exact, [(10, 1)] * 4, left=4)  # a lead of 36 can still become a tie
    assert stops(exact, [(10, 1)] * 4, left=3)
    assert not stops(exact, [(5, 5)] * 8, left=0)
    assert not stops(exact, [], left=0)


def test_exact_counts_votes_and_not_scores_under_a_majority():
    assert stops(exact, [(6, 5)] * 5, left=3, vote=majority)
    assert not stops(exact, [(6, 5)] * 5, left=3, vote=mean_scores)


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=4, max_size=12),
    st.sampled_from([mean_scores, mean_scores, majority]),
)
def test_exact_never_stops_before_something_that_changes_the_winner(rows, vote):
    for cut in range(1, len(rows)):
        if stops(exact, rows[:cut], left=len(rows) - cut, vote=vote):
            early, late = vote(trajectories(rows[:cut])), vote(trajectories(rows))
            assert best(early) == best(late)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=10))
def test_the_sign_flip_p_value_equals_enumeration(differences):
    total = sum(differences)
    sums = [
        sum(sign * abs(d) for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(s >= total for s in sums) / len(sums)
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flip_by_hand():
    assert sign_flip_p([3, 3, 3]) == 1 / 8
    assert not stops(sign_flip(0.05), [(9, 3)] * 4, left=28)  # 1/16 is above 0.05 / 3 looks
    assert stops(sign_flip(0.05), [(9, 3)] * 6, left=26)  # 1/64 is below


def test_sign_flip_shares_its_level_over_rivals():
    rows = [(9, 3, 3)] * 6
    assert not stops(sign_flip(0.05), rows, left=26)  # 1/64 is above 0.05 / (2 rivals x 3 looks)
    assert stops(sign_flip(0.05), [*rows, (9, 3, 3)], left=25)


def test_sign_flip_errs_less_often_than_its_level():
    """Under a judge without preference, any stop before k is an error."""
    rng = random.Random(0)
    rule, k = sign_flip(0.1), 32
    ends = rule.waves(k, 2)
    wrong = 0
    for _ in range(1000):
        rows = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(k)]
        wrong += any(stops(rule, rows[:e], k - e, looks=len(ends) - 1) for e in ends[:-1])
    assert wrong / 1000 < 0.2  # two-sided: the leader is whoever leads; 0.1 for each side


@pytest.mark.parametrize(
    ("k", "n", "ends"),
    [(32, 2, (4, 8, 16, 32)), (8, 3, (6, 8)), (2, 2, (2,)), (1, 4, (1,)), (20, 4, (4, 8, 16, 20))],
)
def test_statistical_waves_double_and_begin_with_whole_rounds_of_positions(k, n, ends):
    assert sign_flip().waves(k, n) == ends


@pytest.mark.parametrize(
    ("k", "n", "ends"),
    [(32, 2, (16, 20, 24, 28, 32)), (8, 3, (6, 8)), (12, 2, (8, 12)), (4, 2, (4,)), (1, 4, (1,))],
)
def test_exact_waves_begin_at_half_because_nothing_is_certain_before(k, n, ends):
    assert exact.waves(k, n) == ends


def test_a_vote_that_more_samples_could_always_overturn_is_refused():
    for vote in (meta_top(), expected_scores):
        with pytest.raises(ConfigError, match="early stopping"):
            exact.check(vote)


def test_a_senseless_error_level_is_refused():
    with pytest.raises(ConfigError, match=r"0\.5"):
        sign_flip(0.5)


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_p_value_of_equal_fractions_is_that_of_all_signs_alike(numerator, n):
    """Thirds and sevenths round: the target must be a sum that the steps can reach."""
    for denominator in (3, 7):
        assert sign_flip_p([numerator / denominator] * n) == pytest.approx(0.5**n)
