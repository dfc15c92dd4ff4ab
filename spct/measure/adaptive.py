"""Adaptive voting measured by replay: what a stopping rule would have drawn and decided.

The stored K samples are taken in the waves that a judge with this rule would have drawn (the same
indices, hence the same orders and seeds), and the rule looks where the judge would have looked. So
accuracy, samples and the error that the guarantee is about come without a single new call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spct.core.settle import settle
from spct.measure.intervals import Interval, wilson
from spct.measure.rows import Part
from spct.text.parse import Scale
from spct.types import Usage, Verdict
from spct.votes.budget import Budget, Item, Spending
from spct.votes.predictive import predictive
from spct.votes.stopping import Stopping, exact, sign_flip
from spct.votes.vote import Vote


@dataclass(frozen=True, slots=True)
class Replay:
    """A rule on stored samples: the verdicts that it reaches, and how they compare with all k.

    `changed` is the share of verdicts with a winner at k whose winner differs at the stop; `stated`
    is the level that the rule promises: 0 for the exact one.
    """

    rule: str
    stated: float
    verdicts: Mapping[str, Verdict]
    mean_samples: float
    changed: Interval


def stop_early(verdict: Verdict, k: int, vote: Vote, scale: Scale, rule: Stopping) -> Verdict:
    """The verdict of a judge that may draw k and stops by the rule."""
    end = rule.drawn_of(verdict.trajectories, vote, scale, k)
    return settle(verdict.example_id, verdict.trajectories[:end], vote, k)


def replay(
    part: Part, k: int, rule: Stopping, full: Mapping[str, Verdict], stated: float = 0.0
) -> Replay:
    """Apply a rule to every verdict of a part; `full` are its votes at fixed k."""
    assert part.scale is not None
    scale = part.scale
    stopped = {
        id: stop_early(part.verdicts[id], k, part.vote, scale, rule)
        for id in full
        if full[id].k_drawn >= k and len(part.verdicts[id].trajectories[0].prompt.order) > 1
    }
    decided = [id for id in stopped if full[id].winner is not None]
    changed = sum(stopped[id].winner != full[id].winner for id in decided)
    drawn = sum(v.k_drawn for v in stopped.values())
    mean = drawn / len(stopped) if stopped else float("nan")
    return Replay(rule.name, stated, stopped, mean, wilson(changed, len(decided)))


def can_stop(part: Part) -> bool:
    """Whether a rule could reason about the part's votes.

    A head's logits have no bounds to reason with, and a vote without rows no totals.
    """
    stoppable = part.vote.rows is not None and part.vote.swing is not None
    return part.mode == "sampled" and part.scale is not None and stoppable


def replays(
    part: Part, k: int, full: Mapping[str, Verdict], error: float = 0.02
) -> Sequence[Replay]:
    """Every rule against fixed k; none where nothing can stop (the first look is after 4)."""
    if k <= 4 or not can_stop(part):
        return ()
    rules = ((exact, 0.0), (predictive(error), error), (sign_flip(error), error))
    found = [replay(part, k, rule, full, stated) for rule, stated in rules]
    return [r for r in found if r.verdicts]


@dataclass(frozen=True, slots=True)
class Spread:
    """What one budget over all items reaches with the tokens of `k` samples for each."""

    k: int
    tokens: float
    verdicts: Mapping[str, Verdict]
    mean_samples: float


def spread(part: Part, k: int, most: int) -> Spread | None:
    """Replay one budget, `most` samples at most for one item; None where no round fits in it.

    That is what `spct sample --budget` would have drawn of the stored samples.
    """
    assert part.scale is not None
    held = {id: v.trajectories for id, v in part.verdicts.items() if v.k_drawn >= most}

    def tokens(id: str, m: int) -> int:
        used = sum((t.completion.usage for t in held[id][:m]), Usage())
        return used.prompt_tokens + used.completion_tokens

    items = [
        Item(id, n, tokens(id, min(n, most)))
        for id, n in ((id, len(ts[0].prompt.order)) for id, ts in held.items())
    ]
    budget = Budget(sum(tokens(id, k) for id in held), "tokens")
    first = sum(item.size for item in items)
    if not 0 < first <= budget.amount:
        return None
    longest = int(part.config.get("max_tokens", 0))
    spending, found = Spending(budget, most, part.vote, part.scale, longest), dict[str, Verdict]()
    for step in spending.steps(items):
        for id, m in step.items():
            found[id] = settle(id, held[id][:m], part.vote, m)
            spending.add(found[id])
    mean = sum(v.k_drawn for v in found.values()) / len(found)
    return Spread(k, spending.spent, found, mean)
