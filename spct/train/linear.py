"""The fit of a one-logit linear head to pooled features: convex, full-batch, deterministic.

L-BFGS in float64 minimises

    mean loss + penalty / 2 * |weights of the standardised features|^2

A tenth of the queries, taken from the training pairs, chooses the penalty by its loss. Features are
divided by their spread and not centred: the heads that transformers puts on language models have no
bias, and the difference of two logits, which is all that ranks, does not see one.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spct.errors import TrainError

if TYPE_CHECKING:
    import torch

PENALTIES = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Features:
    """What the backbone makes of pairs; `both_orders`: each side is labelled alone (pairwise)."""

    first_P_H: torch.Tensor
    second_P_H: torch.Tensor
    margin_P: torch.Tensor
    both_orders: bool = False

    def rows(self, which: Sequence[int]) -> Features:
        """Some of the pairs."""
        keep = list(which)
        return Features(
            self.first_P_H[keep], self.second_P_H[keep], self.margin_P[keep], self.both_orders
        )

    def loss(self, weights_H: torch.Tensor) -> torch.Tensor:
        """Bradley-Terry of the two logits, or binary cross-entropy of each with its label."""
        import torch

        first_P, second_P = self.first_P_H @ weights_H, self.second_P_H @ weights_H
        if self.both_orders:
            return -torch.nn.functional.logsigmoid(torch.cat([first_P, -second_P])).mean()
        return -torch.nn.functional.logsigmoid(first_P - second_P - self.margin_P).mean()

    def accuracy(self, weights_H: torch.Tensor) -> float:
        """How often the first logit is above the second, as rewards are compared."""
        wins_P = self.first_P_H @ weights_H > self.second_P_H @ weights_H
        return float(wins_P.double().mean())


def fit(features: Features, penalty: float) -> tuple[torch.Tensor, int]:
    """The weights, for features as they are, and the iterations that the fit took."""
    import torch

    both_H = torch.cat([features.first_P_H, features.second_P_H])
    spread_H = both_H.std(0, correction=0)
    spread_H = torch.where(spread_H > 0, spread_H, torch.ones_like(spread_H))
    scaled = replace(
        features,
        first_P_H=features.first_P_H / spread_H,
        second_P_H=features.second_P_H / spread_H,
    )
    weights_H = torch.zeros_like(spread_H, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights_H],
        max_iter=1000,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        search.zero_grad()
        value = scaled.loss(weights_H) + penalty / 2 * weights_H.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(objective)  # type: ignore[no-untyped-call]
    return weights_H.detach() / spread_H, int(search.state[weights_H]["n_iter"])


def held_out(queries: Sequence[Hashable], seed: int) -> set[Hashable]:
    """A tenth of the queries, at least one."""
    known = list(dict.fromkeys(queries))
    if len(known) < 2:
        raise TrainError(
            f"fitting a frozen head: got pairs of {len(known)} query, expected at least 2, because "
            "a part of the queries is held out to choose the penalty; give more data"
        )
    return set(random.Random(seed).sample(known, max(1, round(len(known) / 10))))


def choose(
    features: Features, queries: Sequence[Hashable], seed: int
) -> tuple[float, list[dict[str, float]]]:
    """The penalty of the lowest held-out loss, and what each one came to."""
    apart = held_out(queries, seed)
    rest = features.rows([i for i, query in enumerate(queries) if query not in apart])
    unseen = features.rows([i for i, query in enumerate(queries) if query in apart])
    tried = []
    for penalty in PENALTIES:
        weights_H, _ = fit(rest, penalty)
        tried.append(
            {
                "penalty": penalty,
                "held_out_pairs": len(unseen.margin_P),
                "held_out_loss": float(unseen.loss(weights_H)),
                "held_out_accuracy": unseen.accuracy(weights_H),
            }
        )
    return min(tried, key=lambda entry: entry["held_out_loss"])["penalty"], tried
