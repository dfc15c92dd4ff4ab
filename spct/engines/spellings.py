"""Log probabilities by spelling: two token ids may be written alike, and then count together."""

from __future__ import annotations

import math
from collections.abc import Iterable


def summed(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The log of the summed probabilities of each spelling."""
    found: dict[str, float] = {}
    for spelling, logprob in pairs:
        if spelling in found:
            high, low = max(found[spelling], logprob), min(found[spelling], logprob)
            logprob = high + math.log1p(math.exp(low - high))
        found[spelling] = logprob
    return found
