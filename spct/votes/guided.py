"""Guided votes: how much each judgement's meta score should count, and ties between responses.

For independent judges that are right with probability p the best weights of winner votes are log
odds, log(p / (1 - p)); of n responses a blind judge is right with 1 / n, so the odds are against
that. A meta RM's logit says p only after calibration on dev; one that cannot tell right judgements
from wrong ones within an example gives every judgement the same weight: a plain vote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from spct.errors import ConfigError
from spct.protocols import Scorer
from spct.text.format import Format
from spct.text.template import shipped_template
from spct.types import Example, Message, Trajectory
from spct.votes.ballot import (
    Rewards,
    Vote,
    average,
    meta_pairs,
    scores_of,
    sigmoid,
    summed,
    winner_rows,
)
from spct.votes.calibration import IDENTITY, Calibration

_CLIP = 3.0  # odds of 20 to 1: one judgement must not outvote all others


def meta_top(k_meta: int | None = None) -> Vote:
    """Average the scores of the `k_meta` trajectories that the meta RM ranks highest (section 4).

    Default: k / 2 of the k that were drawn, as in the paper, at least one; unscored ones have no
    meta score and never vote. Equal meta scores go by sample index.
    """
    if k_meta is not None and k_meta < 1:
        raise ConfigError(f"k_meta is {k_meta}; at least one judgement must vote")

    def combine(trajectories: Sequence[Trajectory]) -> Rewards | None:
        ranked = sorted(meta_pairs(trajectories), key=lambda pair: (-pair[0], pair[1].index))
        keep = max(1, len(trajectories) // 2) if k_meta is None else k_meta
        return average(scores_of([t for _, t in ranked[:keep]]))

    return Vote("meta_top" if k_meta is None else f"meta_top{k_meta}", combine, needs="meta")


def _named(name: str, calibration: Calibration) -> str:
    plain = calibration == IDENTITY
    return name if plain else f"{name}({calibration.slope:.4g},{calibration.offset:.4g})"


def weighted_by(calibration: Calibration = IDENTITY) -> Vote:
    """Mean of the scores, each judgement weighted by its probability of being correct."""

    def combine(trajectories: Sequence[Trajectory]) -> Rewards | None:
        scored = [(meta, t.judgement.scores) for meta, t in meta_pairs(trajectories) if t.judgement]
        weights = [sigmoid(calibration.logit(meta)) for meta, _ in scored]
        total = math.fsum(weights)
        if not scored or total == 0.0:
            return None
        rows = [
            tuple(weight * score for score in scores)
            for weight, (_, scores) in zip(weights, scored, strict=True)
        ]
        sums = summed(rows)
        return None if sums is None else tuple(reward / total for reward in sums)

    return Vote(_named("meta_weighted", calibration), combine, needs="meta")


meta_weighted = weighted_by()


def _weights(scored: Sequence[tuple[float, Trajectory]], calibration: Calibration) -> list[float]:
    if not calibration.informs:
        return [1.0] * len(scored)
    found = []
    for meta, trajectory in scored:
        assert trajectory.judgement is not None
        blind = math.log(max(1, len(trajectory.judgement.scores) - 1))
        found.append(max(-_CLIP, min(_CLIP, calibration.logit(meta) + blind)))
    return found if any(found) else [1.0] * len(scored)


def meta_log_odds(calibration: Calibration = IDENTITY, *, wins: bool = False) -> Vote:
    """Weight each judgement by its log odds of being correct.

    Scores are centred in each judgement, since a weight below zero must turn a preference around
    and not the level; the mean level is added again, so rewards stay on the judge's scale. `wins`
    votes on winners instead, m that tie get 1/m each.
    """

    def combine(trajectories: Sequence[Trajectory]) -> Rewards | None:
        scored = meta_pairs(trajectories)
        if not scored:
            return None
        kept = [t for _, t in scored]
        rows = winner_rows(kept) if wins else scores_of(kept)
        if len(rows[0]) == 1:  # a single response has nothing to be centred on
            return average(rows)
        weights = _weights(scored, calibration)
        size = math.fsum(map(abs, weights))
        levels = [math.fsum(row) / len(row) for row in rows]
        level = math.fsum(levels) / len(levels)
        return tuple(
            level
            + math.fsum(w * (row[i] - m) for w, row, m in zip(weights, rows, levels, strict=True))
            / size
            for i in range(len(rows[0]))
        )

    name = "meta_log_odds_wins" if wins else "meta_log_odds"
    return Vote(_named(name, calibration), combine, needs="meta")


GUIDED: Mapping[str, Callable[[Calibration], Vote]] = {
    "meta_top": lambda _: meta_top(),  # no calibration changes which are ranked highest
    "meta_weighted": weighted_by,
    "meta_log_odds": meta_log_odds,
    "meta_log_odds_wins": lambda calibration: meta_log_odds(calibration, wins=True),
}
_CALIBRATED = re.compile(r"(meta_[a-z_]+)\(([-+.\de]+),([-+.\de]+)\)")


def guided_named(name: str, k_meta: int | None, calibration: Calibration | None) -> Vote:
    """The guided vote of a name; `meta_top3` and `meta_log_odds(0.8,-0.1)` name their numbers."""
    if found := _CALIBRATED.fullmatch(name):
        name, calibration = found[1], Calibration(float(found[2]), float(found[3]))
    kept = name.removeprefix("meta_top")
    if k_meta is None and kept.isdecimal():
        name, k_meta = "meta_top", int(kept)
    if name not in GUIDED:
        raise ConfigError(f"no vote {name!r}; the guided ones are {', '.join(GUIDED)}")
    if k_meta is None:
        return GUIDED[name](calibration or IDENTITY)
    if name != "meta_top":
        raise ConfigError(f"k_meta goes with the vote 'meta_top', not with {name!r}")
    return meta_top(k_meta)


_META = Format("meta", shipped_template("meta"))


def meta_conversation(example: Example, trajectory: Trajectory) -> tuple[Message, ...]:
    """What the meta RM reads (paper, section 2.4): responses as the judge saw them, its reply."""
    prompt = _META.render(example, trajectory.prompt.order)
    return (*prompt.messages, Message("assistant", trajectory.completion.text))


async def with_meta_scores(
    meta: Scorer, example: Example, trajectories: Sequence[Trajectory]
) -> list[Trajectory]:
    """The trajectories, with a meta score (a logit) on each that has a judgement."""
    scored = [t for t in trajectories if t.judgement is not None]
    scores = await meta.score([meta_conversation(example, t) for t in scored]) if scored else []
    by_index = {t.index: score for t, score in zip(scored, scores, strict=True)}
    return [replace(t, meta_score=by_index.get(t.index)) for t in trajectories]
