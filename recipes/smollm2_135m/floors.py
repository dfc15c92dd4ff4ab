"""What a judge has to beat: the longest response, and a bag of words trained on the same pairs.

The bag of words is a Bradley-Terry fit on two responses' word counts, without the query: what a set
gives away by vocabulary alone. Its penalty is chosen on held-out training queries.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spct.data.prepare import normalised_query
from spct.measure.rules import credit, gold_of
from spct.models.baselines import longest
from spct.train.linear import Features, choose, fit
from spct.train.pairs import PairFunnel, pairs_of
from spct.types import Example

if TYPE_CHECKING:
    import torch

MAX_WORDS = 4000
SEED = 0


def longest_credit(example: Example) -> float:
    """What choosing the longest response (in characters) earns."""
    return credit(longest(example, SEED), gold_of(example))


def words_credits(train: Sequence[Example], test: Sequence[Example]) -> list[float]:
    """What a bag of words earns on `test` after training on the pairs of `train`."""
    import torch

    pairs = pairs_of(train, PairFunnel())
    counts = Counter(w for e in train for r in e.responses for w in set(words(r)))
    index = {w: i for i, (w, _) in enumerate(counts.most_common(MAX_WORDS))}

    def rows(texts: Sequence[str]) -> torch.Tensor:
        found = torch.zeros(len(texts), len(index), dtype=torch.float64)
        for row, text in zip(found, texts, strict=True):
            row[[index[w] for w in set(words(text)) if w in index]] = 1.0
        return found

    features = Features(
        rows([p.example.responses[p.chosen] for p in pairs]),
        rows([p.example.responses[p.rejected] for p in pairs]),
        torch.zeros(len(pairs), dtype=torch.float64),
    )
    penalty, _ = choose(features, [normalised_query(p.example) for p in pairs], SEED)
    weights, _ = fit(features, penalty)
    return [credit(tuple((rows(e.responses) @ weights).tolist()), gold_of(e)) for e in test]


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.findall(r"[a-z']+|\d+", text.casefold())
