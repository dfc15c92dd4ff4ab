"""Stages that continue a LoRA adapter: load its base with it, to train on.

A stage with `lora_rank` writes peft's adapter and no base. The next stage goes on with that same
adapter (so cold start, RFT and RL end in one), and an engine merges it for speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spct.engines.ends import end_ids
from spct.engines.hf_load import (
    base_of,
    is_adapter,
    load_causal,
    load_merged,
    load_tokenizer,
    with_adapter,
)
from spct.errors import ExtraMissing

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


def saved_ends(model: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a reply of a model, an adapter's base or a name, before it is loaded."""
    from transformers import GenerationConfig

    try:
        generation = GenerationConfig.from_pretrained(base_of(model))
    except OSError:  # it has no generation_config.json
        generation = None
    return end_ids(tokenizer, generation)


def starting_model(model: str) -> str | PeftModel:
    """What a trainer begins with: a name or folder as it is, an adapter loaded to be trained on."""
    if not is_adapter(model):
        return model
    try:
        import torch
    except ImportError as error:
        raise ExtraMissing("torch", "train") from error
    return with_adapter(load_causal(base_of(model), torch.float32), model, trainable=True)


def merged_folder(model: str, out: Path) -> str:
    """The model itself; an adapter is written whole to `out`, once: heads start there."""
    if not is_adapter(model):
        return model
    if not (out / "config.json").is_file():
        write_merged(model, out)
    return str(out)


def write_merged(model: str, out: Path) -> None:
    """Write an adapter merged into its base, or a model as it is, as a transformers folder."""
    load_tokenizer(model).save_pretrained(str(out))
    load_merged(model).save_pretrained(str(out))
