"""Which tokens end a reply: a chat model may end its turn with another one than its tokenizer's."""

from __future__ import annotations

from typing import Any

from spct.errors import ConfigError


def end_ids(tokenizer: Any, generation: Any) -> frozenset[int]:
    """The tokenizer's end token and those of a transformers `GenerationConfig` (or None)."""
    named = getattr(generation, "eos_token_id", None)
    several = named if isinstance(named, list | tuple) else [named]
    ids = [i for i in (tokenizer.eos_token_id, *several) if i is not None]
    if odd := [i for i in ids if type(i) is not int]:
        raise ConfigError(
            f"reading the tokens that end a reply: eos_token_id is {odd[0]!r:.60}, expected a "
            "token's number or a list of them; fetch the model's generation_config.json again"
        )
    return frozenset(ids)
