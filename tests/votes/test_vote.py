import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.settle import settle
from spct.errors import ConfigError
from spct.types import Completion, Judgement, Prompt, Trajectory, Unscored
from spct.votes.calibration import Calibration, auc_within, calibrate
from spct.votes.vote import (
    GUIDED,
    VOTES,
    best,
    davidson,
    expected_scores,
    majority,
    mean_scores,
    meta_log_odds,
    meta_top,
    meta_weighted,
    sigmoid,
    vote_named,
)


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


@pytest.mark.parametrize("vote", [*VOTES.values(), *map(vote_named, GUIDED), meta_top(3)])
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
        with pytest.raises(ConfigError, match="meta score nan"):
            vote([make_trajectory((1, 2), meta_score=math.nan)])


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
_votes = st.sampled_from([*VOTES.values(), *map(vote_named, GUIDED), meta_top(2)])


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


def test_meta_top_keeps_half_of_those_drawn(figure_3, make_trajectory):
    """The paper's k / 2: an unscored one takes a place among those drawn, and none in the vote."""
    drawn = [*figure_3, *(make_trajectory("truncated", i) for i in (4, 5))]
    assert settle("e", drawn, meta_top(), 6).rewards == (12 / 3, 19 / 3)


@given(_samples, _votes.filter(lambda vote: vote.name != "meta_top"))
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


# --- guided by log odds -------------------------------------------------------------


def test_log_odds_by_hand(make_trajectory):
    """p of 3/4 and 1/2 and 1/4: weights log 3, 0 and -log 3 on centred scores."""
    rows = [((8, 2), math.log(3)), ((1, 9), 0.0), ((4, 6), -math.log(3))]
    ts = [make_trajectory(s, i, meta_score=m) for i, (s, m) in enumerate(rows)]
    # levels 5, 5, 5; centred (3, -3) and (-1, 1), the second turned around
    assert meta_log_odds()(ts) == pytest.approx((5 + (3 + 1) / 2, 5 - (3 + 1) / 2))
    wins = meta_log_odds(wins=True)(ts)  # shares (1, 0) and (0, 1) turned around
    assert wins == pytest.approx((0.5 + 0.5, 0.5 - 0.5))


def test_of_three_responses_a_blind_judge_is_right_with_one_third(make_trajectory):
    ts = [
        make_trajectory((9, 3, 3), 0, meta_score=-math.log(2)),  # p = 1/3: weight 0
        make_trajectory((3, 9, 3), 1, meta_score=0.0),  # p = 1/2: weight log 2
    ]
    assert meta_log_odds()(ts) == pytest.approx((5 - 2, 5 + 4, 5 - 2))


def test_weights_are_clipped_and_a_meta_rm_that_tells_nothing_gives_a_plain_vote(make_trajectory):
    ts = [make_trajectory(s, i, meta_score=m) for i, (s, m) in
          enumerate([((8, 2), 50.0), ((1, 9), 3.0), ((4, 6), -9.0)])]  # fmt: skip
    # 3, 3 and -3
    assert meta_log_odds()(ts) == pytest.approx((5 + (3 - 4 + 1) / 3, 5 - (3 - 4 + 1) / 3))
    plain = meta_log_odds(Calibration(0.0, 1.0))(ts)
    assert plain == pytest.approx(mean_scores(ts))


def test_a_calibration_is_found_again_by_the_votes_name():
    vote = meta_log_odds(Calibration(0.5, -1.25), wins=True)
    assert vote.name == "meta_log_odds_wins(0.5,-1.25)"
    assert vote_named(vote.name).name == vote.name
    assert vote_named("meta_log_odds").name == "meta_log_odds"


def test_calibration_undoes_a_scale_and_refuses_what_tells_nothing():
    rng = random.Random(0)
    examples = []
    for _ in range(400):
        odds = [rng.gauss(0.3, 1.5) for _ in range(8)]
        examples.append([(4 * x + 2, rng.random() < sigmoid(x)) for x in odds])
    found = calibrate(examples)
    assert found.slope == pytest.approx(0.25, abs=0.03) and found.offset == pytest.approx(
        -0.5, abs=0.2
    )
    assert auc_within(examples) > 0.7
    turned = [[(score, not right) for score, right in e] for e in examples]
    assert not calibrate(turned).informs
    with pytest.raises(ConfigError, match="all right or all"):
        calibrate([[(1.0, True)]])


def test_the_auc_within_counts_no_pair_of_two_examples():
    assert auc_within([[(1, True), (0, False)], [(9, False), (10, True)]]) == 1
    assert auc_within([[(1, True), (1, False)]]) == 0.5
    assert auc_within([[(1, True)]]) == 0.5


def test_weights_by_log_odds_are_the_best_for_independent_judges(make_trajectory):
    """Simulated pairs: judges with p of .9 and .55 who say how sure they are."""
    rng = random.Random(2)
    plain = guided = 0
    for _ in range(400):
        ts = []
        for i in range(9):
            p = rng.choice([0.9, 0.55, 0.4])
            s = (7, 4) if rng.random() < p else (4, 7)
            ts.append(make_trajectory(s, i, meta_score=math.log(p / (1 - p))))
        plain += best(mean_scores(ts)) == (0,)
        guided += best(meta_log_odds()(ts)) == (0,)
    assert guided > plain + 20


# --- ties ------------------------------------------------------------------------


def test_davidson_by_hand(make_trajectory):
    """Three wins, one loss, half a win each: 3.5 to 1.5 of 5, and a tie is half a win each."""
    ts = [make_trajectory(s, i) for i, s in enumerate([(8, 2), (7, 3), (9, 1), (2, 4)])]
    assert davidson(ts) == pytest.approx((3.5 / 5, 1.5 / 5))
    tied = [make_trajectory(s, i) for i, s in enumerate([(5, 5), (5, 5), (8, 2)])]
    assert davidson(tied) == pytest.approx((2.5 / 4, 1.5 / 4))


def test_davidson_solves_the_likelihood_of_three_responses(make_trajectory):
    rows = [(9, 5, 5), (8, 8, 2), (3, 7, 5), (6, 4, 1), (9, 7, 7)]
    ts = [make_trajectory(s, i) for i, s in enumerate(rows)]
    shares = davidson(ts)
    assert shares[0] > shares[1] > shares[2] and sum(shares) == pytest.approx(1.5)
    assert davidson([make_trajectory((5, 5, 5), i) for i in range(3)]) == pytest.approx((0.5,) * 3)
    assert davidson([make_trajectory((7,), 0), make_trajectory((8,), 1)]) == (7.5,)
