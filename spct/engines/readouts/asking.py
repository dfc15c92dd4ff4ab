"""How a question is put to a chat model that has no wire for decisions: one text, one token back.

The state comes first and the question last, so that many questions on one state share their prefix.
Options are shown with labels of one token each; the reply's first token is the answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spct.engines.readouts.decision import Question, labels_of
from spct.errors import FormatError
from spct.text.neutralise import neutralise
from spct.text.template import shipped_template, template_in
from spct.types import Message

SLOTS = ("state", "instructions", "options", "labels")
_SLOT = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Wording:
    """A template with the slots state, instructions, options and labels, each at most once."""

    template: str

    def __post_init__(self) -> None:
        used = _SLOT.findall(self.template)
        if unknown := sorted(set(used) - set(SLOTS)):
            raise FormatError(f"a decision template has no slot {unknown[0]!r}; it has {SLOTS}")
        if "state" not in used or "instructions" not in used:
            raise FormatError("a decision template needs {{state}} and {{instructions}}")

    @property
    def fingerprint(self) -> str:
        """A digest of the wording."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:12]

    def messages(self, state: str, question: Question, order: Sequence[int]) -> tuple[Message, ...]:
        """The chat request for one question with its options in this order."""
        labels = labels_of(question)
        slots = {
            "state": state,
            "instructions": neutralise(question.instructions),
            "options": _options(question, labels, order),
            "labels": " or ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels),
        }
        return (Message("user", _SLOT.sub(lambda slot: slots[slot[1]], self.template).strip()),)


def _options(question: Question, labels: Sequence[str], order: Sequence[int]) -> str:
    """The options as lines; a plain yes or no needs none."""
    texts = question.texts or (None,) * len(question.options)
    if question.kind == "yes_no":
        lines = [
            f"{label}: {neutralise(text)}"
            for label, text in zip(labels, texts, strict=True)
            if text
        ]
        return "\n".join(lines)
    shown = []
    for label, i in zip(labels, order, strict=True):
        option, text = neutralise(question.options[i]), texts[i]
        shown.append(f"{label}: {option}" + (f" ({neutralise(text)})" if text else ""))
    return "\n".join(shown)


def load_wording(path: Path | None = None) -> Wording:
    """A wording from a file; ours where none is given."""
    return Wording(shipped_template("decision") if path is None else template_in(path))
