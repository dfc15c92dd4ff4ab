import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.settle import settle
from spct.core.vote import (
    VOTES,
    best,
    expected_scores,
    majority,
    mean_scores,
    meta_top,
    meta_weighted,
    sigmoid,
    vote_named,
)
from spct.errors import ConfigError
from spct.types import Completion, Judgement, Prompt, Trajectory, Unscored


@pytest.fixture
def figure_3(make_trajectory):
    """The four judgements of the paper's Fig. 3; the meta RM likes the first and the third."""
    scores = [(1, 5), (5, 6), (4, 8), (7, 6)]
    return [
        make_trajectory(s, i, meta_score=m)
        for i, (s, m) in enumerate(zip(scores, (1.3, -15.8, 1.7, 0.2), strict=True))
    ]


def test_the_papers_figure_3_sums_to_17_and_25_over_4_judgements(figure_3):
    assert mean_scores(figure_3) == (17 / 4, 25 / 4)


def test_the_papers_figure_3_meta_guided_keeps_5_and_13(figure_3):
    assert meta_top()(figure_3) == (5 / 2, 13 / 2)
    assert meta_top(2)(figure_3) == (5 / 2, 13 / 2)
    assert meta_top(1)(figure_3) == (4, 8)
    assert meta_top(99)(figure_3) == (17 / 4, 25 / 4)


def test_the_papers_table_17_sums_to_20_and_27_over_3_judgements(make_trajectory):
    """Samples (8, 8), and (9, 5), (10, 7) that were shown in reverse."""
    voted = mean_scores([make_trajectory(s) for s in ((8, 8), (5, 9), (7, 10))])
    assert voted == (20 / 3, 27 / 3)


def test_majority_shares_a_judgement_that_ties(make_trajectory):
    ts = [make_trajectory(s) for s in ((9, 1), (5, 5), (2, 8), (3, 4))]
    assert majority(ts) == (1.5 / 4, 2.5 / 4)


def test_meta_weighted_by_hand(make_trajectory):
    ts = [make_trajectory((8, 2), meta_score=0.0), make_trajectory((2, 8), meta_score=math.log(3))]
    # weights 0.5 and 0.75
    assert meta_weighted(ts) == pytest.approx(((4 + 1.5) / 1.25, (1 + 6) / 1.25))


def test_expected_scores_average_and_skip_those_without(make_trajectory):
    ts = [
        make_trajectory((8, 2), expected=(7.5, 2.5)),
        make_trajectory((8, 2), expected=(6.5, 3.5)),
        make_trajectory((1, 9)),
    ]
    assert expected_scores(ts) == (7, 3)
    assert settle("e", ts, expected_scores, 3).k_counted == 2


@pytest.mark.parametrize("vote", [*VOTES.values(), meta_top(), meta_top(3)])
def test_nothing_counted_is_none_and_never_a_number(vote, make_trajectory):
    assert vote([]) is None
    assert vote([make_trajectory("truncated", meta_score=3.0)]) is None
    verdict = settle("e", [make_trajectory("conflict", meta_score=1.0)], vote, 1)
    assert (verdict.rewards, verdict.winner, verdict.best, verdict.agreement) == (
        None,
        None,
        (),
        None,
    )
    assert verdict.unscored == {"conflict": 1}


def test_a_meta_vote_without_meta_scores_is_an_error(make_trajectory):
    for vote in (meta_top(), meta_weighted):
        with pytest.raises(ConfigError, match="no meta score"):
            vote([make_trajectory((1, 2))])


@given(st.floats(-1e300, 1e300))
def test_the_sigmoid_never_overflows(logit):
    assert 0.0 <= sigmoid(logit) <= 1.0
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0)


# --- properties of every vote -------------------------------------------------


def trajectory(scores, index, meta):
    outcome = (
        Unscored("no_verdict")
        if scores is None
        else Judgement((), "", scores, tuple(s * 0.9 for s in scores))
    )
    return Trajectory(
        "e", index, index, Prompt("e", (), (0, 1, 2)), Completion(""), outcome, "t", meta
    )


_rows = st.tuples(*[st.integers(1, 100).map(lambda tenths: tenths / 10)] * 3)
_samples = st.lists(st.tuples(st.none() | _rows, st.integers(-3, 3).map(float)), max_size=9)
_votes = st.sampled_from([*VOTES.values(), meta_top(), meta_top(2)])


@given(_samples, _votes, st.randoms())
def test_a_vote_does_not_depend_on_the_order_of_trajectories(samples, vote, rng):
    ts = [trajectory(scores, i, meta) for i, (scores, meta) in enumerate(samples)]
    expected = settle("e", ts, vote, 9)
    rng.shuffle(ts)
    assert settle("e", ts, vote, 9) == expected


@given(_samples, _votes)
def test_permuting_the_responses_permutes_the_rewards(samples, vote):
    for order in itertools.permutations(range(3)):
        ts = [trajectory(s, i, meta) for i, (s, meta) in enumerate(samples)]
        moved = [
            trajectory(s and tuple(s[j] for j in order), i, meta)
            for i, (s, meta) in enumerate(samples)
        ]
        rewards = vote(ts)
        assert vote(moved) == (rewards and tuple(rewards[j] for j in order))


@given(_samples, _votes)
def test_an_unscored_trajectory_changes_no_reward(samples, vote):
    ts = [trajectory(s, i, meta) for i, (s, meta) in enumerate(samples)]
    assert vote([*ts, trajectory(None, 99, 0.0)]) == vote(ts)


# --- ties and names ---------------------------------------------------------------


def test_a_tie_is_a_tie_and_never_the_first(make_trajectory):
    verdict = settle("e", [make_trajectory((8, 3)), make_trajectory((3, 8), 1)], mean_scores, 2)
    assert verdict.rewards == (5.5, 5.5)
    assert verdict.best == (0, 1) and verdict.winner is None
    assert verdict.agreement == 0


def test_a_single_response_wins_nothing(make_trajectory):
    verdict = settle("e", [make_trajectory((8,))], mean_scores, 1)
    assert verdict.rewards == (8,) and verdict.winner is None and verdict.agreement == 1


def test_sums_of_tenths_tie_exactly():
    rows = [(0.1, 0.3), (0.2, 0.3), (0.3, 0.0)]
    ts = [trajectory((a, b, 0.0), i, 0.0) for i, (a, b) in enumerate(rows)]
    assert best(mean_scores(ts)) == (0, 1)


def test_votes_are_found_by_name():
    assert vote_named("mean") is mean_scores
    assert vote_named("meta_top", 3).name == "meta_top3"
    with pytest.raises(ConfigError, match="no vote 'median'"):
        vote_named("median")
    with pytest.raises(ConfigError, match="k_meta"):
        vote_named("mean", 3)
    with pytest.raises(ConfigError, match="means over the counted"):
        vote_named("sum")
    with pytest.raises(ConfigError, match="at least one"):
        meta_top(0)
