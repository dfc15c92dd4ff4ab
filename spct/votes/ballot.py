"""What every vote is made of: the vote itself, the rows it counts, and who is best (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from spct.errors import ConfigError
from spct.text.parse import Scale
from spct.types import Trajectory

Rewards = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """A way to turn judgements into rewards; call it with the trajectories of one example.

    `needs` says what each trajectory must carry: a meta score, or expected scores from token
    probabilities. `swing` gives, for a score scale, the most by which one more judgement can move
    one response's total against another's; None where no such bound exists (no early stopping).
    `rows` gives what each judgement adds to each response: the votes' totals are their sums.
    """

    name: str
    combine: Callable[[Sequence[Trajectory]], Rewards | None]
    needs: Literal["meta", "logprobs"] | None = None
    swing: Callable[[Scale], float] | None = None
    rows: Callable[[Sequence[Trajectory]], list[Rewards]] | None = None

    def __call__(self, trajectories: Sequence[Trajectory]) -> Rewards | None:
        """Rewards in the original order, higher is better; None if no trajectory can be counted."""
        return self.combine(trajectories)

    def counts(self, trajectory: Trajectory) -> bool:
        """Whether this vote can count a trajectory."""
        judgement = trajectory.judgement
        return judgement is not None and (
            self.needs != "logprobs" or judgement.expected is not None
        )


def scores_of(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    """The scores of those that are scored."""
    return [t.judgement.scores for t in trajectories if t.judgement is not None]


def winner_rows(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    """Who wins each judgement; m that tie at the top get 1/m each."""
    return [
        tuple((i in best(scores)) / len(best(scores)) for i in range(len(scores)))
        for scores in scores_of(trajectories)
    ]


def best(rewards: Rewards) -> tuple[int, ...]:
    """Every index that shares the highest reward: a tie is a tie."""
    top = max(rewards)
    # Not index() and count(), which find NaN by identity and would let it win; the list is for
    # speed: a report asks this a million times.
    return tuple([i for i, reward in enumerate(rewards) if reward == top])


def summed(rows: Sequence[Rewards]) -> Rewards | None:
    """The sums over judgements, exactly rounded; None of none."""
    return tuple(math.fsum(column) for column in zip(*rows, strict=True)) if rows else None


def average(rows: Sequence[Rewards]) -> Rewards | None:
    """The means over judgements; None of none."""
    total = summed(rows)
    return None if total is None else tuple(reward / len(rows) for reward in total)


def sigmoid(logit: float) -> float:
    """The probability that a logit stands for, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def meta_pairs(trajectories: Sequence[Trajectory]) -> list[tuple[float, Trajectory]]:
    """Those that are scored, each with its meta score."""
    pairs = []
    for t in trajectories:
        if t.judgement is None:
            continue
        if t.meta_score is None:
            raise ConfigError(
                f"trajectory {t.index} of example {t.example_id!r} has no meta score; "
                "a meta-guided vote needs a judge with meta=..."
            )
        if not math.isfinite(t.meta_score):
            raise ConfigError(
                f"trajectory {t.index} of example {t.example_id!r} has the meta score "
                f"{t.meta_score}, expected a finite number; check the meta RM with spct doctor"
            )
        pairs.append((t.meta_score, t))
    return pairs
