"""The judge that comes with the package: a LoRA adapter on the default model, and its wording.

An adapter judges well only with the templates that it was trained on, so both lie in one folder.
Without weights there, as in a checkout before they are trained, nothing is shipped and the plain
default model judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

NAME = "spct-smollm2-135m"
FOLDER = Path(__file__).parent / "weights" / "smollm2_135m"
FORMATS = ("pointwise", "single")  # that it was trained on; each has a template of its name
MAX_TOKENS = 320  # of one judgement; it was trained on shorter ones, and a runaway reply costs time
FORCE_FORMAT: Literal["always", "never"] = "never"  # whether a grammar holds its output format


@dataclass(frozen=True, slots=True)
class Shipped:
    """Where the shipped judge lies, and the settings that go with it."""

    name: str
    adapter: Path
    templates: Mapping[str, Path]  # by format
    max_tokens: int
    force_format: Literal["always", "never"]


def shipped() -> Shipped | None:
    """The shipped judge, or None while its folder holds no weights."""
    if not (FOLDER / "adapter_model.safetensors").is_file():
        return None
    templates = {name: FOLDER / f"{name}.txt" for name in FORMATS}
    return Shipped(NAME, FOLDER, templates, MAX_TOKENS, FORCE_FORMAT)
