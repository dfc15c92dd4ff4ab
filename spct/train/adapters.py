"""Stages that continue a LoRA adapter: load its base with it, to train on.

A stage with `lora_rank` writes peft's adapter and no base. The next stage goes on with that same
adapter (so cold start, RFT and RL end in one), and an engine merges it for speed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spct.engines.checkpoint import CONFIG
from spct.engines.ends import end_ids
from spct.engines.hf_load import (
    base_of,
    is_adapter,
    load_causal,
    load_merged,
    load_tokenizer,
    with_adapter,
)
from spct.engines.hub import start_of
from spct.engines.weights import content_key
from spct.errors import ConfigError, ExtraMissing
from spct.train.config import Optimisation
from spct.train.resume import room_for

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

MERGED = "merged_from.txt"  # in a merged folder: the content key of its adapter


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


def whole_start(model: str, out: Path, config: Optimisation) -> str:
    """What a head or a readout that goes to `out` begins on: an adapter is merged first."""
    return merged_folder(start_of(model), out / "base", use_cpu=config.use_cpu)


def merged_folder(model: str, out: Path, *, use_cpu: bool = False) -> str:
    """The model itself; an adapter is written whole to `out`, once: heads start there.

    Of several processes the first writes. Another adapter's folder is refused.
    """
    if not is_adapter(model):
        return model
    try:
        from accelerate import PartialState  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("accelerate", "train") from error
    with PartialState(cpu=use_cpu).main_process_first():  # the others find it written
        _merge_once(model, out)
    return str(out)


def _merge_once(model: str, out: Path) -> None:
    key, note = content_key(Path(model)), out / MERGED
    if (out / CONFIG).is_file():
        if note.is_file() and note.read_text(encoding="utf-8").strip() != key:
            raise ConfigError(
                f"merging the adapter {model!r}: {str(out)!r} holds another one, or an older state "
                "of it, merged; use a new folder, or remove that one and what was trained from it"
            )
        return
    draft = out.with_name(f"{out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    with room_for(out):
        write_merged(model, draft)
        (draft / MERGED).write_text(key + "\n", encoding="utf-8")
        draft.rename(out)


def write_merged(model: str, out: Path) -> None:
    """Write an adapter merged into its base, or a model as it is, as a transformers folder."""
    load_tokenizer(model).save_pretrained(str(out))
    load_merged(model).save_pretrained(str(out))
