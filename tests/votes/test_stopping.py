import itertools
import math
import random
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.errors import ConfigError
from spct.text.parse import BINARY, TEN
from spct.types import Completion, Judgement, Prompt, Trajectory
from spct.votes.predictive import (
    Fit,
    fit_stopping,
    overtaken,
    predictive,
    read_fit,
    student_tail,
    write_fit,
)
from spct.votes.stopping import State, exact, sign_flip, sign_flip_p, warn_if_idle
from spct.votes.vote import best, expected_scores, majority, mean_scores, meta_top


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
    """Under a judge without preference, any stop that is not certain is an error."""
    rng = random.Random(0)
    rule, k = sign_flip(0.1), 32
    ends = rule.waves(k, 2)
    wrong = 0
    for _ in range(200):
        rows = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(k)]
        wrong += any(
            stops(rule, rows[:e], k - e, looks=len(ends) - 1) and not stops(exact, rows[:e], k - e)
            for e in ends[:-1]
        )
    assert wrong / 200 < 0.2  # two-sided: the leader is whoever leads; 0.1 for each side


@pytest.mark.parametrize(
    ("k", "n", "ends"),
    [
        (12, 2, (4, 6, 8, 10, 12)),
        (8, 3, (6, 8)),
        (2, 2, (2,)),
        (1, 4, (1,)),
        (20, 4, (4, 8, 12, 16, 20)),
        (12, 5, (5, 10, 12)),
    ],
)
def test_statistical_rules_look_after_every_round_from_four_samples_on(k, n, ends):
    assert sign_flip().waves(k, n) == predictive().waves(k, n) == ends


@pytest.mark.parametrize(
    ("k", "n", "ends"),
    [
        (16, 2, (8, 10, 12, 14, 16)),
        (8, 3, (6, 8)),
        (12, 2, (6, 8, 10, 12)),
        (4, 2, (4,)),
        (1, 4, (1,)),
    ],
)
def test_exact_waves_begin_at_half_because_nothing_is_certain_before(k, n, ends):
    assert exact.waves(k, n) == ends


# --- predictive -----------------------------------------------------------------


@given(st.floats(-30, 30), st.integers(1, 120))
def test_the_tail_is_that_of_scipy(t, freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), abs=1e-9)


def test_the_predicted_chance_by_hand():
    """Four differences of 3, 1, 3, 1 and four to come, on the scale 1 to 10."""
    variance = (4 * 3.0**2 + 4) / 7  # s0 is a third of 9; squared deviations add up to 4
    t = 8 * 2 / math.sqrt(variance * 4 * 8 / 4)
    assert overtaken([3, 1, 3, 1], 4, 9.0) == pytest.approx(student_tail(t, 7))
    fit = Fit(noise=1.0, spread=2.0, scale=(1, 10), vote="mean", items=300)
    variance = (4 * 1.0 + 4) / 7
    trust = 4 / (4 + variance / 4)
    t = (8 + 4 * trust * 2) / math.sqrt(16 * trust * variance / 4 + 4 * variance)
    assert overtaken([3, 1, 3, 1], 4, 9.0, fit) == pytest.approx(student_tail(t, 7))


def test_predictive_adds_its_chances_over_the_rivals():
    one = overtaken([4, 3, 4, 3], 4, 9.0)
    rule = predictive(1.5 * one)
    assert stops(rule, [(8, 4), (7, 4)] * 2, left=4)
    assert not stops(rule, [(8, 4, 4), (7, 4, 4)] * 2, left=4)


def test_predictive_never_stops_on_a_tie_and_stops_on_certainty():
    assert not stops(predictive(0.4), [(5, 5)] * 6, left=2)
    assert not stops(predictive(0.02), [(6, 5), (5, 6)] * 3, left=2)
    assert stops(predictive(0.02), [(10, 1)] * 6, left=2)
    assert overtaken([0.0] * 4, 4, 9.0, Fit(0.0, 1.0, (1, 10), "mean", 99)) == 0.5


def test_predictive_keeps_its_level_on_judges_without_a_preference():
    """Any change of the leader after a stop is an error; the stated level is per verdict."""
    rng = random.Random(0)
    rule, k, wrong, n_stopped = predictive(0.05), 16, 0, 0
    for _ in range(1500):
        lean = rng.gauss(0, 1)
        rows = [(rng.gauss(5.5 + lean, 2), rng.gauss(5.5, 2)) for _ in range(k)]
        for end in rule.waves(k, 2)[:-1]:
            if rule.is_decided(State(rows[:end], k - end, 6, 9.0)):
                n_stopped += 1
                wrong += best(means(rows[:end])) != best(means(rows))
                break
    assert n_stopped > 500 and wrong / 1500 < 0.05


def means(rows):
    return tuple(math.fsum(column) / len(rows) for column in zip(*rows, strict=True))


def test_noise_and_spread_are_measured_on_stored_rows(tmp_path):
    rng = random.Random(3)
    items = []
    for _ in range(2000):
        gap = rng.gauss(0, 2)
        items.append([(rng.gauss(gap, 1), rng.gauss(0, 1)) for _ in range(8)])
    fit = fit_stopping(items, mean_scores, TEN)
    assert fit.noise == pytest.approx(math.sqrt(2), rel=0.03)
    assert fit.spread == pytest.approx(2, rel=0.05)
    write_fit(fit, tmp_path / "f.json")
    assert read_fit(tmp_path / "f.json", mean_scores, TEN) == fit
    assert "noise=1.4" in predictive(0.02, fit).name


def test_a_stopping_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "f.json"
    write_fit(Fit(1.0, 1.0, (1, 10), "mean", 50), path)
    for vote, scale in ((majority, TEN), (mean_scores, BINARY)):
        with pytest.raises(ConfigError, match="was measured for the vote 'mean'"):
            read_fit(path, vote, scale)
    for text in ("", "{}", "[1]", '{"noise": "x"}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="fit-stopping"):
            read_fit(path, mean_scores, TEN)
    with pytest.raises(ConfigError, match="noise nan and spread"):
        path.write_text('{"noise": NaN, "spread": 1, "scale": [1, 10], "vote": "mean", "items": 9}')
        read_fit(path, mean_scores, TEN)
    with pytest.raises(ConfigError, match="got 3 items"):
        fit_stopping([[(1.0, 2.0)] * 4] * 3, mean_scores, TEN)


def test_a_rule_that_cannot_stop_says_so_once():
    assert exact.can_stop(8, 2) and not exact.can_stop(4, 2) and not exact.can_stop(8, 4)
    with pytest.warns(UserWarning, match="exact cannot stop before k = 8 with 4 responses"):
        warn_if_idle(exact, 8, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_idle(exact, 8, 4)
        warn_if_idle(predictive(), 8, 2)
        warn_if_idle(exact, 1, 1)


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
