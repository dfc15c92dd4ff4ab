"""What a run came to: counts, the commonest reasons, and whether too much of it failed.

A module of its own, so that a command that stores nothing loads nothing that stores.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from spct.errors import OverBudget
from spct.types import Reason, Unscored, Usage, Verdict

N_REASONS = 3  # so many are printed: the commonest explain nearly all of a run
_LONGEST = 240  # characters of a detail that are shown
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")  # what differs between two rows with one fault


@dataclass(slots=True)
class Tally:
    """What a run came to so far. Nothing that failed is missing from it."""

    examples: int = 0
    without_rewards: int = 0
    judgements: int = 0
    ties: int = 0
    unscored: dict[Reason, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    _causes: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    _said: dict[tuple[Reason, str], str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.examples += 1
        self.without_rewards += verdict.rewards is None
        self.judgements += verdict.k_drawn
        self.ties += len(verdict.best) > 1
        self.usage += verdict.usage
        for t in verdict.trajectories:
            if isinstance(t.outcome, Unscored):
                reason, detail = t.outcome.reason, " ".join(t.outcome.detail.split())
                self.unscored[reason] = self.unscored.get(reason, 0) + 1
                # Details quote the row that they are about: numbers and quoted words are left out
                # of what makes two of them the same cause.
                cause = reason, _VARYING.sub("", detail)[:_LONGEST]
                self._causes[cause] += 1
                self._said.setdefault(cause, detail[:_LONGEST])

    @property
    def n_unscored(self) -> int:
        """Trajectories that could not be counted."""
        return sum(self.unscored.values())

    @property
    def unscored_share(self) -> float:
        """The unscored among the judgements drawn; 0 for an empty tally."""
        return self.n_unscored / self.judgements if self.judgements else 0.0

    @property
    def nothing_scored(self) -> bool:
        """Whether there were examples, and none of them has rewards."""
        return 0 < self.examples == self.without_rewards

    def summary(self) -> str:
        """One line for people, and one for each of the commonest reasons."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.unscored.items()))
        line = (
            f"{self.examples} examples, {self.judgements} judgements"
            f" ({self.unscored_share:.1%} unscored{': ' + reasons if reasons else ''}),"
            f" {self.without_rewards} without rewards, {self.ties} ties,"
            f" {self.usage.prompt_tokens} + {self.usage.completion_tokens} tokens"
            f" in {self.usage.calls} calls"
        )
        return "\n".join([line, *self.reasons()])

    def reasons(self) -> list[str]:
        """The commonest causes of unscored judgements with their counts, one line each."""
        lines = []
        for cause, count in self._causes.most_common(N_REASONS):
            detail = f": {self._said[cause]}" if self._said[cause] else ""
            lines.append(f"  unscored, {count} of {self.judgements}: {cause[0]}{detail}")
        if more := len(self._causes) - N_REASONS:
            rest = self.n_unscored - sum(n for _, n in self._causes.most_common(N_REASONS))
            lines += [f"  unscored, {rest} of {self.judgements}: {more} other causes"] * (more > 0)
        return lines

    def check(self, max_unscored: float = 1.0) -> None:
        """Raise `OverBudget` if nothing was scored, or more is unscored than allowed."""
        if self.nothing_scored:
            raise OverBudget(
                f"nothing was scored: none of {self.examples} examples has rewards, "
                f"{self.n_unscored} of {self.judgements} judgements are unscored; the reasons are "
                "above; `spct doctor` tries the engine out"
            )
        if self.unscored_share > max_unscored:
            raise OverBudget(
                f"{self.unscored_share:.1%} of the judgements are unscored, allowed is "
                f"{max_unscored:.1%} (--max-unscored); the reasons are above and in the records"
            )
