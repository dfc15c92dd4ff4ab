"""When to stop drawing judgements early. k is then a ceiling.

Both rules look only after whole waves and only at votes whose totals are sums over judgements.
`exact` stops when no possible remaining judgement can change the winner: the verdict at k is
certain. `sign_flip` stops when the leader's lead over every rival is significant: under the
hypothesis that a judgement favours the rival as much as the leader, each difference may have its
sign flipped, which gives the lead's exact distribution without any assumption on its shape. The
stated level is shared out over all rivals and looks (Bonferroni), so it holds for the whole run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spct.core.parse import Scale
from spct.core.vote import Rewards, Vote, best
from spct.errors import ConfigError
from spct.types import Trajectory


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

    `schedule` gives, for k and the size of a wave, after how many judgements in all to look.
    """

    name: str
    is_decided: Callable[[State], bool]
    schedule: Callable[[int, int], Iterable[int]]
    wave: int = 4

    def waves(self, k: int, n: int) -> tuple[int, ...]:
        """How many judgements are drawn in all after each wave; whole rounds of n positions."""
        size = -(-self.wave // n) * n
        return (*(end for end in self.schedule(k, size) if end < k), k)

    def check(self, vote: Vote) -> None:
        """Raise `ConfigError` for a vote that later judgements could always overturn."""
        if vote.swing is None or vote.rows is None:
            raise ConfigError(
                f"early stopping ({self.name}) needs a vote that sums over judgements "
                f"(mean, majority); {vote.name!r} does not"
            )

    def should_stop(
        self, trajectories: Sequence[Trajectory], vote: Vote, scale: Scale, left: int, looks: int
    ) -> bool:
        """Whether the vote on these is decided with `left` judgements still to draw."""
        self.check(vote)
        assert vote.rows is not None and vote.swing is not None
        rows = vote.rows(trajectories)
        return bool(rows) and self.is_decided(State(rows, left, looks, vote.swing(scale)))


def _lead_rows(rows: Sequence[Rewards]) -> list[list[float]] | None:
    """For each rival, the leader's differences; None on a tie or with a single response."""
    totals = tuple(math.fsum(column) for column in zip(*rows, strict=True))
    top = best(totals)
    if len(totals) < 2 or len(top) > 1:
        return None
    lead = top[0]
    return [[row[lead] - row[i] for row in rows] for i in range(len(totals)) if i != lead]


def _is_certain(state: State) -> bool:
    leads = _lead_rows(state.rows)
    return leads is not None and all(math.fsum(d) > state.left * state.swing for d in leads)


def _after_half(k: int, size: int) -> Iterable[int]:
    """Nothing is certain before half of the judgements are drawn; then look after each wave."""
    return range(-(-k // (2 * size)) * size, k, size)


def _doubling(k: int, size: int) -> Iterable[int]:
    """Few looks, because each costs a share of the error level: 4, 8, 16, ..."""
    return (size << i for i in range(k.bit_length()))


exact = Stopping("exact", _is_certain, _after_half)


def sign_flip(error: float = 0.05, wave: int = 4) -> Stopping:
    """Stop when each rival is behind at level `error`, shared over rivals and looks."""
    if not 0 < error < 0.5:
        raise ConfigError(f"the error level of sign_flip is {error}; expected between 0 and 0.5")

    def is_decided(state: State) -> bool:
        leads = _lead_rows(state.rows)
        if leads is None:
            return False
        level = error / (len(leads) * max(1, state.looks))
        return _is_certain(state) or all(sign_flip_p(d) <= level for d in leads)

    return Stopping(f"sign_flip{error:g}", is_decided, _doubling, wave)


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
