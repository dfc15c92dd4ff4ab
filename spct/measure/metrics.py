"""What stands beside a score: abstentions, calibration and cost of one row, over all its votes.

A figure that has no data is None, never 0. Bias figures are in bias.py.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spct.measure.loading import Loaded
from spct.measure.rows import Row, voted_examples
from spct.measure.rules import credit, gold_of, is_gold_tie
from spct.types import Usage, Verdict
from spct.votes.vote import best


@dataclass(frozen=True, slots=True)
class Abstention:
    """What became of the votes and of the samples behind them."""

    n_verdicts: int  # presentations
    unscored_rate: float
    tie_rate: float | None  # among votes with rewards for several responses
    n_samples: int
    parse_failure_rate: float | None  # among samples; None where there are none
    reasons: Mapping[str, int]


def abstention(votes: Sequence[Sequence[Verdict]]) -> Abstention:
    """Count unscored votes, ties, and samples without a verdict by reason.

    `votes` are those of each presentation, which weighs the same however many groups it has: one
    that could not be asked about has a single vote.
    """
    each = [(vote, 1 / len(some)) for some in votes for vote in some]
    several = [(v, w) for v, w in each if v.rewards is not None and len(v.rewards) > 1]
    tied = math.fsum(w for v, w in several if len(v.best) > 1)
    reasons: Counter[str] = Counter()
    for vote, _ in each:
        reasons.update(vote.unscored)
    n_samples = sum(len(v.trajectories) for v, _ in each)
    return Abstention(
        len(votes),
        math.fsum(w for v, w in each if v.rewards is None) / len(votes),
        tied / math.fsum(w for _, w in several) if several else None,
        n_samples,
        share(sum(reasons.values()), n_samples),
        dict(sorted(reasons.items())),
    )


def share(n: int, of: int) -> float | None:
    """A share; None of nothing."""
    return n / of if of else None


# --- calibration --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions in one tenth: how sure they were on average, and how often right."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted probabilities of being right against what came of them."""

    n: int
    ece: float
    bins: tuple[Bin, ...]


def calibrated(points: Sequence[tuple[float, float]], n_bins: int = 10) -> Calibration | None:
    """Expected calibration error over equal bins of (predicted, right); None without points."""
    if not points:
        return None
    found: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for predicted, right in points:
        found[min(n_bins - 1, int(predicted * n_bins))].append((predicted, right))
    bins = tuple(_bin(i, found[i], n_bins) for i in sorted(found))
    ece = math.fsum(b.n * abs(b.predicted - b.observed) for b in bins) / len(points)
    return Calibration(len(points), ece, bins)


def _bin(i: int, points: Sequence[tuple[float, float]], n_bins: int) -> Bin:
    predicted, rights = zip(*points, strict=True)
    n = len(points)
    return Bin(i / n_bins, (i + 1) / n_bins, n, math.fsum(predicted) / n, math.fsum(rights) / n)


def calibration(loaded: Loaded, row: Row) -> Calibration | None:
    """The vote share (of counted samples, those with the vote's winner) as a prediction.

    None for rows of fewer than two samples a vote.
    """
    return calibrated(
        [
            (vote.agreement, credit(vote.rewards, gold_of(example)))
            for example, vote in voted_examples(loaded, row)
            if vote.k_counted > 1
            and vote.winner is not None
            and vote.agreement is not None
            and not is_gold_tie(example)
        ]
    )


# --- cost ---------------------------------------------------------------------------------------


def cost(verdicts: Iterable[Verdict]) -> Usage:
    """Tokens and LM calls of the samples that the verdicts use."""
    return sum((t.completion.usage for v in verdicts for t in v.trajectories), Usage())


# --- health -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """What stands beside every accuracy of a trained judge; shares of all its judgements."""

    unscored: float
    ties: float
    tokens: float  # generated, per judgement


def health(verdicts: Iterable[Verdict]) -> Health:
    """Share of unscored judgements, share of ties among all, and mean generated tokens."""
    drawn = [t for v in verdicts for t in v.trajectories]
    scores = [t.judgement.scores if t.judgement else None for t in drawn]
    return Health(
        unscored=sum(s is None for s in scores) / len(drawn),
        ties=sum(s is not None and len(s) > 1 and len(best(s)) > 1 for s in scores) / len(drawn),
        tokens=sum(t.completion.usage.completion_tokens for t in drawn) / len(drawn),
    )
