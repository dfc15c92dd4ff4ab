"""When to stop drawing judgements early. k is then a ceiling.

The rules look after whole rounds of positions and only at votes whose totals are sums over
judgements. `exact` stops when no possible remaining judgement can change the winner: the verdict
at k is certain. `predictive` (predictive.py) stops when the predicted chance that another leads at
k is at most its level. `sign_flip` stops when the leader's lead over every
rival is significant, without any assumption on its shape; its level is shared out over all rivals
and looks (Bonferroni), so it holds for the whole run and is conservative.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from spct.errors import ConfigError
from spct.text.parse import Scale
from spct.types import Trajectory
from spct.votes.vote import Rewards, Vote, best

_FIRST = 4  # samples before the first look


@dataclass(frozen=True, slots=True)
class State:
    """What a rule sees after a wave: each counted judgement's row, draws left, looks in all."""

    rows: Sequence[Rewards]
    left: int
    looks: int
    swing: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """A rule, how many judgements its smallest wave has, and when it looks.

    `schedule` gives, for k and the size of a round, after how many judgements in all to look.
    """

    name: str
    is_decided: Callable[[State], bool]
    schedule: Callable[[int, int], Iterable[int]]
    wave: int = _FIRST

    def waves(self, k: int, n: int) -> tuple[int, ...]:
        """How many judgements are drawn in all after each wave; whole rounds of n positions."""
        first = -(-self.wave // n) * n
        return (*(end for end in self.schedule(k, n) if first <= end < k), k)

    def check(self, vote: Vote) -> None:
        """Raise `ConfigError` for a vote that later judgements could always overturn."""
        if vote.swing is None or vote.rows is None:
            raise ConfigError(
                f"early stopping ({self.name}) needs a vote that sums over judgements "
                f"(mean, majority); {vote.name!r} does not"
            )

    def can_stop(self, k: int, n: int) -> bool:
        """Whether the rule could stop before k at all: with the clearest judgements that exist."""
        ends = self.waves(k, n)
        row = (1.0,) + (0.0,) * (n - 1)
        return any(
            self.is_decided(State([row] * end, k - end, len(ends) - 1, 1.0)) for end in ends[:-1]
        )

    def drawn_of(self, trajectories: Sequence[Trajectory], vote: Vote, scale: Scale, k: int) -> int:
        """How many of k stored judgements a judge with this rule would have drawn."""
        ends = self.waves(k, len(trajectories[0].prompt.order))
        for end in ends[:-1]:
            if self.should_stop(trajectories[:end], vote, scale, k - end, len(ends) - 1):
                return end
        return k

    def should_stop(
        self, trajectories: Sequence[Trajectory], vote: Vote, scale: Scale, left: int, looks: int
    ) -> bool:
        """Whether the vote on these is decided with `left` judgements still to draw."""
        self.check(vote)
        assert vote.rows is not None and vote.swing is not None
        rows = vote.rows(trajectories)
        return bool(rows) and self.is_decided(State(rows, left, looks, vote.swing(scale)))


@lru_cache(maxsize=64)
def warn_if_idle(rule: Stopping, k: int, n: int) -> None:
    """Say, once for each k and n, that a rule can never stop there."""
    if n > 1 and not rule.can_stop(k, n):
        warnings.warn(
            f"the stopping rule {rule.name} cannot stop before k = {k} with {n} responses: all k "
            "judgements are drawn; a larger k or --stop predictive can stop",
            stacklevel=3,
        )


def leads_of(rows: Sequence[Rewards]) -> list[list[float]] | None:
    """For each rival, the leader's differences; None on a tie or with a single response."""
    totals = tuple(math.fsum(column) for column in zip(*rows, strict=True))
    top = best(totals)
    if len(totals) < 2 or len(top) > 1:
        return None
    lead = top[0]
    return [[row[lead] - row[i] for row in rows] for i in range(len(totals)) if i != lead]


def _is_certain(state: State) -> bool:
    leads = leads_of(state.rows)
    return leads is not None and all(math.fsum(d) > state.left * state.swing for d in leads)


def _after_half(k: int, size: int) -> Iterable[int]:
    """Nothing is certain before half of the judgements are drawn; then look after each round."""
    return range(-(-k // (2 * size)) * size, k, size)


def each_round(k: int, size: int) -> Iterable[int]:
    """Look after every round."""
    return range(size, k, size)


exact = Stopping("exact", _is_certain, _after_half)


def check_level(name: str, error: float) -> None:
    """Raise `ConfigError` for an error level that makes no sense."""
    if not 0 < error < 0.5:
        raise ConfigError(f"the error level of {name} is {error}; expected between 0 and 0.5")


def sign_flip(error: float = 0.02, wave: int = _FIRST) -> Stopping:
    """Stop when each rival is behind at level `error`, shared over rivals and looks."""
    check_level("sign_flip", error)

    def is_decided(state: State) -> bool:
        leads = leads_of(state.rows)
        if leads is None:
            return False
        level = error / (len(leads) * max(1, state.looks))
        return _is_certain(state) or all(sign_flip_p(d) <= level for d in leads)

    return Stopping(f"sign_flip{error:g}", is_decided, each_round, wave)


def sign_flip_p(differences: Sequence[float]) -> float:
    """P(sum of randomly signed differences >= their sum), exact to hundredths."""
    steps = [round(abs(d) * 100) for d in differences]
    target = sum(round(d * 100) for d in differences)  # as the steps are: the sum is reachable
    mass: dict[int, float] = {0: 1.0}
    for step in steps:
        spread: defaultdict[int, float] = defaultdict(float)
        for total, p in mass.items():
            spread[total + step] += p / 2
            spread[total - step] += p / 2
        mass = spread
    return math.fsum(p for total, p in mass.items() if total >= target)
