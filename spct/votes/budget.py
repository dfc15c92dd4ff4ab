"""One budget for a run (pure): every example gets a round, the rest goes where it decides most.

After its first round of orders an example is worth the predicted chance that its winner at k is
another one, for each token (or call) that its next round costs. What is drawn next depends on the
verdicts alone, neither on the clock nor on what was in flight: a run that was killed goes on as it
would have gone. The idea is ROBIN's (arXiv 2602.15481), the chance that of `predictive` stopping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spct.errors import ConfigError
from spct.text.parse import Scale
from spct.types import Usage, Verdict
from spct.votes.predictive import doubt
from spct.votes.price import Price
from spct.votes.vote import Vote

# What one unit of an amount counts; a new unit is one entry here.
UNITS: Mapping[str, Callable[[Usage], float]] = {
    "tokens": lambda usage: usage.prompt_tokens + usage.completion_tokens,
    "calls": lambda usage: usage.calls,
}
MONEY = "usd"
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kmb]?)-([a-z]+)")
_AT_ONCE, _PARTS = 16, 8  # examples of a step: an eighth of all, since the others wait for them


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of tokens, calls or, at a price, US dollars."""

    amount: float
    unit: str
    price: Price | None = None

    def cost(self, usage: Usage) -> float:
        """What `usage` takes of it."""
        return UNITS[self.unit](usage) if self.price is None else self.price.cost(usage)

    def __str__(self) -> str:
        at = "" if self.price is None else f" at {self.price}"
        return f"{self.amount:.15g}-{self.unit}{at}"

    def said(self, amount: float) -> str:
        """An amount for people."""
        return f"{amount:,.{0 if self.price is None else 4}f} {self.unit}"


def read_budget(text: str, price: Price | None = None) -> Budget:
    """The budget that `2M-tokens`, `1.5k-calls`, `500-calls` or, with a price, `20-usd` is."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None or found[3] not in (*UNITS, MONEY):
        units = " or ".join([*(f"2M-{unit}" for unit in UNITS), f"20-{MONEY}"])
        raise ConfigError(f"--budget {text!r}: expected an amount and its unit, such as {units}")
    amount = float(found[1]) * _FACTORS[found[2]]
    if amount == 0:
        raise ConfigError(f"--budget {text!r}: nothing can be drawn for nothing")
    if found[3] != MONEY:
        return Budget(amount, found[3])
    if price is None:
        raise ConfigError(f"--budget {text!r}: what tokens cost is not known; give --price too")
    return Budget(amount, MONEY, price)


class Item(NamedTuple):
    """An example, its number of responses, and how long it is: what a first round costs."""

    id: str
    n: int
    size: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is known of an example after its latest verdict."""

    verdict: Verdict
    round: int  # judgements of its next round; 0 where no more are drawn
    chance: float  # that the winner at k is another one
    cost: float  # of all that was drawn
    most: float  # what its next round can cost

    @property
    def worth(self) -> float:
        """The chance for each token (or call) of the next round."""
        price = self.cost / self.verdict.k_drawn * self.round
        return self.chance / price if price else 0.0


class Spending:
    """Decides what is drawn next. `k` is the most for one example, `longest` the most reply tokens.

    `swing` and `rows` are those of the vote: what one judgement adds, and by how much at most.
    """

    def __init__(self, budget: Budget, k: int, vote: Vote, scale: Scale, longest: int) -> None:
        if vote.rows is None or vote.swing is None:
            raise ConfigError(
                f"one budget for a run needs a vote that sums over judgements (mean, majority); "
                f"{vote.name!r} does not"
            )
        self.budget = budget
        self.spent = 0.0
        self._k, self._longest = k, longest
        self._rows, self._swing = vote.rows, vote.swing(scale)
        self._drawn: dict[str, _Drawn] = {}

    def steps(self, items: Sequence[Item]) -> Iterator[dict[str, int]]:
        """Yield who draws, up to how many judgements; add all their verdicts before the next.

        Raises `ConfigError` as soon as the first round proves too dear for the budget.
        """
        if self.budget.amount < len(items) * self.budget.cost(Usage(1, 1, 1)):
            self._refuse(len(items) * self.budget.cost(Usage(1, 1, 1)), "at least ")
        at_once = max(_AT_ONCE, -(-len(items) // _PARTS))
        # The rest costs like what was drawn, by judgements or by characters: a prompt's wording is
        # the same for all, its texts are not. An early refusal wants both to say so.
        n, size = [item.n for item in items], [item.size for item in items]
        done = 0
        while done < len(items):
            some = items[done : done + at_once]
            yield {item.id: min(item.n, self._k) for item in some}
            done += len(some)
            begun = max(_share(n, done), _share(size, done))
            if self.spent / begun > self.budget.amount:
                self._refuse(self.spent / begun, "about " if done < len(items) else "")
        if items and self.spent == 0:
            raise ConfigError(
                f"--budget {self.budget}: the engine reported no {self.budget.unit} for the first "
                "round, so nothing can be budgeted; use another unit"
            )
        while step := self._next(at_once):
            yield step

    def add(self, verdict: Verdict) -> Verdict | None:
        """Take an example's newest verdict; return the one that it replaces."""
        before = self._drawn.get(verdict.example_id)
        now = self._known(verdict)
        self._drawn[verdict.example_id] = now
        self.spent += now.cost - (before.cost if before else 0.0)
        return before.verdict if before else None

    def summary(self) -> str:
        """What was spent, and how many judgements how many examples have, for people."""
        drawn = sorted(Counter(one.verdict.k_drawn for one in self._drawn.values()).items())
        return (
            f"spent {self.budget.said(self.spent)} of {self.budget.said(self.budget.amount)}; "
            f"examples by judgements: {', '.join(f'{n} with {k}' for k, n in drawn)}"
        )

    def _known(self, verdict: Verdict) -> _Drawn:
        n, left = len(verdict.trajectories[0].prompt.order), self._k - verdict.k_drawn
        cost = self.budget.cost(verdict.usage)
        # What failed is tried again by the next start, and a single response has no winner.
        if n == 1 or "failed" in verdict.unscored:
            left = 0
        used = [t.completion.usage for t in verdict.trajectories]
        prompt = max(usage.prompt_tokens for usage in used)
        reply = max(self._longest, *(usage.completion_tokens for usage in used))
        size = min(n, left)
        return _Drawn(
            verdict,
            size,
            doubt(self._rows(verdict.trajectories), left, self._swing),
            cost,
            size * self.budget.cost(Usage(prompt, reply, 1)),
        )

    def _next(self, at_once: int) -> dict[str, int]:
        """The examples with the most worth whose next rounds the budget surely covers."""
        left, chosen = self.budget.amount - self.spent, dict[str, int]()
        open_ = [(id, one) for id, one in self._drawn.items() if one.round and one.worth > 0]
        for id, one in sorted(open_, key=lambda pair: (-pair[1].worth, pair[0])):
            if one.most <= left:
                left -= one.most
                chosen[id] = one.verdict.k_drawn + one.round
                if len(chosen) == at_once:
                    break
        return chosen

    def _refuse(self, needed: float, how: str) -> None:
        raise ConfigError(
            f"--budget {self.budget}: one round of orders for every example takes {how}"
            f"{self.budget.said(needed)}; give more, or fewer examples (--limit)"
        )


def _share(parts: Sequence[int], done: int) -> float:
    return sum(parts[:done]) / max(1, sum(parts))
