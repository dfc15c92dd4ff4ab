"""How much of everything: the study, and the small one that `make test-long` runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Budget:
    """Sizes of the study; `settings` changes tables of config.toml."""

    cold_rows: int
    rft_examples: int
    rl_examples: int
    test_examples: int
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


BUDGETS = {
    "full": Budget(8000, 1500, 2000, 1000),
    "ci": Budget(
        4000, 300, 1000, 400,
        settings={
            "cold_start": {"max_steps": 500},
            "rft": {"max_steps": 60},
            "rl": {"max_steps": 25, "batch_size": 192, "micro_batch_size": 192},
            "meta_data": {"n_samples": 1},
            "meta": {"max_steps": 20},
            "evaluate": {"k": 4, "k_others": 4, "guided": ("rl",), "skip": ("base",)},
        },
    ),
}  # fmt: skip
