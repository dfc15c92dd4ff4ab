"""The estimator: what an example earns when k of its stored samples vote.

Voting@k is ONE estimator, here and in compare, the pipeline's report, the dev check and the
recipes: the samples of an example, in the order of their indices, are cut into disjoint groups of
k, each group is voted on as at inference, and what the groups earn is averaged ("all groups").
Why not the first k alone: of 32 stored samples it would use 4 for Voting@4, a noisy figure, and at
k = 1 nothing but the first order. Why not random subsets, or the exact expectation over all of
them: a judge with balanced orders shows every position equally often in k consecutive samples,
while most subsets do not, so their mean belongs to a judge that nobody runs; and a vote has no
closed form over subsets that is cheaper than voting. A rest of fewer than k samples is not used.

An example without a verdict earns nothing and stays in the count (see rules.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from spct.core.settle import settle
from spct.errors import DataError
from spct.measure.rules import credit, finite, gold_of
from spct.types import Example, Trajectory, Verdict
from spct.votes.vote import Vote

UNSCORED_POLICY = "an example without a verdict earns nothing and stays in the count"

# Settles some of an example's trajectories: (example id, trajectories, k asked for) -> verdict.
Settle = Callable[[str, Sequence[Trajectory], int], Verdict]


def by(vote: Vote) -> Settle:
    """Settle by a vote."""
    return lambda example_id, trajectories, k: settle(example_id, trajectories, vote, k)


def votes_at(verdict: Verdict, k: int, settled: Settle) -> tuple[Verdict, ...]:
    """The verdict of each disjoint group of k samples; a verdict without samples stands for all."""
    drawn = verdict.trajectories
    # An example that could not even be asked about holds one failed sample, whatever k was.
    if not drawn or (verdict.rewards is None and len(drawn) < k):
        return (readable(verdict),)
    if len(drawn) < k:
        raise DataError(
            f"voting on {k} judgements of example {verdict.example_id!r}: only {len(drawn)} are "
            "stored; sample more (without early stopping), or ask for a smaller k"
        )
    return tuple(
        readable(settled(verdict.example_id, drawn[start : start + k], k))
        for start in range(0, len(drawn) - k + 1, k)
    )


def credits_at(
    examples: Iterable[Example], verdicts: Mapping[str, Verdict], k: int, settled: Settle
) -> list[float]:
    """What each example earns at k under the shared rule, over all groups: the estimator above."""
    return [
        shared_credit(votes_at(verdicts[example.id], k, settled), example) for example in examples
    ]


def shared_credit(votes: Sequence[Verdict], example: Example) -> float:
    """The mean of what the votes earn."""
    return math.fsum(credit(v.rewards, gold_of(example)) for v in votes) / len(votes)


def readable(verdict: Verdict) -> Verdict:
    """The verdict, without rewards if one of them is not a finite number."""
    if finite(verdict.rewards) is verdict.rewards:
        return verdict
    return replace(verdict, rewards=None, best=(), agreement=None)


def named(what: str, k: int) -> str:
    """The name of a row over all groups of k."""
    return f"{'one sample' if k == 1 else f'{what}@{k}'}, all groups"
