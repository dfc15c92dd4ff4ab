"""Rows of stored samples: re-voting the first k, costs, position, length, calibration."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from spct.core.settle import settle
from spct.measure import bias, metrics
from spct.measure.benchmarks import ours
from spct.measure.estimator import by, votes_at
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.rows import Part, Row, credits_of, rows_of, units_of, without_texts
from spct.measure.rules import strict
from spct.types import Example, Trajectory, Usage, Verdict
from spct.votes.vote import mean_scores
from tests.measure.makers import example, pairs_file, trajectory, verdict

SCORES = [(1, 5), (5, 6), (4, 8), (7, 6)]  # the paper's Fig. 3


def revote(verdict: Verdict, k: int) -> Verdict:
    """The vote of the first group."""
    return votes_at(verdict, k, by(mean_scores))[0]


def sampled(trajectories: list[Trajectory]) -> Verdict:
    return settle("e", trajectories, mean_scores, len(trajectories))


def test_the_paper_s_worked_example_votes_to_its_means() -> None:
    full = sampled([trajectory("e", i, s) for i, s in enumerate(SCORES)])
    assert revote(full, 4).rewards == (4.25, 6.25)


def test_a_smaller_k_is_the_first_k_samples_by_index_whatever_their_order_in_the_store() -> None:
    some = [trajectory("e", i, s) for i, s in enumerate(SCORES)]
    random.Random(1).shuffle(some)
    found = revote(sampled(some), 2)
    assert (found.rewards, found.k_drawn) == ((3, 5.5), 2)


def test_rows_are_greedy_one_sample_voting_and_meta() -> None:
    metas = [1.0, -2.0, 3.0, -4.0]  # samples 0 and 2 rank highest: means 2.5 and 6.5
    some = [
        trajectory("e", i, s, meta_score=m)
        for i, (s, m) in enumerate(zip(SCORES, metas, strict=True))
    ]
    parts = [
        Part("m", "sampled", {"e": sampled(some)}, {}),
        Part("m", "greedy", {"e": sampled(some[:1])}, {}),
    ]
    rows = {row.name: row for row in rows_of(parts, [1, 4, 8])}
    assert list(rows) == [
        "greedy",
        "one sample, all groups",
        "Voting@4, all groups",
        "Meta@4, all groups",
    ]  # 8 were not drawn
    assert rows["Meta@4, all groups"].first["e"].rewards == (2.5, 6.5)
    ones = rows["one sample, all groups"].votes["e"]
    assert [vote.rewards for vote in ones] == SCORES


def test_a_model_without_samples_has_one_row_under_the_scalar_policy() -> None:
    (row,) = rows_of([Part("m", "reward", {"e": verdict("e", (1, 2))}, {})], [1, 8])
    assert (row.name, row.policy) == ("reward", "scalar")


def test_slim_verdicts_keep_everything_but_the_texts() -> None:
    full = sampled([trajectory("e", i, s) for i, s in enumerate([*SCORES, None])])
    slim = without_texts(full)
    assert {t.completion.text for t in slim.trajectories} == {""}
    assert revote(slim, 5) == without_texts(revote(full, 5))
    assert slim.unscored == full.unscored == {"no_verdict": 1}


def test_costs_are_those_of_the_samples_used() -> None:
    some = [
        trajectory("e", 0, (1, 2), usage=Usage(100, 7, 1)),
        trajectory("e", 1, (1, 2), (1, 0), usage=Usage(100, 8, 1)),
        trajectory("e", 2, (1, 2), usage=Usage(0, 9, 0)),  # the prompt counts on sample 0
    ]
    full = sampled(some)
    assert metrics.cost([revote(full, 1)]) == Usage(100, 7, 1)
    assert metrics.cost([full]) == Usage(200, 24, 2)


# --- figures of a row ---------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Loaded:
    return load_benchmark(ours(pairs_file(tmp_path / "two.jsonl", 12)))


def row_of(loaded: Loaded, verdicts: dict[str, Verdict]) -> Row:
    return Row("m", "reward", 1, {id: (v,) for id, v in verdicts.items()}, "scalar")


def with_examples(loaded: Loaded, examples: list[Example]) -> Loaded:
    from dataclasses import replace

    return replace(loaded, examples=tuple(examples), by_id={e.id: e for e in examples})


def test_abstentions_are_counted_apart_from_ties_and_wrong_answers() -> None:
    some = [
        verdict("a", (2, 1)),
        verdict("b", (1, 1)),
        sampled([trajectory("e", 0, None), trajectory("e", 1, None)]),
    ]
    found = metrics.abstention([[v] for v in some])
    assert found.unscored_rate == pytest.approx(1 / 3)
    assert found.tie_rate == 0.5
    assert (found.n_samples, found.parse_failure_rate) == (2, 1.0)
    assert found.reasons == {"no_verdict": 2}
    assert metrics.abstention([[verdict("a", (2, 1))]]).parse_failure_rate is None


def test_order_consistency_compares_the_votes_of_both_orders(two: Loaded) -> None:
    same = sampled([trajectory("e", 0, (2, 1)), trajectory("e", 1, (3, 1), (1, 0))])
    first_slot = sampled([trajectory("e", 0, (2, 1)), trajectory("e", 1, (1, 3), (1, 0))])
    loaded = with_examples(two, [example((1, 0), "a"), example((1, 0), "b")])
    found = bias.position(loaded, row_of(loaded, {"a": same, "b": first_slot}))
    assert (found.consistency, found.n_compared) == (0.5, 2)
    # shown first: 0 (picked), then 1 (not picked) | 0 (picked), 1 (picked)
    assert (found.first_share, found.n_decided, found.first_fair) == (0.75, 4, 0.5)


def test_without_two_orders_there_is_no_consistency(two: Loaded) -> None:
    found = bias.position(two, row_of(two, {e.id: verdict(e.id, (1, 0)) for e in two.examples}))
    assert found.consistency is None and found.first_share == 1.0


def test_length_bias_finds_a_longer_wins_judge_and_spares_a_blind_one(two: Loaded) -> None:
    rng = random.Random(3)
    examples = [
        example(
            (1, 0) if rng.random() < 0.5 else (0, 1),
            f"e{i}",
            query=f"q{i}",
            responses=["x" * rng.randint(10, 200), "y" * rng.randint(10, 200)],
        )
        for i in range(400)
    ]
    loaded = with_examples(two, examples)

    def measured(slope: float) -> bias.Length:
        verdicts = {}
        for e in examples:
            a, b = (len(r) for r in e.responses)
            gold = e.gold or (0, 0)
            lean = slope * (a - b) / 80 + (gold[0] - gold[1]) + rng.gauss(0, 1.5)
            verdicts[e.id] = verdict(e.id, (lean, 0.0))
        return bias.length(loaded, row_of(loaded, verdicts))

    biased, blind = measured(1.5), measured(0.0)
    assert biased.low is not None and biased.low > 0.5
    assert biased.longer_share is not None and biased.longer_share > 0.65
    assert blind.low is not None and blind.high is not None and blind.low < 0 < blind.high


def test_a_perfectly_separating_judge_has_a_share_but_no_coefficient(two: Loaded) -> None:
    verdicts = {e.id: verdict(e.id, tuple(map(len, e.responses))) for e in two.examples}
    found = bias.length(two, row_of(two, verdicts))
    assert found.longer_share == 1.0 and found.coefficient is None


def test_calibration_by_hand(two: Loaded) -> None:
    # two verdicts at vote share 1.0, one right; one at 2/3, right: ECE = 2/3 * 0.5 + 1/3 * 1/3
    def vote(*scores: tuple[int, int]) -> Verdict:
        return sampled([trajectory("e", i, s) for i, s in enumerate(scores)])

    loaded = with_examples(two, [example((1, 0), id) for id in "abc"])
    verdicts = {
        "a": vote((2, 1), (2, 1), (2, 1)),
        "b": vote((1, 2), (1, 2), (1, 2)),
        "c": vote((9, 1), (9, 1), (1, 2)),
    }
    found = metrics.calibration(loaded, row_of(loaded, verdicts))
    assert found is not None and found.n == 3
    assert found.ece == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 1 / 3)
    assert [(b.n, b.observed) for b in found.bins] == [(1, 1.0), (2, 0.5)]


def test_a_unit_that_was_half_judged_is_not_scored(two: Loaded) -> None:
    examples = [example((1, 0), "a#1", unit="a"), example((0, 1), "a#2", unit="a")]
    loaded = with_examples(two, examples)
    half = row_of(loaded, {"a#1": verdict("a#1", (1, 0))})
    assert units_of(loaded, half) == {}


@pytest.mark.parametrize(
    ("vote", "rewards"),
    [("meta_top1", (4, 8)), ("meta_top3", (2, 14 / 3)), ("meta_top", (2.5, 6.5))],
)
def test_a_models_own_meta_guided_vote_is_that_of_its_meta_rows(
    vote: str, rewards: tuple[float, ...]
) -> None:
    metas = [1.0, -4.0, 3.0, -2.0]
    some = [
        trajectory("e", i, s, meta_score=m)
        for i, (s, m) in enumerate(zip([(1, 5), (5, 6), (4, 8), (1, 1)], metas, strict=True))
    ]
    (_, voting, meta) = rows_of(
        [Part("m", "sampled", {"e": sampled(some)}, {"vote": vote})], [1, 4]
    )
    assert (voting.name, voting.first["e"].rewards) == ("Voting@4, all groups", (2.75, 5))
    assert (meta.name, meta.first["e"].rewards) == ("Meta@4, all groups", rewards)


def test_a_unit_earns_the_mean_over_its_groups_of_both_presentations(two: Loaded) -> None:
    """Two groups of one sample each: right in both presentations, then wrong in the second."""
    examples = [example((1, 0), "a#1", unit="a"), example((0, 1), "a#2", unit="a")]
    loaded = with_examples(two, examples)
    verdicts = {
        "a#1": settled("a#1", (2, 1), (2, 1)),
        "a#2": settled("a#2", (1, 2), (2, 1)),
    }
    (row,) = rows_of([Part("m", "sampled", verdicts, {})], [1])
    (found,) = credits_of(strict, units_of(loaded, row), "scalar")
    assert (found.unit, found.value, found.weight) == ("a", 0.75, 2.0)


def settled(id: str, *scores: tuple[float, ...]) -> Verdict:
    return settle(
        id, [trajectory(id, i, s) for i, s in enumerate(scores)], mean_scores, len(scores)
    )


def test_rewards_that_are_not_finite_are_no_verdict(two: Loaded) -> None:
    nan = float("nan")
    verdicts = {e.id: verdict(e.id, (nan, 1.0)) for e in two.examples}
    (row,) = rows_of([Part("m", "reward", verdicts, {})], [1])
    assert all(v.rewards is None and v.best == () for v in row.first.values())
    assert metrics.abstention(list(row.votes.values())).unscored_rate == 1.0


def test_the_neighbour_effect_by_hand(two: Loaded) -> None:
    """Response 1 gets 5 behind the best one and 7 behind the worst, 2 gets 4 always: -2 and 0.

    Gold 2, 1, 0 is laid on 1, 0.5, 0. Response 1 stands behind 0 and behind 2: x = 1 and 0, slope
    -2, weight 1/2. Response 2 stands behind 1 (x = 0.5) and is first; 0 stands behind 1 or is
    first: no spread, no slope. So the effect is -2.
    """
    loaded = with_examples(two, [example((2, 1, 0), "a")])
    some = [
        trajectory("a", 0, (9, 5, 4), (0, 1, 2)),
        trajectory("a", 1, (9, 7, 4), (2, 1, 0)),
    ]
    votes = {"a": (settle("a", some, mean_scores, 2),)}
    found = bias.neighbour(loaded, Row("m", "r", 2, votes, "generative"), resamples=100)
    assert found is not None
    assert (found.effect, found.n) == ((-2.0, None, None), 1)  # one prompt: no interval
    pair = with_examples(two, [example((1, 0), "a")])
    assert bias.neighbour(pair, Row("m", "r", 2, votes, "generative")) is None


def test_the_neighbour_effect_of_a_judge_with_contrast_is_found_and_of_a_fair_one_is_not(
    two: Loaded,
) -> None:
    rng = random.Random(4)
    examples = [example((3, 2, 1, 0), f"e{i}", query=f"q{i}") for i in range(80)]
    loaded = with_examples(two, examples)

    def effect(contrast: float) -> bias.Neighbour:
        votes = {}
        for e in examples:
            some = []
            for i in range(8):
                order = tuple(rng.sample(range(4), 4))
                scores = [0.0] * 4
                for place, shown in enumerate(order):
                    before = (e.gold or ())[order[place - 1]] / 3 if place else 0.5
                    scores[shown] = 2 * (e.gold or ())[shown] - contrast * before + rng.gauss(0, 1)
                some.append(trajectory(e.id, i, scores, order))
            votes[e.id] = (settle(e.id, some, mean_scores, 8),)
        found = bias.neighbour(loaded, Row("m", "r", 8, votes, "generative"), resamples=500)
        assert found is not None
        return found

    strong, fair = effect(1.5).effect, effect(0.0).effect
    assert strong.low is not None and strong.high is not None
    assert strong.low < -1.5 < strong.high < 0
    assert fair.low is not None and fair.high is not None and fair.low < 0 < fair.high


def test_calibration_compares_predicted_with_observed() -> None:
    found = metrics.calibrated([(0.05, 0), (0.15, 1), (0.95, 1), (1.0, 0)])
    assert found is not None and [b.n for b in found.bins] == [1, 1, 2]
    assert (found.bins[2].predicted, found.bins[2].observed) == (pytest.approx(0.975), 0.5)
    assert found.ece == pytest.approx((0.05 + 0.85 + 2 * 0.475) / 4)
    assert metrics.calibrated([]) is None


def test_health_counts_unscored_and_ties() -> None:
    found = metrics.health([settled("a", (8, 3), (5, 5)), settled("b", (1, 2), (1, 2))])
    assert (found.unscored, found.ties, found.tokens) == (0.0, 0.25, 5.0)
    silent = sampled([trajectory("e", 0, None), trajectory("e", 1, (1, 2))])
    assert metrics.health([silent]).unscored == 0.5
