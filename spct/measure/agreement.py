"""How far two judges agree, beyond what their habits alone would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two raters' labels on the same items.

    1 is full agreement, 0 what two raters with these shares of labels reach by chance. None where
    both gave one and the same label throughout: chance alone then agrees always.
    """
    n = len(pairs)
    if n == 0:
        return None
    seen = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[label] * second[label] for label in first) / (n * n)
    return None if chance == 1 else (seen - chance) / (1 - chance)
