"""Rows of stored samples: re-voting the first k, costs, position, length, calibration."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from spct.core.settle import settle
from spct.core.vote import mean_scores
from spct.measure import metrics
from spct.measure.benchmarks import ours
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.results import Part, Row, credits_of, judged, revote, rows_of, without_texts
from spct.types import Example, Trajectory, Usage, Verdict
from tests.measure.makers import example, pairs_file, trajectory, verdict

SCORES = [(1, 5), (5, 6), (4, 8), (7, 6)]  # the paper's Fig. 3


def sampled(trajectories: list[Trajectory]) -> Verdict:
    return settle("e", trajectories, mean_scores, len(trajectories))


def test_the_paper_s_worked_example_votes_to_its_means() -> None:
    full = sampled([trajectory("e", i, s) for i, s in enumerate(SCORES)])
    assert revote(full, 4, mean_scores).rewards == (4.25, 6.25)


def test_a_smaller_k_is_the_first_k_samples_by_index_whatever_their_order_in_the_store() -> None:
    some = [trajectory("e", i, s) for i, s in enumerate(SCORES)]
    random.Random(1).shuffle(some)
    found = revote(sampled(some), 2, mean_scores)
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
    assert list(rows) == ["greedy", "one sample", "Voting@4", "Meta@4"]  # 8 were not drawn
    assert rows["Meta@4"].verdicts["e"].rewards == (2.5, 6.5)
    assert rows["one sample"].verdicts["e"].rewards == (1, 5)


def test_a_model_without_samples_has_one_row_under_the_scalar_policy() -> None:
    (row,) = rows_of([Part("m", "reward", {"e": verdict("e", (1, 2))}, {})], [1, 8])
    assert (row.name, row.policy) == ("reward", "scalar")


def test_slim_verdicts_keep_everything_but_the_texts() -> None:
    full = sampled([trajectory("e", i, s) for i, s in enumerate([*SCORES, None])])
    slim = without_texts(full)
    assert {t.completion.text for t in slim.trajectories} == {""}
    assert revote(slim, 5, mean_scores) == without_texts(revote(full, 5, mean_scores))
    assert slim.unscored == full.unscored == {"no_verdict": 1}


def test_costs_are_those_of_the_samples_used() -> None:
    some = [
        trajectory("e", 0, (1, 2), usage=Usage(100, 7, 1)),
        trajectory("e", 1, (1, 2), (1, 0), usage=Usage(100, 8, 1)),
        trajectory("e", 2, (1, 2), usage=Usage(0, 9, 0)),  # the prompt was booked on sample 0
    ]
    full = sampled(some)
    assert metrics.cost([revote(full, 1, mean_scores)]) == Usage(100, 7, 1)
    assert metrics.cost([full]) == Usage(200, 24, 2)


# --- figures of a row ---------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Loaded:
    return load_benchmark(ours(pairs_file(tmp_path / "two.jsonl", 12)))


def row_of(loaded: Loaded, verdicts: dict[str, Verdict]) -> Row:
    return Row("m", "reward", 1, verdicts, "scalar")


def with_examples(loaded: Loaded, examples: list[Example]) -> Loaded:
    from dataclasses import replace

    return replace(loaded, examples=tuple(examples), by_id={e.id: e for e in examples})


def test_abstentions_are_counted_apart_from_ties_and_wrong_answers() -> None:
    some = [
        verdict("a", (2, 1)),
        verdict("b", (1, 1)),
        sampled([trajectory("e", 0, None), trajectory("e", 1, None)]),
    ]
    found = metrics.abstention(some)
    assert found.unscored_rate == pytest.approx(1 / 3)
    assert found.tie_rate == 0.5
    assert (found.n_samples, found.parse_failure_rate) == (2, 1.0)
    assert found.reasons == {"no_verdict": 2}
    assert metrics.abstention([verdict("a", (2, 1))]).parse_failure_rate is None


def test_order_consistency_compares_the_votes_of_both_orders(two: Loaded) -> None:
    same = sampled([trajectory("e", 0, (2, 1)), trajectory("e", 1, (3, 1), (1, 0))])
    first_slot = sampled([trajectory("e", 0, (2, 1)), trajectory("e", 1, (1, 3), (1, 0))])
    loaded = with_examples(two, [example((1, 0), "a"), example((1, 0), "b")])
    found = metrics.position(loaded, row_of(loaded, {"a": same, "b": first_slot}))
    assert (found.consistency, found.n_compared) == (0.5, 2)
    # shown first: 0 (picked), then 1 (not picked) | 0 (picked), 1 (picked)
    assert (found.first_share, found.n_decided, found.first_fair) == (0.75, 4, 0.5)


def test_without_two_orders_there_is_no_consistency(two: Loaded) -> None:
    found = metrics.position(two, row_of(two, {e.id: verdict(e.id, (1, 0)) for e in two.examples}))
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

    def bias(slope: float) -> metrics.Length:
        verdicts = {}
        for e in examples:
            a, b = (len(r) for r in e.responses)
            gold = e.gold or (0, 0)
            lean = slope * (a - b) / 80 + (gold[0] - gold[1]) + rng.gauss(0, 1.5)
            verdicts[e.id] = verdict(e.id, (lean, 0.0))
        return metrics.length(loaded, row_of(loaded, verdicts))

    biased, blind = bias(1.5), bias(0.0)
    assert biased.low is not None and biased.low > 0.5
    assert biased.longer_share is not None and biased.longer_share > 0.65
    assert blind.low is not None and blind.high is not None and blind.low < 0 < blind.high


def test_a_perfectly_separating_judge_has_a_share_but_no_coefficient(two: Loaded) -> None:
    verdicts = {e.id: verdict(e.id, tuple(map(len, e.responses))) for e in two.examples}
    found = metrics.length(two, row_of(two, verdicts))
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
    assert [(b.n, b.accuracy) for b in found.bins] == [(1, 1.0), (2, 0.5)]


def test_a_unit_that_was_half_judged_is_not_scored(two: Loaded) -> None:
    examples = [example((1, 0), "a#1", unit="a"), example((0, 1), "a#2", unit="a")]
    loaded = with_examples(two, examples)
    half = row_of(loaded, {"a#1": verdict("a#1", (1, 0))})
    assert judged(loaded, half) == [] and credits_of(loaded, half) == []


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
    assert (voting.name, voting.verdicts["e"].rewards) == ("Voting@4", (2.75, 5))
    assert (meta.name, meta.verdicts["e"].rewards) == ("Meta@4", rewards)
