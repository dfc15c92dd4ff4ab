"""The cascade: a decision first, a voted judge where that is not sure enough, both combined.

The first model's rewards become strengths s (log odds of probabilities), the judge's votes means v.
P(response) = softmax(first * s) decides alone where its top reaches `threshold`; elsewhere the
judge draws its k judgements and P = softmax(both * (s, v)): calibrated log odds, added up. Where
one of the two is unscored the other speaks alone. The numbers come from `spct fit-cascade`, which
replays stored runs (spct/measure/cascade.py). Whether it pays is for that report to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace

from pydantic import Field

from spct.core.recipe import settings_of
from spct.core.settle import settle
from spct.engines.readouts.decision import softmax
from spct.models.base import FrozenModel
from spct.protocols import RewardModel, Traits
from spct.settings import Settings
from spct.types import JSON, Example, Trajectory, Usage, Verdict
from spct.votes.vote import Rewards, Vote

EDGE = 1e-6  # a probability of 0 or 1 is taken for this far from it


class CascadeSettings(Settings):
    """`[cascade]` of a model's TOML file, as `spct fit-cascade` writes it."""

    first: str = Field(description="The model that decides first; a name as of --reward-model.")
    second: str = Field(description="The judge that is asked where the first is not sure.")
    threshold: float = Field(description="Calibrated confidence from which the first is enough.")
    slope_first: float = Field(description="Log odds per unit of the first model, alone.")
    slope_second: float = Field(description="Log odds per unit of the judge, alone.")
    slopes_both: tuple[float, float] = Field(description="Log odds per unit of each, together.")


@dataclass(frozen=True, slots=True)
class CascadeFit:
    """Where the judge is asked, and how much a unit of each model's reward says."""

    threshold: float
    first: float
    second: float
    both: tuple[float, float]

    def is_sure(self, first: Rewards | None, scale: tuple[float, float] | None) -> bool:
        """Whether the first model's rewards decide alone."""
        return first is not None and max(self.decided(first, None, scale)) >= self.threshold

    def decided(
        self, first: Rewards | None, second: Rewards | None, scale: tuple[float, float] | None
    ) -> Rewards:
        """The probability of each response from what is known; `scale` is the first model's."""
        if first is None:
            assert second is not None
            return softmax([self.second * v for v in second])
        s = strengths(first, scale)
        if second is None:
            return softmax([self.first * one for one in s])
        a, b = self.both
        return softmax([a * x + b * v for x, v in zip(s, second, strict=True)])


def strengths(rewards: Rewards, scale: tuple[float, float] | None) -> Rewards:
    """Rewards whose differences are like log odds: logits of probabilities, others as they are."""
    if scale is None or scale[0] != 0 or scale[1] != 1:
        return rewards
    kept = [min(max(p, EDGE), 1 - EDGE) for p in rewards]
    return tuple(math.log(p / (1 - p)) for p in kept)


@dataclass(frozen=True, eq=False)
class CascadeRM(FrozenModel):
    """Two reward models as one; rewards are probabilities of being the best, 0 to 1."""

    first: RewardModel
    second: RewardModel
    fit: CascadeFit
    _: KW_ONLY
    concurrency: int = 64

    @property
    def traits(self) -> Traits:
        """Two responses or more, as many as both models take."""
        mine, other = self.first.traits, self.second.traits
        most = [t.max_responses for t in (mine, other) if t.max_responses is not None]
        return Traits(
            max(2, mine.min_responses, other.min_responses),
            min(most, default=None),
            takes_reference=mine.takes_reference and other.takes_reference,
            scale=(0, 1),
            needs=mine.needs | other.needs,
            settings=settings_of(self),
        )

    @property
    def fingerprint(self) -> str:
        """Both models."""
        return f"cascade/{self.first.fingerprint}/{self.second.fingerprint}"

    @property
    def usage(self) -> Usage:
        """What the heads of both have read."""
        return self.first.usage + self.second.usage

    def identity(self) -> Mapping[str, JSON]:
        """Both models' identities and the fitted numbers."""
        return {
            "model": self.fingerprint,
            "first": self.first.identity(),
            "second": self.second.identity(),
            "fit": asdict(self.fit) | {"both": list(self.fit.both)},
        }

    async def open(self) -> None:
        """Open both."""
        await self.first.open()
        await self.second.open()

    async def judge(self, example: Example) -> Verdict:
        """Decide; judge where that is not sure enough or failed."""
        first = await self.first.judge(example)
        if self.fit.is_sure(first.rewards, self.first.traits.scale):
            return self._settled(example.id, first, None)
        return self._settled(example.id, first, await self.second.judge(example))

    def settle(self, example_id: str, trajectories: Sequence[Trajectory], k: int) -> Verdict:
        """Combine what is stored: the models' trajectories are told apart by fingerprint."""
        mine = [t for t in trajectories if t.fingerprint == self.first.fingerprint]
        others = [t for t in trajectories if t.fingerprint != self.first.fingerprint]
        first = self.first.settle(example_id, mine, len(mine))
        second = self.second.settle(example_id, others, len(others)) if others else None
        return replace(self._settled(example_id, first, second), k_asked=k)

    def _settled(self, example_id: str, first: Verdict, second: Verdict | None) -> Verdict:
        judged = None if second is None else second.rewards
        rewards: Rewards | None = None
        if first.rewards is not None or judged is not None:
            rewards = self.fit.decided(first.rewards, judged, self.first.traits.scale)
        drawn, asked = first.trajectories, first.k_asked
        if second is not None:
            n = len(drawn)
            later = [replace(t, index=n + i) for i, t in enumerate(second.trajectories)]
            drawn, asked = (*drawn, *later), asked + second.k_asked
        return settle(example_id, drawn, Vote("cascade", lambda _: rewards), asked)

    async def aclose(self) -> None:
        """Close both."""
        await self.first.aclose()
        await self.second.aclose()
