"""Writes a model as a transformers folder, for servers that read nothing else (vLLM, SGLang).

The embedded engines run GGUF files and apply adapters as they load them; a server wants one folder
with config, safetensors and tokenizer, in which the adapter is merged or lies beside its base.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spct.engines.checkpoint import ADAPTER, read_object
from spct.engines.gguf_header import read_header
from spct.engines.hf_load import (
    base_of,
    cast_weights,
    is_adapter,
    load_causal,
    load_tokenizer,
    quietly,
    with_adapter,
)
from spct.engines.lora import WEIGHTS, find_lora
from spct.engines.weights import find_model
from spct.errors import ConfigError, EngineError, ExtraMissing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

BESIDE = "adapter"  # where an adapter that is not merged lies in the folder


def export_model(
    out: Path,
    model: str | Path | None = None,
    adapters: Sequence[str | Path] = (),
    *,
    merge: bool = True,
    dtype: str = "float16",
) -> Path:
    """Write a model (None: the default one) to the new folder `out`; it appears when complete.

    Without `merge` the base is written, and its one adapter to `out`/adapter.
    """
    if out.exists():
        raise ConfigError(f"writing a model to {str(out)!r}: it exists; name a new folder")
    if not merge and len(adapters) != 1:
        raise ConfigError(f"keeping an adapter apart: got {len(adapters)} adapters, expected one")
    try:
        import torch
    except ImportError as error:
        raise ExtraMissing("torch", "hf") from error
    loaded, tokenizer = _loaded(model)
    if merge:
        for folder in adapters:  # in float32, as the engines merge
            loaded = with_adapter(loaded, folder, trainable=False).merge_and_unload()
    cast_weights(loaded, getattr(torch, dtype))
    _check_finite(loaded, dtype)
    loaded.config.dtype = dtype
    draft = out.with_name(out.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    with quietly():
        loaded.save_pretrained(str(draft))
    tokenizer.save_pretrained(str(draft))
    if not merge:
        _write_adapter(draft / BESIDE, find_lora(adapters[0]).path.parent, base=out)
    draft.rename(out)
    return out


def _loaded(model: str | Path | None) -> tuple[Any, Any]:
    """Model and tokenizer in float32, from a GGUF file, a folder or an adapter's folder."""
    import torch

    if model is not None and is_adapter(model):
        base, tokenizer = _loaded(base_of(model))
        return with_adapter(base, model, trainable=False).merge_and_unload(), tokenizer
    source = find_model(model)
    if source.kind == "gguf":
        return _from_gguf(source.path)
    if source.kind == "openvino":
        raise ConfigError(
            f"exporting {str(source.path)!r}: it is an OpenVINO model, which transformers cannot "
            "read; export the model that it was made from"
        )
    return load_causal(source.path, torch.float32), load_tokenizer(source.path)


def _from_gguf(path: Path) -> tuple[PreTrainedModel, Any]:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ExtraMissing("transformers", "hf") from error
    read_header(path)
    place: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
    try:
        with quietly():
            loaded = AutoModelForCausalLM.from_pretrained(
                str(path.parent),
                quantization_config=GgufConfig(dequantize=True),  # else it cannot be saved
                dtype=torch.float32,
                **place,
            )
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **place)
    except Exception as error:  # an architecture or a type of weights that it does not know
        raise EngineError(f"reading {str(path)!r} with transformers: {error!s:.600}") from error
    return cast("PreTrainedModel", loaded), tokenizer


def _check_finite(model: torch.nn.Module, dtype: str) -> None:
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ConfigError(f"the weight {name!r} does not fit {dtype}; use another --dtype")


def _write_adapter(folder: Path, source: Path, base: Path) -> None:
    folder.mkdir()
    shutil.copyfile(source / WEIGHTS, folder / WEIGHTS)
    settings = read_object(source / ADAPTER) | {"base_model_name_or_path": str(base.resolve())}
    (folder / ADAPTER).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
