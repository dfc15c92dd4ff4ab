"""How sure a decision should be: one temperature for log odds, fitted on a calibration split.

P(right) = sigmoid(margin / T), where the margin is a log odds: of a label, or of two responses.
T is the maximum of the likelihood; in 1 / T that is concave, so a line search finds it. Never fit
it on the rows that it is reported on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spct.errors import DataError
from spct.votes.vote import sigmoid

_LOWEST, _HIGHEST = 0.05, 20.0


def log_loss(margins: Sequence[float], golds: Sequence[int], temperature: float = 1.0) -> float:
    """The mean negative log likelihood of 0/1 labels."""
    total = 0.0
    for margin, gold in zip(margins, golds, strict=True):
        z = (margin if gold else -margin) / temperature
        total += math.log1p(math.exp(-z)) if z > -30 else -z
    return total / len(margins)


def fit_temperature(margins: Sequence[float], golds: Sequence[int]) -> float:
    """The temperature between 0.05 and 20 with the least log loss (golden section on ln T)."""
    if len(margins) < 2:
        raise DataError(f"fitting a temperature on {len(margins)} rows; expected at least 2")
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    ratio = (math.sqrt(5) - 1) / 2

    def loss(x: float) -> float:
        return log_loss(margins, golds, math.exp(x))

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-4:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return math.exp((low + high) / 2)


def binary_ece(margins: Sequence[float], golds: Sequence[int], n_bins: int = 10) -> float:
    """Expected calibration error of the choice that each margin stands for.

    A margin chooses the side of its sign with confidence sigmoid(|margin|), from 1/2 to 1; bins are
    of equal width there. A margin of zero is right by half.
    """
    bins: list[list[tuple[float, float]]] = [[] for _ in range(n_bins)]
    for margin, gold in zip(margins, golds, strict=True):
        sure = sigmoid(abs(margin))
        right = 0.5 if margin == 0 else float((margin > 0) == bool(gold))
        bins[min(n_bins - 1, int((sure - 0.5) * 2 * n_bins))].append((sure, right))
    gaps = (
        abs(math.fsum(s for s, _ in some) - math.fsum(r for _, r in some)) for some in bins if some
    )
    return math.fsum(gaps) / len(margins)
