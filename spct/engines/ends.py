"""Which tokens end a reply: a chat model may end its turn with another one than its tokenizer's."""

from __future__ import annotations

from typing import Any


def end_ids(tokenizer: Any, generation: Any) -> frozenset[int]:
    """The tokenizer's end token and those of a transformers `GenerationConfig` (or None)."""
    named = getattr(generation, "eos_token_id", None)
    several = named if isinstance(named, list | tuple) else [named]
    return frozenset(int(i) for i in (tokenizer.eos_token_id, *several) if i is not None)
