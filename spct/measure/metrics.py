"""What stands beside a score: abstentions, bias, calibration and cost of one row.

A figure that has no data is None, never 0. Only verdicts on several responses have ties, positions
and lengths; pairs whose gold is a tie take part in bias figures and in no accuracy.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from spct.core.vote import best, mean_scores, scores_of
from spct.measure.aggregates import Array
from spct.measure.loading import Loaded
from spct.measure.results import Row
from spct.measure.rules import gold_of, is_gold_tie, share_of_top
from spct.types import Example, Trajectory, Usage, Verdict


@dataclass(frozen=True, slots=True)
class Abstention:
    """What became of the verdicts: shares of all verdicts, and of all samples."""

    n_verdicts: int
    unscored_rate: float
    tie_rate: float | None  # among verdicts with rewards for several responses
    n_samples: int
    parse_failure_rate: float | None  # among samples; None where there are none
    reasons: Mapping[str, int]


def abstention(verdicts: Sequence[Verdict]) -> Abstention:
    """Count unscored verdicts, ties, and samples without a verdict by reason."""
    several = [v for v in verdicts if v.rewards is not None and len(v.rewards) > 1]
    reasons: Counter[str] = Counter()
    for verdict in verdicts:
        reasons.update(verdict.unscored)
    n_samples = sum(len(v.trajectories) for v in verdicts)
    return Abstention(
        len(verdicts),
        sum(v.rewards is None for v in verdicts) / len(verdicts),
        _share(sum(len(v.best) > 1 for v in several), len(several)),
        n_samples,
        _share(sum(reasons.values()), n_samples),
        dict(sorted(reasons.items())),
    )


def _share(n: int, of: int) -> float | None:
    return n / of if of else None


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
    firsts = list(_first_picks(loaded.examples, row.verdicts))
    return Position(
        _share(sum(a == b for a, b in pairs), len(pairs)),
        len(pairs),
        _share(sum(is_first for is_first, _ in firsts), len(firsts)),
        math.fsum(1 / n for _, n in firsts) / len(firsts) if firsts else None,
        len(firsts),
    )


def _two_winners(loaded: Loaded, row: Row) -> Iterable[tuple[frozenset[str], frozenset[str]]]:
    """The winners' texts under two orders of the same item."""
    if loaded.benchmark.two_orders:
        winners: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
        for example in loaded.examples:
            verdict = row.verdicts.get(example.id)
            if verdict is not None and verdict.rewards is not None:
                texts = frozenset(example.responses[i] for i in verdict.best)
                winners[str(example.meta["unit"])].append(texts)
        yield from ((a, b) for a, b, *_ in (w for w in winners.values() if len(w) > 1))
        return
    for example in loaded.examples:
        verdict = row.verdicts.get(example.id)
        if verdict is None or example.n < 2:
            continue
        by_order: defaultdict[tuple[int, ...], list[Trajectory]] = defaultdict(list)
        for trajectory in verdict.trajectories:
            by_order[trajectory.prompt.order].append(trajectory)
        voted = [mean_scores(some) for some in by_order.values()]
        tops = [frozenset(example.responses[i] for i in best(r)) for r in voted if r is not None]
        yield from pairwise(tops)


def _first_picks(
    examples: Iterable[Example], verdicts: Mapping[str, Verdict]
) -> Iterable[tuple[bool, int]]:
    """For each decided judgement: whether it picked the first slot, and how many there were."""
    for example in examples:
        verdict = verdicts.get(example.id)
        if verdict is None or example.n < 2:
            continue
        if not verdict.trajectories and len(verdict.best) == 1:
            yield verdict.best[0] == 0, example.n
        for trajectory in verdict.trajectories:
            for scores in scores_of([trajectory]):
                top = best(scores)
                if len(top) == 1:
                    yield trajectory.prompt.order[0] == top[0], example.n


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
    for example in loaded.examples:
        verdict = row.verdicts.get(example.id)
        if verdict is None or verdict.winner is None or example.n != 2:
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
        _share(longer, len(rows)),
        _share(sum(golds), len(golds)),
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
        if np.linalg.cond(hessian) > 1e10:
            return None
        step = np.linalg.solve(hessian, features.T @ (won - p))
        weights = weights + step
        if np.abs(weights).max() > 15:  # odds of a million to one: the data separate
            return None
        if np.abs(step).max() < 1e-10:
            error = _Z95 * _robust_error(features * (won - p)[:, None], hessian, clusters)
            last = float(weights[-1])
            return Fit(last, last - error, last + error)
    return None


_Z95 = 1.959963984540054


def _robust_error(residuals: Array, hessian: Array, clusters: Sequence[str]) -> float:
    """The sandwich standard error of the last coefficient, clustered by prompt."""
    _, at = np.unique(np.array(clusters), return_inverse=True)
    sums = np.zeros((at.max() + 1, residuals.shape[1]))
    np.add.at(sums, at, residuals)
    bread = np.linalg.inv(hessian)
    return math.sqrt((bread @ sums.T @ sums @ bread)[-1, -1])


# --- calibration --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bin:
    """Verdicts whose vote share lies in one tenth: how sure the votes were and how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Vote share (of counted samples, those with the verdict's winner) against accuracy."""

    n: int
    ece: float
    bins: tuple[Bin, ...]


def calibration(loaded: Loaded, row: Row, n_bins: int = 10) -> Calibration | None:
    """Expected calibration error over equal bins; None for fewer than two samples a verdict."""
    points: list[tuple[float, float]] = []
    for example in loaded.examples:
        verdict = row.verdicts.get(example.id)
        if verdict is None or verdict.k_counted < 2 or verdict.winner is None:
            continue
        if verdict.agreement is not None and verdict.rewards and not is_gold_tie(example):
            points.append((verdict.agreement, share_of_top(verdict.rewards, gold_of(example))))
    if not points:
        return None
    found: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for share, right in points:
        found[min(n_bins - 1, int(share * n_bins))].append((share, right))
    bins = tuple(_bin(i, found[i], n_bins) for i in sorted(found))
    ece = math.fsum(b.n * abs(b.confidence - b.accuracy) for b in bins) / len(points)
    return Calibration(len(points), ece, bins)


def _bin(i: int, points: Sequence[tuple[float, float]], n_bins: int) -> Bin:
    shares, rights = zip(*points, strict=True)
    n = len(points)
    return Bin(i / n_bins, (i + 1) / n_bins, n, math.fsum(shares) / n, math.fsum(rights) / n)


# --- cost ---------------------------------------------------------------------------------------


def cost(verdicts: Iterable[Verdict]) -> Usage:
    """Tokens and LM calls of the samples that the verdicts use."""
    return sum((t.completion.usage for v in verdicts for t in v.trajectories), Usage())
