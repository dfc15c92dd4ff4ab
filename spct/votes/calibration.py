"""Calibrating a meta RM: from its logit to the log odds that a judgement is correct (pure).

Measured on dev, on judgements whose correctness gold decides, and kept in a small file. A meta RM
that cannot tell right judgements from wrong ones within an example has a slope of 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from spct.errors import ConfigError
from spct.votes.ballot import sigmoid

_RIDGE = 0.1


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


IDENTITY = Calibration()  # the logit as the meta RM gives it


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


@dataclass(frozen=True, slots=True)
class MetaFit:
    """A calibration as measured on dev: of which meta RM, on how many judgements, and its AUC.

    `auc_within` is the chance that a right judgement has the higher score than a wrong one of its
    example; at one half or below the slope is 0.
    """

    slope: float
    offset: float
    auc_within: float
    meta: str
    judgements: int

    @property
    def calibration(self) -> Calibration:
        """From logit to log odds."""
        return Calibration(self.slope, self.offset)


def write_meta_fit(fit: MetaFit, path: Path) -> None:
    """Write a meta file."""
    path.write_text(json.dumps({"kind": "spct-meta", **asdict(fit)}) + "\n", "utf-8")


def read_meta_fit(path: Path) -> MetaFit:
    """Read a meta file; `ConfigError` for anything else."""
    try:
        found = json.loads(path.read_text("utf-8"))
        slope, offset, auc = (float(found[key]) for key in ("slope", "offset", "auc_within"))
        fit = MetaFit(slope, offset, auc, str(found["meta"]), int(found["judgements"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"reading the meta file {str(path)!r}: {error!r}; write it with: spct fit-meta RUN"
        ) from error
    if not (math.isfinite(slope) and math.isfinite(offset) and slope >= 0):
        raise ConfigError(
            f"the meta file {str(path)!r} has slope {slope} and offset {offset}, expected numbers "
            "and a slope from 0 on; measure it again"
        )
    return fit
