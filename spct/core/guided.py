"""Guided votes: how much each judgement's meta score should count, and ties between responses.

For independent judges that are right with probability p the best weights of winner votes are log
odds, log(p / (1 - p)); of n responses a blind judge is right with 1 / n, so the odds are against
that. A meta RM's logit says p only after calibration on dev; one that cannot tell right judgements
from wrong ones within an example gives every judgement the same weight: a plain vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from spct.core.ballot import (
    Rewards,
    Vote,
    average,
    meta_pairs,
    scores_of,
    sigmoid,
    summed,
    winner_rows,
)
from spct.core.format import Format
from spct.core.template import shipped_template
from spct.errors import ConfigError
from spct.protocols import Scorer
from spct.types import Example, Message, Trajectory

_RIDGE = 0.1
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


def _meta_weighted(trajectories: Sequence[Trajectory]) -> Rewards | None:
    scored = [(meta, t.judgement.scores) for meta, t in meta_pairs(trajectories) if t.judgement]
    total = math.fsum(sigmoid(meta) for meta, _ in scored)
    if not scored or total == 0.0:
        return None
    weighted = [tuple(sigmoid(meta) * score for score in scores) for meta, scores in scored]
    sums = summed(weighted)
    return None if sums is None else tuple(reward / total for reward in sums)


# Mean of the scores, each judgement weighted by the meta RM's probability that it is correct.
meta_weighted = Vote("meta_weighted", _meta_weighted, needs="meta")


@dataclass(frozen=True, slots=True)
class Calibration:
    """From a meta RM's logit to the log odds that the judgement is correct: slope and offset."""

    slope: float = 1.0
    offset: float = 0.0

    def logit(self, score: float) -> float:
        """The calibrated log odds."""
        return self.slope * score + self.offset

    @property
    def informs(self) -> bool:
        """Whether the meta score tells judgements apart at all."""
        return self.slope > 0


def calibrate(examples: Sequence[Sequence[tuple[float, bool]]]) -> Calibration:
    """Fit a calibration on dev: for each example its judgements' meta scores and correctness.

    Logistic regression by Newton steps, with a weak ridge so that separable sets end. Where the
    AUC within an example is not above one half, the slope is 0: guided votes are plain votes then.
    """
    pairs = [pair for example in examples for pair in example]
    if not pairs or len({is_right for _, is_right in pairs}) < 2:
        raise ConfigError(
            f"calibrating the meta RM: got {len(pairs)} judgements that are all right or all "
            "wrong, expected both kinds; use a larger dev set"
        )
    if auc_within(examples) <= 0.5:
        return Calibration(0.0, 0.0)
    center = fmean(score for score, _ in pairs)
    width = math.sqrt(fmean((score - center) ** 2 for score, _ in pairs))
    points = [((score - center) / width, is_right) for score, is_right in pairs]
    a = b = 0.0
    for _ in range(50):
        g_a, g_b, h_aa, h_ab, h_bb = _RIDGE * a, 0.0, _RIDGE, 0.0, _RIDGE
        for z, is_right in points:
            p = sigmoid(a * z + b)
            weight = p * (1 - p)
            g_a += (p - is_right) * z
            g_b += p - is_right
            h_aa += weight * z * z
            h_ab += weight * z
            h_bb += weight
        det = h_aa * h_bb - h_ab * h_ab
        step_a, step_b = (h_bb * g_a - h_ab * g_b) / det, (h_aa * g_b - h_ab * g_a) / det
        a, b = a - step_a, b - step_b
        if abs(step_a) + abs(step_b) < 1e-10:
            break
    return Calibration(max(0.0, a / width), b - a * center / width)


def auc_within(examples: Sequence[Sequence[tuple[float, bool]]]) -> float:
    """The chance that a right judgement has the higher score than a wrong one of its example."""
    won, n = 0.0, 0
    for example in examples:
        right = [score for score, is_right in example if is_right]
        wrong = [score for score, is_right in example if not is_right]
        won += sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
        n += len(right) * len(wrong)
    return won / n if n else 0.5


def _weights(scored: Sequence[tuple[float, Trajectory]], calibration: Calibration) -> list[float]:
    if not calibration.informs:
        return [1.0] * len(scored)
    found = []
    for meta, trajectory in scored:
        assert trajectory.judgement is not None
        blind = math.log(max(1, len(trajectory.judgement.scores) - 1))
        found.append(max(-_CLIP, min(_CLIP, calibration.logit(meta) + blind)))
    return found if any(found) else [1.0] * len(scored)


def meta_log_odds(calibration: Calibration = Calibration(), *, wins: bool = False) -> Vote:
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
    if calibration != Calibration():
        name += f"({calibration.slope:.4g},{calibration.offset:.4g})"
    return Vote(name, combine, needs="meta")


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
