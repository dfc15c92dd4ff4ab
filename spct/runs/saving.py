"""What `--stop predictive` would have saved of judgements that were all drawn.

Counted as verdicts come, by replay, so that nobody has to sample again to know.
"""

from __future__ import annotations

from spct.protocols import RewardModel
from spct.runs.packed import Packed, Saved
from spct.text.parse import Scale
from spct.types import Verdict
from spct.votes.predictive import predictive
from spct.votes.vote import best, vote_named


class Saving:
    """Counts for one model; nothing for one that cannot stop early, or does already."""

    def __init__(self, model: RewardModel) -> None:
        identity, scale = model.identity(), model.traits.scale
        self.n_drawn = self.n_needed = self.n_winners = self.n_changed = 0
        self._rule = predictive()
        self._vote = vote_named(str(identity.get("vote", "mean")))
        self._scale = None if scale is None else Scale(*scale)
        self._draws_all = model.traits.gains_from_samples and identity.get("stopping") is None

    def add(self, verdict: Verdict | Packed) -> int:
        """Count a verdict; return how many of its judgements an early stop would have saved."""
        saved = verdict.saved if isinstance(verdict, Packed) else self.of(verdict)
        if saved is None:
            return 0
        self.n_drawn += saved.n_drawn
        self.n_needed += saved.n_needed
        self.n_winners += saved.n_winners
        self.n_changed += saved.n_changed
        return saved.n_drawn - saved.n_needed

    def of(self, verdict: Verdict) -> Saved | None:
        """What there is to count of a verdict, or None."""
        vote, k = self._vote, verdict.k_asked
        if not self._draws_all or self._scale is None or vote.rows is None or vote.swing is None:
            return None
        if verdict.k_drawn < k or verdict.rewards is None or len(verdict.rewards) < 2:
            return None
        end = self._rule.drawn_of(verdict.trajectories, vote, self._scale, k)
        early = vote(verdict.trajectories[:end])
        has_winner = verdict.winner is not None
        changed = early is None or best(early) != verdict.best
        return Saved(k, end, int(has_winner), int(has_winner and changed))

    def line(self) -> str | None:
        """One line for people; None where nothing would have been saved."""
        if self.n_needed == self.n_drawn:
            return None
        return (
            f"--stop predictive would have drawn {self.n_needed} of {self.n_drawn} judgements and "
            f"changed {self.n_changed} of {self.n_winners} winners"
        )
