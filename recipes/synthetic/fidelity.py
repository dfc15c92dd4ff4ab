"""Right for the right reasons: S-Corr and F-Score of judgements of the world, by rule.

R-Align (2602.06763) asks a model whether a critique names the decisive points. Here every check
cites a word or a count, so a critique is sound exactly when a careful teacher would have written it
(errors.py). C counts right judgements with a sound critique, I right ones with another:
S-Corr = 1 - C / (C + I), F-Score = L-Acc (1 - S-Corr). Unscored judgements are counted apart, and
are neither right nor part of C and I; `bounds` says what they could make of S-Corr.

`among` narrows the faults that make a critique unsound: `REASONS` are those of its checks alone,
which leaves out what went wrong between true checks and the score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from recipes.synthetic.errors import FAULTS, faults
from spct.measure.aggregates import micro
from spct.measure.criteria import s_corr
from spct.measure.intervals import Interval, bootstrap, paired_bootstrap, prompts_of
from spct.measure.rules import Credit
from spct.train.outcome import correct
from spct.types import Example, Trajectory

ANY = tuple(fault for fault in FAULTS if fault != "none")
REASONS = ("hasty", "blind", "other check")
Pairs = Sequence[tuple[Example, Trajectory]]
Outcome = Literal["sound", "unsound", "wrong", "unscored"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Counts over judgements, and what they come to; None where no judgement is right."""

    right_sound: int
    right_unsound: int
    wrong: int
    unscored: int

    @property
    def l_acc(self) -> float | None:
        """The share of right ones among the scored judgements."""
        right = self.right_sound + self.right_unsound
        return right / (right + self.wrong) if right + self.wrong else None

    @property
    def s_corr(self) -> float | None:
        """The share of right judgements whose critique is not sound."""
        return s_corr(self.right_sound, self.right_unsound, self.l_acc or 0.0)[0]

    @property
    def f_score(self) -> float | None:
        """Accuracy that has its reasons right."""
        return s_corr(self.right_sound, self.right_unsound, self.l_acc or 0.0)[1]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """S-Corr if every unscored judgement were right and sound, and right and unsound."""
        n = self.right_sound + self.right_unsound + self.unscored
        return (self.right_unsound / n, 1 - self.right_sound / n) if n else None


def outcome(example: Example, trajectory: Trajectory, among: Collection[str] = ANY) -> Outcome:
    """Whether a judgement is right, and if so whether its critique has none of the faults."""
    if trajectory.judgement is None or example.gold is None:
        return "unscored"
    if not correct(trajectory.judgement.scores, example.gold):
        return "wrong"
    return "sound" if faults(example, trajectory).isdisjoint(among) else "unsound"


def fidelity(pairs: Iterable[tuple[Example, Trajectory]], among: Collection[str] = ANY) -> Fidelity:
    """Count judgements by whether they are right and whether their critique is sound."""
    n = Counter(outcome(example, trajectory, among) for example, trajectory in pairs)
    return Fidelity(n["sound"], n["unsound"], n["wrong"], n["unscored"])


def _credits(pairs: Pairs, among: Collection[str]) -> list[Credit]:
    """One credit for each right judgement: 1 if its critique is unsound; their mean is S-Corr."""
    prompts = prompts_of(example for example, _ in pairs)
    told = [outcome(example, trajectory, among) for example, trajectory in pairs]
    return [
        Credit(str(i), prompt, ("all",), float(found == "unsound"))
        for i, (prompt, found) in enumerate(zip(prompts, told, strict=True))
        if found in ("sound", "unsound")
    ]


def s_corr_interval(pairs: Pairs, among: Collection[str] = ANY) -> Interval | None:
    """S-Corr with its 95% interval over prompts; None where no judgement is right."""
    credits = _credits(pairs, among)
    return bootstrap(credits, micro)["overall"] if credits else None


def s_corr_change(before: Pairs, after: Pairs, among: Collection[str] = ANY) -> Interval | None:
    """S-Corr of `after` minus that of `before`, with prompts resampled for both together."""
    a, b = _credits(before, among), _credits(after, among)
    return paired_bootstrap(a, b, micro)["overall"] if a and b else None
