"""One verdict held against its gold, in a word: what lists show, filter and count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from spct.measure.rules import credit, finite
from spct.types import Trajectory, Verdict
from spct.votes.vote import best

Name = Literal["right", "wrong", "tie", "unscored", "no gold"]


class Outcome(NamedTuple):
    """The word, and what it earns under the shared rule (None without gold)."""

    name: Name
    credit: float | None


def outcome_of(rewards: Sequence[float] | None, gold: Sequence[float] | None) -> Outcome:
    """Right or wrong; a tie at the top of several responses; unscored; or no gold to say.

    A verdict that ties is called a tie whatever it earns; gold that is equal throughout decides
    nothing.
    """
    found = finite(None if rewards is None else tuple(rewards))
    decides = gold is not None and (len(gold) == 1 or len(best(tuple(gold))) < len(gold))
    earned = credit(found, tuple(gold)) if gold is not None and decides else None
    if found is None:
        return Outcome("unscored", earned)
    if len(found) > 1 and len(best(found)) > 1:
        return Outcome("tie", earned)
    if earned is None:
        return Outcome("no gold", None)
    return Outcome("tie" if earned == 0.5 else "right" if earned else "wrong", earned)


def telling(verdict: Verdict) -> Trajectory | None:
    """The judgement that stands for the vote: the first that agrees with it, or else the first.

    None where none counts. One that disagrees with the verdict beside it would confuse.
    """
    counted = [t for t in verdict.trajectories if t.judgement is not None]
    agreeing = (t for t in counted if t.judgement and best(t.judgement.scores) == verdict.best)
    return next(agreeing, counted[0] if counted else None)


def flips(samples: Iterable[tuple[Sequence[int], Sequence[float] | None]]) -> int | None:
    """Whether two orders of one example have different winners: 1, 0, or None for one order."""
    by_order: defaultdict[tuple[int, ...], list[Sequence[float]]] = defaultdict(list)
    for order, scores in samples:
        if scores is not None and len(order) > 1:
            by_order[tuple(order)].append(scores)
    tops = {
        best(tuple(sum(column) for column in zip(*some, strict=True))) for some in by_order.values()
    }
    return None if len(by_order) < 2 else int(len(tops) > 1)
