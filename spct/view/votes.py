"""The votes on one example as the page draws them: who voted, how much it counted, who led when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from spct.errors import ConfigError
from spct.measure.adaptive import stop_early
from spct.types import Judgement, Trajectory, Verdict
from spct.view.settings import RunSettings
from spct.votes.predictive import predictive
from spct.votes.stopping import Stopping, exact
from spct.votes.vote import Vote, best, mean_scores

RULES: tuple[tuple[str, Stopping], ...] = (("exact", exact), ("predictive", predictive()))


def votes_of(verdict: Verdict, settings: RunSettings) -> dict[str, Any]:
    """One entry per sample, where each stopping rule would have ended, and the votes by order."""
    drawn = verdict.trajectories
    return {
        "each": _each(drawn, settings),
        "stops": _stops(verdict, settings),
        "orders": _orders(drawn),
    }


def _each(drawn: Sequence[Trajectory], settings: RunSettings) -> list[dict[str, Any]]:
    weights = _weights(settings.vote, drawn)
    found = []
    for end, (t, weight) in enumerate(zip(drawn, weights, strict=True), 1):
        rewards = leader(settings.vote, drawn[:end])
        found.append(
            {
                "index": t.index,
                "best": list(best(t.judgement.scores)) if t.judgement else [],
                "counts": weight > 0,
                "weight": weight,
                "meta": t.meta_score,
                "running": [] if rewards is None else list(best(rewards)),
            }
        )
    return found


def leader(vote: Vote, drawn: Sequence[Trajectory]) -> tuple[float, ...] | None:
    """The vote on some samples; a plain one where meta scores were not kept."""
    try:
        return vote(drawn)  # as settle: a vote leaves out what it cannot count
    except ConfigError:
        return mean_scores([t for t in drawn if t.judgement])


def _weights(vote: Vote, drawn: Sequence[Trajectory]) -> list[float]:
    """How much each sample counts; 1 on average over those that do.

    A guided vote is a weighted mean of scores, so a sample's weight is what the vote returns where
    that sample alone scores 1 and all others 0.
    """
    counted = [t for t in drawn if vote.counts(t)]
    if vote.needs != "meta":
        return [float(vote.counts(t)) for t in drawn]
    if any(t.meta_score is None for t in counted):
        return [0.0 for _ in drawn]  # a vote of a judge whose meta scores were not kept

    def weight(chosen: Trajectory) -> float:
        probes = [replace(t, outcome=Judgement((), "", (float(t is chosen),))) for t in counted]
        rewards = vote(probes)
        return 0.0 if rewards is None else rewards[0] * len(counted)

    return [weight(t) if t in counted else 0.0 for t in drawn]


def _stops(verdict: Verdict, settings: RunSettings) -> dict[str, int | None]:
    """After how many samples each rule would have ended the drawing; None if it would not have."""
    drawn, vote, scale = verdict.trajectories, settings.vote, settings.scale
    n = len(drawn[0].prompt.order) if drawn else 0
    if scale is None or n < 2 or vote.rows is None or vote.swing is None or len(drawn) < 2:
        return {}
    k = len(drawn)
    ends = {name: stop_early(verdict, k, vote, scale, rule).k_drawn for name, rule in RULES}
    return {name: end if end < k else None for name, end in ends.items()}


def _orders(drawn: Sequence[Trajectory]) -> list[dict[str, Any]]:
    """The mean scores of the samples that saw the responses in the same order."""
    by_order: defaultdict[tuple[int, ...], list[Trajectory]] = defaultdict(list)
    for t in drawn:
        by_order[t.prompt.order].append(t)
    first: tuple[int, ...] | None = None
    found = []
    for order, some in by_order.items():
        means = mean_scores(some)
        lead = () if means is None else best(means)
        first = first or lead or None
        found.append(
            {
                "order": list(order),
                "drawn": len(some),
                "counted": sum(t.judgement is not None for t in some),
                "means": None if means is None else list(means),
                "best": list(lead),
                "flips": bool(lead and first and lead != first),
            }
        )
    return found
