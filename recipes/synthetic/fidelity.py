"""Right for the right reasons: S-Corr and F-Score of judgements of the world, by rule.

R-Align (2602.06763) asks a model whether a critique names the decisive points. Here every check
cites a word or a count, so a critique is sound exactly when a careful teacher would have written it
(errors.py). C counts right judgements with a sound critique, I right ones with another:
S-Corr = 1 - C / (C + I), F-Score = L-Acc (1 - S-Corr). Unscored judgements are counted apart, and
are neither right nor part of C and I.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipes.synthetic.errors import faults
from spct.measure.criteria import s_corr
from spct.train.outcome import correct
from spct.types import Example, Trajectory


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


def fidelity(pairs: Iterable[tuple[Example, Trajectory]]) -> Fidelity:
    """Count judgements by whether they are right and whether their critique is sound."""
    counts = {(True, True): 0, (True, False): 0}
    wrong = unscored = 0
    for example, trajectory in pairs:
        if trajectory.judgement is None or example.gold is None:
            unscored += 1
        elif not correct(trajectory.judgement.scores, example.gold):
            wrong += 1
        else:
            counts[True, faults(example, trajectory) == {"none"}] += 1
    return Fidelity(counts[True, True], counts[True, False], wrong, unscored)
