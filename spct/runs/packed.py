"""A verdict that is stored elsewhere than it was judged: its payload, and what a run counts of it.

Who stores it neither reads nor writes the payload again, which is most of the work on a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

from spct.types import Unscored, Usage, Verdict


class Counted(NamedTuple):
    """What a run counts of one verdict (see `spct.runs.judging.Tally`)."""

    has_rewards: bool
    is_tie: bool
    k_drawn: int
    usage: Usage
    unscored: tuple[Unscored, ...]

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Of a whole verdict."""
        outcomes = (t.outcome for t in verdict.trajectories)
        return cls(
            verdict.rewards is not None,
            len(verdict.best) > 1,
            verdict.k_drawn,
            verdict.usage,
            tuple(outcome for outcome in outcomes if isinstance(outcome, Unscored)),
        )


class Saved(NamedTuple):
    """What `--stop predictive` would have saved of one verdict (see `spct.runs.saving`)."""

    n_drawn: int
    n_needed: int
    n_winners: int
    n_changed: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A verdict as `Store.put_verdict` writes it; `spct.runs.rows.packed` makes it."""

    example_id: str
    payload: bytes
    counted: Counted
    saved: Saved | None = None  # where there is nothing to count

    @property
    def n_failed(self) -> int:
        """Calls that failed, so that the example is not finished."""
        return sum(unscored.reason == "failed" for unscored in self.counted.unscored)
