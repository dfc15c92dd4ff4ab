"""Reward models that know nothing: what a benchmark's figures have to beat.

They judge as anything else does, through `RewardModel`, and write no trajectories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spct.core.recipe import settings_of
from spct.errors import ConfigError
from spct.models.base import FrozenModel
from spct.protocols import Traits
from spct.types import Example, Verdict
from spct.votes.vote import Rewards, best

Rule = Callable[[Example, int], Rewards]


def longest(example: Example, seed: int) -> Rewards:
    """The number of characters: the longest response wins."""
    return tuple(float(len(response)) for response in example.responses)


def first(example: Example, seed: int) -> Rewards:
    """The response that is presented first wins."""
    return tuple(float(i == 0) for i in range(example.n))


def at_random(example: Example, seed: int) -> Rewards:
    """A number drawn by the seed, the prompt and the text: it ignores position and quality."""
    # Seeded by the texts: presenting the responses in another order must not redraw the numbers.
    prompt = " ".join(turn.content for turn in example.query)
    return tuple(
        random.Random(f"{seed} {prompt} {response}").random() for response in example.responses
    )


BASELINES: Mapping[str, Rule] = {"length": longest, "first": first, "random": at_random}


@dataclass(frozen=True, eq=False)
class Baseline(FrozenModel):
    """A rule on the texts as a RewardModel."""

    name: str
    seed: int = 0

    concurrency = 64  # a rule takes no time: so many verdicts share one commit

    def __post_init__(self) -> None:
        if self.name not in BASELINES:
            raise ConfigError(f"no baseline {self.name!r}; there are {', '.join(BASELINES)}")

    @property
    def fingerprint(self) -> str:
        """Names the rule, and the seed where it matters."""
        return f"baseline:{self.name}" + (f":{self.seed}" if self.name == "random" else "")

    @property
    def traits(self) -> Traits:
        """Any number of responses; a reference is not looked at."""
        return Traits(settings=settings_of(self))

    async def judge(self, example: Example) -> Verdict:
        """Judge one example, at once."""
        return scalar_verdict(example.id, BASELINES[self.name](example, self.seed))


def scalar_verdict(example_id: str, rewards: Rewards) -> Verdict:
    """A verdict without trajectories."""
    return Verdict(example_id, rewards, best(rewards), (), 1, 0, 0, None)
