"""Does a judgement give people's reasons? The human points of a row against a critique's.

Rationale consistency (2602.04649): a row's `rationale` holds the points that people find decisive
(3 to 7); the judge's reasons are its critique's lines, or its sentences where it is one line, the
first five. A model says how far each reason makes each point, 0 to 1 in quarters; then

    RC = the sum over the best one-to-one matching / the number of human points

so one vague line that touches four points earns one of them. Measured beside accuracy, never
alone: a judge that is paid for its rationale alone learns to list points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from spct.core.orders import sample_seed
from spct.errors import DataError
from spct.protocols import Engine
from spct.text.format import unfinished
from spct.text.neutralise import neutralise
from spct.text.parse import Group, Scale, find_verdict
from spct.text.template import filled, shipped_template
from spct.types import Completion, Example, Message, Prompt, SamplingParams, Unscored

MOST_REASONS = 5
MOST_POINTS = 20
QUARTERS = Scale(0, 4, whole=True)
TEMPLATE = shipped_template("rationale")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+")


def points_of(example: Example) -> tuple[str, ...]:
    """The human points of a row: the texts in its `rationale`; () where it has none."""
    found = example.meta.get("rationale")
    if found is None:
        return ()
    texts = [found] if isinstance(found, str) else found
    sound = isinstance(texts, list) and all(isinstance(t, str) and t.strip() for t in texts)
    if not sound or not 1 <= len(texts) <= MOST_POINTS:
        raise DataError(
            f"the rationale of example {example.id!r}: got {found!r:.60}, expected 1 to "
            f"{MOST_POINTS} texts, one a point"
        )
    return tuple(texts)


def reasons_of(critique: str) -> tuple[str, ...]:
    """A critique's reasons, in its order: its lines, or the sentences of a single line."""
    lines = [_BULLET.sub("", line).strip() for line in critique.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) == 1:
        lines = [one.strip() for one in _SENTENCE.split(lines[0]) if one.strip()]
    return tuple(lines[:MOST_REASONS])


def consistency(scores: Sequence[Sequence[float]]) -> float:
    """RC of a table [human point][reason] of 0..1: the best one-to-one matching's mean."""
    if not scores:
        raise DataError("rationale consistency of no human points; expected at least one")
    if not scores[0]:
        return 0.0
    table = np.array(scores)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(scores))


def prompt_of(example_id: str, point: str, reasons: Sequence[str]) -> Prompt:
    """What the matching model reads about one human point; the point stands last."""
    slots = {
        "reasons": "\n".join(f"{i}. {neutralise(r)}" for i, r in enumerate(reasons, 1)),
        "score_slots": ", ".join("x" * len(reasons)),
        "point": neutralise(" ".join(point.split())),
    }
    text = filled(TEMPLATE, slots)
    return Prompt(example_id, (Message("user", text),), ())


def read_match(reply: Completion, n_reasons: int) -> tuple[float, ...] | Unscored:
    """How far each reason makes the point, 0..1, or why the reply does not say."""
    if reply.finish_reason != "stop":
        return unfinished(reply)
    found = find_verdict(reply.text, n_reasons, QUARTERS)
    return tuple(s / 4 for s in found.scores) if isinstance(found, Group) else found


async def matched(
    engine: Engine, example: Example, critique: str, *, seed: int = 0
) -> float | Unscored:
    """RC of one critique: one greedy call a human point; a call that fails leaves it unscored."""
    points, reasons = points_of(example), reasons_of(critique)
    if not points:
        return Unscored("empty", "the row has no rationale")
    table = []
    for i, point in enumerate(points if reasons else ()):
        prompt = prompt_of(example.id, point, reasons)
        seeds = (sample_seed(seed, f"{example.id}\0rationale", i),)
        params = SamplingParams(temperature=0.0, max_tokens=256, seeds=seeds)
        (reply,) = await engine.sample(prompt, 1, params)
        row = read_match(reply, len(reasons))
        if isinstance(row, Unscored):
            return Unscored(row.reason, f"human point {i + 1}: {row.detail}")
        table.append(row)
    return consistency(table) if reasons else 0.0


def mean_consistency(found: Sequence[float | Unscored]) -> tuple[float | None, int]:
    """The mean RC over what was scored, and how many were not."""
    scored = [one for one in found if not isinstance(one, Unscored)]
    return fmean(scored) if scored else None, len(found) - len(scored)
