"""spct.json: what our trainers write beside the weights, so that a folder says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from spct.engines.checkpoint import read_object
from spct.errors import ConfigError
from spct.settings import Settings, validated
from spct.text.format import Format

Paradigm = Literal["bradley-terry", "pairwise", "cloud", "decision"]
NAME = "spct.json"


class Template(Settings):
    """The wording that the model was trained on."""

    name: str
    text: str

    @classmethod
    def of(cls, fmt: Format) -> Template:
        """The wording of a format."""
        return cls(name=fmt.name, text=fmt.template)


class ModelCard(Settings):
    """A trained scalar model: its paradigm, where it came from, and how to call it."""

    version: Literal[1] = 1
    paradigm: Paradigm
    base: str = Field(description="The model that training began with.")
    steps: int = Field(ge=0, description="Optimizer steps; a model of 0 steps is refused.")
    n_pairs: int = Field(ge=0, description="Pairs that it was trained on.")
    max_length: int = Field(gt=0, description="Tokens of the longest conversation it takes.")
    loss: float | None = Field(None, description="The last training loss logged.")
    template: Template | None = Field(None, description="For pairwise and cloud: the wording.")
    critic: str | None = Field(None, description="For cloud: the folder of the critique writer.")
    head: str | None = Field(None, description="For cloud: the folder of the head's weights.")
    temperature: float = Field(0.5, description="For cloud: of the critiques.")
    max_critique_tokens: int = Field(512, description="For cloud: limit of one critique.")
    wording: str | None = Field(None, description="For decision: how the question is put.")
    question: str | None = Field(None, description="For decision: what is asked.")
    calibration_error: float | None = Field(
        None, description="For decision: ECE on the calibration split, with its temperature."
    )
    measured: dict[str, float] = Field(
        default_factory=dict, description="Share of test pairs that are right, by set."
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="The resolved settings.")
    spct_version: str = ""

    def inside(self, folder: Path, key: Literal["head", "critic"]) -> Path:
        """The folder that `head` or `critic` names.

        A card comes with a model, so it is a stranger's: it may name what lies in its own folder,
        or the `../critic` that our trainer writes beside it. Links are followed before this is
        asked, because a link inside can lead out as `..` does.
        """
        named = (self.head if key == "head" else self.critic) or "."
        root = folder.resolve()
        target = (folder / named).resolve()
        if target == root or root in target.parents or target == root.parent / "critic":
            return target
        raise ConfigError(
            f"loading {str(folder)!r}: its card names {key} = {named!r}, which leads out of the "
            "folder; expected a folder inside it, or the sibling ../critic; set the path in "
            f"{NAME} right if you trust this model"
        )

    def write(self, folder: Path) -> None:
        """Write it as `spct.json` into the model's folder."""
        (folder / NAME).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard | None:
    """The card of a folder; None if it has none."""
    path = folder / NAME
    if not path.is_file():
        return None
    card = validated(ModelCard, read_object(path), str(path))
    if card.steps == 0:
        raise ConfigError(
            f"loading {str(folder)!r}: its card says 0 training steps, so the head is untrained; "
            "train it first (spct train --help)"
        )
    return card
