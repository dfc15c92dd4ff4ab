"""How well a reward model knows how sure it is: calibration before and after one temperature.

Every pair of responses whose gold differs is a prediction: the log odds that the better one is. A
choice's are those of its two probabilities, yes or no's the difference of two log odds, a scalar
model's the difference of its logits. The temperature is fitted on one half of the queries (by a
hash) and used on the other, then the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spct.measure.intervals import half_of, prompts_of
from spct.measure.rules import gold_of
from spct.measure.temperature import binary_ece, fit_temperature
from spct.models.cascade import EDGE, strengths
from spct.protocols import Traits
from spct.types import Example, Verdict
from spct.votes.vote import Rewards


@dataclass(frozen=True, slots=True)
class Sureness:
    """Calibration errors (0 to 1/2) on `n` pairs; the temperature is that of all of them."""

    n: int
    before: float
    after: float
    temperature: float
    option_mass: float | None  # mean, where the reader knows it


def sureness(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], traits: Traits
) -> Sureness | None:
    """None for models whose rewards are no log odds, and where a half has fewer than two pairs."""
    if traits.answers in (None, "votes"):
        return None
    halves: tuple[list[float], list[float]] = ([], [])
    for example, prompt in zip(examples, prompts_of(examples), strict=True):
        rewards = verdicts[example.id].rewards
        if rewards is not None:
            half = halves[half_of(prompt)]
            half += log_odds(rewards, gold_of(example), traits)
    if min(map(len, halves)) < 2:
        return None
    # a margin is of the better over the worse response: its label is always 1
    temperatures = [fit_temperature(half, [1] * len(half)) for half in halves]
    whole = [*halves[0], *halves[1]]
    cooled = [m / temperatures[1] for m in halves[0]] + [m / temperatures[0] for m in halves[1]]
    right = [1] * len(whole)
    return Sureness(
        len(whole),
        binary_ece(whole, right),
        binary_ece(cooled, right),
        fit_temperature(whole, right),
        _option_mass(verdicts.values()),
    )


def log_odds(rewards: Rewards, gold: Rewards, traits: Traits) -> list[float]:
    """The log odds of each better response over each worse one."""
    values: Sequence[float] = rewards
    if traits.answers == "margins":
        values = [reward / len(rewards) for reward in rewards]
    elif (
        traits.scale is not None and traits.scale[1] == 1 and abs(math.fsum(rewards) - 1) < 1e-6
    ):  # a choice among these
        values = [math.log(max(p, EDGE)) for p in rewards]
    else:
        values = strengths(rewards, traits.scale)
    n = range(len(gold))
    return [values[i] - values[j] for i in n for j in n if gold[i] > gold[j]]


def _option_mass(verdicts: Iterable[Verdict]) -> float | None:
    masses = [
        one.option_mass
        for verdict in verdicts
        for t in verdict.trajectories
        if t.judgement is not None
        for one in t.judgement.decisions
        if one.option_mass is not None
    ]
    return math.fsum(masses) / len(masses) if masses else None
