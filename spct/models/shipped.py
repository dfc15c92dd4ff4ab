"""What comes with the package: two LoRA adapters on the default model, and their wording.

One writes judgements (the default judge); the readout gives probabilities (`READOUT`).

An adapter judges well only with the templates that it was trained on, so both lie in one folder.
Without weights there, as in a checkout before they are trained, nothing is shipped and the plain
default model judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "spct-smollm2-135m"
FOLDER = Path(__file__).parents[1] / "weights" / "smollm2_135m"
READOUT = "readout"  # its folder, and the name that loads it
# The formats that it was trained on, each with a template of its name, and for how many responses.
# For another number a grammar holds it to its format, which it would lose; an empty range: always.
TRAINED_ON = {"pointwise": range(2, 6), "single": range(1, 2)}
MAX_TOKENS = 320  # of one judgement; it was trained on shorter ones, and a runaway reply costs time


@dataclass(frozen=True, slots=True)
class Shipped:
    """Where the shipped judge lies, and the settings that go with it."""

    name: str
    adapter: Path
    templates: Mapping[str, Path]  # by format
    max_tokens: int
    trained_on: Mapping[str, range]  # numbers of responses, by format


def shipped() -> Shipped | None:
    """The shipped judge, or None while its folder holds no weights."""
    if not (FOLDER / "adapter_model.safetensors").is_file():
        return None
    templates = {name: FOLDER / f"{name}.txt" for name in TRAINED_ON}
    return Shipped(NAME, FOLDER, templates, MAX_TOKENS, TRAINED_ON)


def shipped_readout() -> Path | None:
    """The folder of the shipped readout, or None while it holds no weights."""
    folder = FOLDER / READOUT
    return folder if (folder / "adapter_model.safetensors").is_file() else None
