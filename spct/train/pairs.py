"""Examples to pairs with a winner: what Bradley-Terry, PairRM and CLoud heads are trained on.

An example of n responses gives every pair whose gold differs, so n-way rows become up to
n (n - 1) / 2 pairs. A pair whose gold is equal has no winner and is skipped; every skip is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations

from spct.errors import TrainError
from spct.types import Example


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of an example, by index; `margin` is by how much gold differs, above 0."""

    example: Example
    chosen: int
    rejected: int
    margin: float


class Counts:
    """What a funnel's dataclass counted, in a line."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in asdict(self).items())  # type: ignore[call-overload]


@dataclass(slots=True)
class PairFunnel(Counts):
    """What became of the examples: `ties` and `equal_responses` count pairs, the rest examples."""

    examples: int = 0
    no_gold: int = 0
    not_finite: int = 0
    single: int = 0
    ties: int = 0
    equal_responses: int = 0
    pairs: int = 0


def pairs_of(examples: Iterable[Example], funnel: PairFunnel) -> list[Pair]:
    """All pairs with a winner, in order; raise `TrainError` if there is none at all."""
    pairs: list[Pair] = []
    for example in examples:
        funnel.examples += 1
        gold = example.gold
        if gold is None:
            funnel.no_gold += 1
        elif not all(map(math.isfinite, gold)):
            funnel.not_finite += 1
        elif example.n < 2:
            funnel.single += 1
        else:
            for i, j in combinations(range(example.n), 2):
                if gold[i] == gold[j]:
                    funnel.ties += 1
                elif example.responses[i] == example.responses[j]:
                    funnel.equal_responses += 1
                else:
                    chosen, rejected = (i, j) if gold[i] > gold[j] else (j, i)
                    pairs.append(Pair(example, chosen, rejected, gold[chosen] - gold[rejected]))
    funnel.pairs = len(pairs)
    if not pairs:
        raise TrainError(
            f"making pairs to train on: got none ({funnel}); expected examples of at least two "
            "responses whose gold differs"
        )
    return pairs
