"""Loads a causal model to sample from: a transformers folder, with adapters merged into it.

The folder is read first (`checkpoint`), so what is hostile or damaged is refused before a library
believes it; code of a model folder is never run, and weights come from safetensors only.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spct.engines.checkpoint import (
    ADAPTER,
    CONFIG,
    heads_in,
    read_adapter,
    read_checkpoint,
    read_object,
)
from spct.engines.hub import WITHOUT_WEIGHTS, hub_folder, is_hub_name
from spct.engines.lora import check_applied
from spct.errors import ConfigError, DataError, EngineError, ExtraMissing

# The first of the places where torch finds other sizes than the weights have.
_MISMATCH = re.compile(r"size mismatch for .*")

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def is_adapter(model: str | Path) -> bool:
    """Whether `model` is a folder that peft wrote: an adapter without its base."""
    folder = Path(model)
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()


def base_of(model: str | Path) -> str:
    """The base of an adapter folder, or the model itself."""
    if not is_adapter(model):
        return str(model)
    base = read_object(Path(model) / ADAPTER).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ConfigError(
            f"loading the adapter {str(model)!r}: its {ADAPTER} names no base model; set "
            "base_model_name_or_path to the folder it was trained on"
        )
    if not (Path(base).is_dir() or is_hub_name(base)):
        raise ConfigError(
            f"loading the adapter {str(model)!r}: its base {base!r} is no folder here; set "
            f"base_model_name_or_path in its {ADAPTER} to the folder that it was trained on"
        )
    return base


def load_tokenizer(model: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or name; refuse one without a chat template.

    An adapter's folder may hold one; else its base's is taken.
    """
    if not (Path(model) / "tokenizer_config.json").is_file():
        model = base_of(model)
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ExtraMissing("transformers", "hf") from error
    if is_hub_name(str(model)):  # asked here: transformers tries an unreachable hub for a minute
        model = hub_folder(str(model), WITHOUT_WEIGHTS)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception for a file that it cannot read
        raise ConfigError(
            f"loading the tokenizer of {str(model)!r}: {error}; expected a folder with "
            "tokenizer.json and tokenizer_config.json, as save_pretrained writes them"
        ) from error
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"loading the tokenizer of {str(model)!r}: it has no chat template; expected one, "
            "because prompts are conversations; set `chat_template` in its tokenizer_config.json "
            "(see docs/training.md, base models)"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast("PreTrainedTokenizerBase", tokenizer)


def load_causal(model: str | Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load the weights of a folder or hub name in `dtype`; None: as they were saved."""
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ExtraMissing("transformers", "hf") from error
    if is_hub_name(str(model)):
        model = hub_folder(str(model))
    if Path(model).is_dir():
        read_checkpoint(Path(model))
    kind: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    auto: Any = AutoModelForCausalLM  # whose stubs know no loading info
    try:
        with quietly():
            loaded, info = auto.from_pretrained(
                str(model),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **kind,
            )
    except Exception as error:  # safetensors and the hub raise classes of their own
        raise EngineError(
            f"loading the model {str(model)!r} with transformers: {error!s:.600}"
        ) from error
    if missing := sorted(info["missing_keys"]):  # which transformers fills with random numbers
        raise ConfigError(
            f"loading the model {str(model)!r}: its files lack {', '.join(missing[:4])}; expected "
            "every weight of a causal language model; is it a scorer or an adapter?"
        )
    return cast("PreTrainedModel", loaded)


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the libraries' load reports: what they say is checked here, or meant."""
    from transformers.utils import logging as transformers_logging

    log = logging.getLogger("transformers")
    level, had_bar = log.level, transformers_logging.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if had_bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def with_adapter(base: PreTrainedModel, folder: str | Path, *, trainable: bool) -> PeftModel:
    """Put an adapter on its base; refuse one of another base."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ExtraMissing("peft", "train") from error
    if heads := heads_in(read_adapter(Path(folder)).shapes):
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: it holds a head ({', '.join(heads)}), so it is "
            "a scorer and writes nothing; name it as the reward model itself (spct bench, compare, "
            "serve)"
        )
    try:
        with quietly():
            loaded: PeftModel = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    except Exception as error:  # RuntimeError for other shapes, KeyError for other settings
        if unlike := _MISMATCH.search(str(error)):
            raise DataError(
                f"the adapter {str(folder)!r} belongs to another base model than "
                f"{base.name_or_path!r}: {unlike[0]}; set base_model_name_or_path in its {ADAPTER} "
                "to the folder that it was trained on, or name that as the model"
            ) from error
        raise EngineError(f"loading the adapter {str(folder)!r} with peft: {error}") from error
    check_applied(loaded, Path(folder))
    return loaded


def load_merged(
    model: str | Path,
    dtype: torch.dtype | None = None,
    adapters: Sequence[str | Path] = (),
) -> PreTrainedModel:
    """A model to sample from; adapters are added to its base's weights in float32 first.

    `model` may be an adapter's folder itself, which names its base.
    """
    if is_adapter(model):
        adapters = (model, *adapters)
    if not adapters:
        return load_causal(model, dtype)
    import torch

    merged: Any = load_causal(base_of(model), torch.float32)
    for folder in adapters:
        merged = with_adapter(merged, folder, trainable=False).merge_and_unload()
    if dtype is not None:
        cast_weights(merged, dtype)
    return cast("PreTrainedModel", merged)


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast the weights alone: rotary frequencies rounded to bfloat16 would misplace tokens."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
