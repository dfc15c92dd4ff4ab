"""How far a judge goes by what should not matter: a response's place, its length, its neighbour.

Over all votes of a row. A figure that has no data is None, never 0. Only votes on several responses
have places and lengths; pairs whose gold is a tie take part here and in no accuracy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from spct.measure.aggregates import Array, micro
from spct.measure.intervals import Z95, Interval, bootstrap
from spct.measure.loading import Loaded
from spct.measure.metrics import share
from spct.measure.rows import Row, units_of, voted_examples
from spct.measure.rules import Credit, gold_of
from spct.types import Example, Trajectory, Verdict
from spct.votes.vote import Rewards, best, mean_scores

# --- position -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Position:
    """How much the place of a response matters.

    `consistency` is the share of items on which two orders have the same winner (or the same tie):
    two presentations where the benchmark has them, else the votes of the samples drawn in each
    order. `first_share` is the share of decided judgements that pick the response shown first,
    `first_fair` what it would be if the place did not matter.
    """

    consistency: float | None
    n_compared: int
    first_share: float | None
    first_fair: float | None
    n_decided: int


def position(loaded: Loaded, row: Row) -> Position:
    """Measure order consistency and the share of the first slot."""
    pairs = list(_two_winners(loaded, row))
    firsts = [pick for _, vote in voted_examples(loaded, row) for pick in first_picks(vote)]
    return Position(
        share(sum(a == b for a, b in pairs), len(pairs)),
        len(pairs),
        share(sum(is_first for is_first, _ in firsts), len(firsts)),
        math.fsum(1 / n for _, n in firsts) / len(firsts) if firsts else None,
        len(firsts),
    )


def _two_winners(loaded: Loaded, row: Row) -> Iterable[tuple[frozenset[str], frozenset[str]]]:
    """The winners' texts under two orders of the same item."""
    if loaded.benchmark.two_orders:
        for groups in units_of(loaded, row).values():
            for group in groups:
                tops = [_winners(j.example, j.rewards) for j in group if j.rewards is not None]
                yield from pairwise(tops)
        return
    for example, vote in voted_examples(loaded, row):
        if example.n < 2:
            continue
        by_order: defaultdict[tuple[int, ...], list[Trajectory]] = defaultdict(list)
        for trajectory in vote.trajectories:
            by_order[trajectory.prompt.order].append(trajectory)
        voted = [mean_scores(some) for some in by_order.values()]
        yield from pairwise(_winners(example, r) for r in voted if r is not None)


def _winners(example: Example, rewards: Rewards) -> frozenset[str]:
    return frozenset(example.responses[i] for i in best(rewards))


def first_picks(vote: Verdict) -> Iterator[tuple[bool, int]]:
    """For each decided judgement: whether it picked the first slot, and how many there were."""
    rewards = vote.rewards or ()
    if not vote.trajectories and len(rewards) > 1 and len(vote.best) == 1:
        yield vote.best[0] == 0, len(rewards)
    for trajectory in vote.trajectories:
        judgement = trajectory.judgement
        if judgement is not None and len(judgement.scores) > 1:
            top = best(judgement.scores)
            if len(top) == 1:
                yield trajectory.prompt.order[0] == top[0], len(judgement.scores)


# --- length -------------------------------------------------------------------------------------


MIN_PAIRS = 30  # below this the coefficient's interval is not to be trusted


@dataclass(frozen=True, slots=True)
class Length:
    """How far the longer response is favoured among decided pairs.

    `coefficient` is the change in log odds of winning for one standard deviation of length
    difference, at equal gold (logistic regression with an intercept for position, as the item
    presents it, and the gold difference); None when the data separate perfectly or are too few.
    """

    longer_share: float | None
    gold_longer_share: float | None
    n_pairs: int
    coefficient: float | None
    low: float | None
    high: float | None


def length(loaded: Loaded, row: Row) -> Length:
    """Measure the length bias on pairs of unequal length with a winner."""
    rows: list[tuple[float, float, float]] = []  # first wins, gold difference, length difference
    clusters: list[str] = []
    for example, verdict in voted_examples(loaded, row):
        if verdict.winner is None or example.n != 2:
            continue
        difference = len(example.responses[0]) - len(example.responses[1])
        if difference:
            gold = gold_of(example)
            rows.append((float(verdict.winner == 0), gold[0] - gold[1], float(difference)))
            clusters.append(str(example.meta["cluster"]))
    longer = sum((won == 1) == (d > 0) for won, _, d in rows)
    golds = [(g > 0) == (d > 0) for _, g, d in rows if g]
    fit = _logistic(np.array(rows), clusters) if len(rows) >= MIN_PAIRS else None
    return Length(
        share(longer, len(rows)),
        share(sum(golds), len(golds)),
        len(rows),
        *(fit or (None, None, None)),
    )


class Fit(NamedTuple):
    """A coefficient with its 95% Wald interval, robust to what rows of one prompt share."""

    coefficient: float
    low: float
    high: float


def _logistic(rows: Array, clusters: Sequence[str]) -> Fit | None:
    """Newton's method; None if the likelihood has no maximum (it walks off to infinity)."""
    won, gold, difference = rows.T
    spread = difference.std()
    if not spread or won.min() == won.max():
        return None
    features = np.column_stack([np.ones(len(won)), gold, difference / spread])
    if not gold.any():
        features = features[:, [0, 2]]
    weights = np.zeros(features.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        hessian = (features * (p * (1 - p))[:, None]).T @ features
        if np.linalg.cond(hessian) > 1e10:  # gold and length say the same in these data
            return None
        step = np.linalg.solve(hessian, features.T @ (won - p))
        weights = weights + step
        if np.abs(weights).max() > 15:  # odds of a million to one: the data separate
            return None
        if np.abs(step).max() < 1e-10:
            error = Z95 * _robust_error(features * (won - p)[:, None], hessian, clusters)
            last = float(weights[-1])
            return Fit(last, last - error, last + error)
    return None


def _robust_error(residuals: Array, hessian: Array, clusters: Sequence[str]) -> float:
    """The sandwich standard error of the last coefficient, clustered by prompt."""
    _, at = np.unique(np.array(clusters), return_inverse=True)
    sums = np.zeros((at.max() + 1, residuals.shape[1]))
    np.add.at(sums, at, residuals)
    bread = np.linalg.inv(hessian)
    return math.sqrt((bread @ sums.T @ sums @ bread)[-1, -1])


# --- neighbour ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a response's score owes to the response shown directly before it.

    `effect` is in points of score for a best response before it rather than a worst one (gold, laid
    on 0 to 1 in each example): below 0 is contrast, above 0 assimilation. Compared within one
    response over the orders that it was shown in, so its own quality drops out; a response whose
    predecessor never changes says nothing. `n` counts the responses that do.
    """

    effect: Interval
    n: int


def neighbour(
    loaded: Loaded, row: Row, *, resamples: int = 10_000, seed: int = 0
) -> Neighbour | None:
    """The least-squares slope with its interval; None without lists of three whose order varied."""
    slopes = [
        Credit(f"{example.id}/{i}", str(example.meta["cluster"]), ("all",), slope, weight)
        for example, votes in ((e, row.votes.get(e.id, ())) for e in loaded.examples)
        if example.n > 2 and len(set(gold_of(example))) > 1
        for i, points in _after(example, votes).items()
        for slope, weight in _slope(points)
    ]
    if not slopes:
        return None
    found = bootstrap(slopes, micro, resamples=resamples, seed=seed)["overall"]
    # Wilson's interval, which bootstrap gives where all agree, is for shares; this is none
    several = len({c.cluster for c in slopes}) > 1
    return Neighbour(found if several else Interval(found.point, None, None), len(slopes))


def _after(example: Example, votes: Iterable[Verdict]) -> dict[int, list[tuple[float, float]]]:
    """For each response: the quality of the one before it, and the score that it got there."""
    gold = gold_of(example)
    # Gold of any scale is laid on 0 to 1 in each example, so that sets can be compared.
    low, width = min(gold), max(gold) - min(gold)
    found: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for trajectory in (t for vote in votes for t in vote.trajectories if t.judgement):
        scores = trajectory.judgement.scores if trajectory.judgement else ()
        for before, response in pairwise(trajectory.prompt.order):
            found[response].append(((gold[before] - low) / width, scores[response]))
    return found


def _slope(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Slope and weight of one response; a mean weighted so is the pooled least-squares slope."""
    xs, ys = zip(*points, strict=True)
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    weight = math.fsum((x - x_mean) ** 2 for x in xs)
    if weight > 0:
        yield math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / weight, weight
