"""Stages that continue a LoRA adapter: load its base with it, to train on or to sample from.

A stage with `lora_rank` writes peft's adapter and no base. The next stage goes on with that same
adapter (so cold start, RFT and RL end in one), and an engine merges it for speed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from spct.engines.ends import end_ids
from spct.engines.lora import check_applied
from spct.errors import ConfigError, ExtraMissing

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SETTINGS = "adapter_config.json"


def is_adapter(model: str | Path) -> bool:
    """Whether `model` is a folder that peft wrote: an adapter without its base."""
    folder = Path(model)
    return (folder / SETTINGS).is_file() and not (folder / "config.json").is_file()


def base_of(model: str | Path) -> str:
    """The base of an adapter folder, or the model itself."""
    if not is_adapter(model):
        return str(model)
    base = json.loads((Path(model) / SETTINGS).read_text("utf-8")).get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"loading the adapter {str(model)!r}: its {SETTINGS} names no base model; set "
            "base_model_name_or_path to the folder it was trained on"
        )
    return str(base)


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
    return _with_adapter(model, trainable=True)


def load_merged(model: str | Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A model to sample from; an adapter is added to its base's weights in float32 first."""
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    if not is_adapter(model):
        return cast("PreTrainedModel", AutoModelForCausalLM.from_pretrained(
            str(model), use_safetensors=True, **({} if dtype is None else {"dtype": dtype})
        ))  # fmt: skip
    merged: PreTrainedModel = _with_adapter(model, trainable=False).merge_and_unload()
    if dtype is not None:
        cast_weights(merged, dtype)
    return merged


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast the weights alone: rotary frequencies rounded to bfloat16 would misplace tokens."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)


def merged_folder(model: str, out: Path) -> str:
    """The model itself; an adapter is written whole to `out`, once: heads start there."""
    if not is_adapter(model):
        return model
    if not (out / "config.json").is_file():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(model).save_pretrained(str(out))
        load_merged(model).save_pretrained(str(out))
    return str(out)


def _with_adapter(model: str | Path, *, trainable: bool) -> PeftModel:
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ExtraMissing("peft", "train") from error
    base = AutoModelForCausalLM.from_pretrained(
        base_of(model), dtype=torch.float32, use_safetensors=True
    )
    loaded: PeftModel = PeftModel.from_pretrained(base, str(model), is_trainable=trainable)
    check_applied(loaded, Path(model))
    return loaded
