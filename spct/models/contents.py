"""What kind of model a folder holds, as its config and the names of its weights say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spct.engines.checkpoint import (
    ADAPTER,
    CONFIG,
    check_language_model,
    heads_in,
    read_adapter,
    read_checkpoint,
)
from spct.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Contents:
    """A head on a backbone or a language model; `base` is that of an adapter."""

    kind: Literal["head", "language model"]
    base: str | None = None


def contents_of(folder: Path) -> Contents:
    """Say what a folder holds; `ConfigError` where config and weights disagree."""
    if (folder / ADAPTER).is_file():
        adapter = read_adapter(folder)
        if heads_in(adapter.shapes) or adapter.config.get("task_type") == "SEQ_CLS":
            return Contents("head")
        return Contents("language model", str(adapter.config.get("base_model_name_or_path")))
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"loading the reward model {str(folder)!r}: it holds no spct.json and no config.json; "
            "expected the folder of a trained model"
        )
    if not read_checkpoint(folder).architecture.endswith("ForCausalLM"):
        return Contents("head")
    check_language_model(folder)
    return Contents("language model")
