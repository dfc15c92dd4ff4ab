"""What a judge has to beat: the longest response, and a bag of words trained on the same pairs.

The bag of words is a logistic regression on the difference of two responses' word counts, without
the query: what a set gives away by vocabulary alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from spct.types import Example
from spct.vote import best

MAX_WORDS = 4000
STEPS = 300


def credit(rewards: Sequence[float], example: Example) -> float:
    """1 for the right winner, its share for a tie at the top."""
    gold = example.gold or ()
    top = best(tuple(rewards))
    return float(gold.index(max(gold)) in top) / len(top)


def longest_credit(example: Example) -> float:
    """What choosing the longest response (in characters) earns."""
    return credit([float(len(r)) for r in example.responses], example)


def words_credits(train: Sequence[Example], test: Sequence[Example]) -> list[float]:
    """What a bag of words earns on `test` after training on the pairs of `train`."""
    import torch

    pairs = [(e, i, j) for e in train if e.gold for i, j in combinations(range(e.n), 2)
             if e.gold[i] != e.gold[j]]  # fmt: skip
    counts = Counter(w for e, *_ in pairs for r in e.responses for w in set(words(r)))
    index = {w: i for i, (w, _) in enumerate(counts.most_common(MAX_WORDS))}

    def row(text: str) -> torch.Tensor:
        at = torch.tensor([index[w] for w in set(words(text)) if w in index], dtype=torch.long)
        return torch.zeros(len(index)).index_fill_(0, at, 1.0)

    x_P_W = torch.stack([row(e.responses[i]) - row(e.responses[j]) for e, i, j in pairs])
    y_P = torch.tensor([float(e.gold[i] > e.gold[j]) for e, i, j in pairs if e.gold])
    weight = torch.zeros(len(index), requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.02, weight_decay=0.1)
    for _ in range(STEPS):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x_P_W @ weight, y_P)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    fitted = weight.detach()
    return [credit([float(row(r) @ fitted) for r in e.responses], e) for e in test]


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.findall(r"[a-z']+|\d+", text.casefold())
