"""Accuracy of a judge at k = 1, 2, 4, ... from one set of sampled verdicts.

`curve` draws nothing: for every k it takes random subsets of each example's stored trajectories,
votes on them as at inference, and averages. Ties at the top are broken at random (the paper's rule
for evaluation), so m responses that tie earn 1/m in expectation; an example without any counted
judgement earns 0. A single response is right if its mean score lies on its label's side of 1/2.
Greedy, one sample and votes are different rows. Intervals are 95%, normal, over examples; the
difference of two judges is paired by example.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spct.core.vote import Vote, best
from spct.errors import DataError
from spct.train.outcome import is_tie
from spct.types import Example, Trajectory, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over examples with its 95% interval."""

    mean: float
    half_width: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.mean > self.half_width


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value an example, with a normal 95% interval."""
    n = len(values)
    if n < 2:
        raise DataError(f"estimating a mean from {n} examples; expected at least 2")
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return Estimate(mean, Z95 * math.sqrt(variance / n), n)


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """How far `a` is above `b`, paired by example."""
    return estimate([x - y for x, y in zip(a, b, strict=True)])


def credit(rewards: tuple[float, ...] | None, gold: Sequence[float]) -> float:
    """What a voted verdict earns: 1, 0, or the chance that breaking its tie at random is right.

    For one response the reward is a mean of scores of 0 or 1.
    """
    if rewards is None:
        return 0.0
    if len(gold) == 1:
        return 0.5 if rewards[0] == 0.5 else float((rewards[0] > 0.5) == bool(gold[0]))
    top = best(rewards)
    return float(gold.index(max(gold)) in top) / len(top)


def credits_at(
    examples: Sequence[Example],
    verdicts: Mapping[str, Verdict],
    vote: Vote,
    k: int,
    *,
    draws: int = 16,
    seed: int = 0,
) -> list[float]:
    """Each example's expected credit with `k` of its stored trajectories, over random subsets."""
    earned = []
    for example in examples:
        trajectories = verdicts[example.id].trajectories
        if len(trajectories) < k:
            raise DataError(
                f"voting on {k} judgements of example {example.id!r}: only {len(trajectories)} are "
                "stored; sample more, or ask for a smaller k"
            )
        rng = random.Random(f"{seed}/{k}/{example.id}")
        subsets = _subsets(trajectories, k, draws, rng)
        total = math.fsum(_voted_credit(vote, subset, example.gold or ()) for subset in subsets)
        earned.append(total / len(subsets))
    return earned


def _subsets(
    trajectories: Sequence[Trajectory], k: int, draws: int, rng: random.Random
) -> list[list[Trajectory]]:
    if k == len(trajectories):
        return [list(trajectories)]
    if k == 1:
        return [[t] for t in trajectories]
    return [rng.sample(list(trajectories), k) for _ in range(draws)]


def _voted_credit(vote: Vote, subset: Sequence[Trajectory], gold: Sequence[float]) -> float:
    return credit(vote([t for t in subset if vote.counts(t)]), gold)


@dataclass(frozen=True, slots=True)
class Health:
    """What stands beside every accuracy: how judgements failed, tied, and what they cost."""

    unscored: float
    ties: float
    tokens: float  # generated, a judgement

    def __str__(self) -> str:
        return f"{100 * self.unscored:.1f} / {100 * self.ties:.1f} / {self.tokens:.0f}"


def health(verdicts: Sequence[Verdict]) -> Health:
    """Share of unscored judgements, share of ties among all, and mean generated tokens."""
    all_of_them = [t for v in verdicts for t in v.trajectories]
    scores = [t.judgement.scores if t.judgement else None for t in all_of_them]
    return Health(
        unscored=sum(s is None for s in scores) / len(scores),
        ties=sum(map(is_tie, scores)) / len(scores),
        tokens=sum(t.completion.usage.completion_tokens for t in all_of_them) / len(scores),
    )


def curve_figure(curves: Mapping[str, Mapping[int, Estimate]], title: str) -> Figure:
    """Accuracy against k, one line a judge, with its interval as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        ks = sorted(points)
        means = [100 * points[k].mean for k in ks]
        halves = [100 * points[k].half_width for k in ks]
        (line,) = axes.plot(ks, means, marker="o", label=name)
        low = [m - h for m, h in zip(means, halves, strict=True)]
        high = [m + h for m, h in zip(means, halves, strict=True)]
        axes.fill_between(ks, low, high, color=line.get_color(), alpha=0.15)
    axes.set_xscale("log", base=2)
    ks = sorted({k for points in curves.values() for k in points})
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xlabel("k, judgements per example")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
