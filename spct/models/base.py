"""What the frozen reward models share: a changed copy, a stream, and what most of them lack."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from spct.core.recipe import changed
from spct.core.settle import settle
from spct.core.stream import stream
from spct.protocols import Engine, RewardModel, Scorer
from spct.types import JSON, Example, Trajectory, Usage, Verdict
from spct.votes.vote import mean_scores


# eq=False: engines and scorers hold threads, connections and weights, which cannot be compared, so
# a model equals itself alone.
@dataclass(frozen=True, eq=False)
class FrozenModel(RewardModel):
    """A base for reward models that draw nothing: no engine, one judgement, nothing to open."""

    @property
    def engine(self) -> Engine | None:
        """No language model is asked."""
        return None

    @property
    def usage(self) -> Usage:
        """Nothing beside what its verdicts say."""
        return Usage()

    def identity(self) -> Mapping[str, JSON]:
        """The fingerprint holds all that the rewards depend on."""
        return {"model": self.fingerprint}

    def with_(self, **changes: Any) -> Self:
        """A copy with other settings."""
        return changed(self, changes)

    async def open(self) -> None:
        """Nothing to find out."""

    def judge_many(self, examples: Iterable[Example]) -> AsyncGenerator[Verdict, None]:
        """Judge a stream; concurrent examples share batches."""
        return stream(self.judge, examples, self.concurrency)

    def settle(self, example_id: str, trajectories: Sequence[Trajectory], k: int) -> Verdict:
        """Rewards are means, of one judgement too."""
        return settle(example_id, trajectories, mean_scores, k)

    async def aclose(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, eq=False)
class ScorerModel(FrozenModel):
    """A base for what reads logits from a scorer."""

    scorer: Scorer

    @property
    def usage(self) -> Usage:
        """What the head has read so far."""
        return self.scorer.usage

    async def aclose(self) -> None:
        """Close the scorer."""
        await self.scorer.aclose()
