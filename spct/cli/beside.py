"""The shipped readout beside the shipped judge: a probability for each response, no text.

Shown on cards, where people compare; a file of thousands is not read twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from spct.cli.card import Grades
from spct.config import Config
from spct.models.decision import DecisionRM
from spct.models.judges import is_shipped
from spct.models.load import load_readout
from spct.models.model_card import ModelCard, read_card
from spct.models.shipped import shipped_readout
from spct.types import Example, Verdict

# Words that nearly every English sentence of some length has one of, and few others have.
ENGLISH = {
    "the", "of", "and", "to", "are", "were", "that", "this", "it", "you", "he", "she", "they",
    "what", "which", "how", "why", "when", "where", "does", "did", "with", "from", "not", "have",
    "their", "your",
}  # fmt: skip
MOST = 200  # examples: more are judged for their verdicts, not to be read as cards


@dataclass(slots=True)
class Beside:
    """Reads every example; keeps the verdicts by example, and how often they are right."""

    readout: DecisionRM
    card: ModelCard
    found: dict[str, Verdict] = field(default_factory=dict)
    grades: Grades = field(default_factory=lambda: Grades(top=1))
    n_long: int = 0
    n_foreign: int = 0

    @classmethod
    def of(cls, config: Config, n_examples: int) -> Beside | None:
        """The readout where the shipped judge judges a few examples; None elsewhere."""
        if not is_shipped(config.engine) or n_examples > MOST:
            return None
        folder = shipped_readout()
        card = None if folder is None else read_card(folder)
        return None if card is None else cls(load_readout(config.engine), card)

    async def read(self, examples: Iterable[Example]) -> None:
        """Read the examples one by one, each response alone."""
        try:
            for example in examples:
                verdict = await self.readout.judge(example)
                each = verdict.usage.prompt_tokens / example.n
                self.n_long += each > self.card.max_length
                self.n_foreign += not is_english(" ".join(m.content for m in example.query))
                self.found[example.id] = verdict
                self.grades.add(example, verdict)
        finally:
            await self.readout.aclose()

    def line(self) -> str:
        """What the readout came to here, and what it is good at by its recipe's tests."""
        right, n = sum(self.grades.credits), len(self.grades.credits)
        here = f"{right:g} of {n} right here; " if n else ""
        if self.n_long:
            trained = f"its training ended at {self.card.max_length} tokens"
            here += f"{self.n_long} longer than it knows ({trained}); "
        if self.n_foreign:
            here += f"{self.n_foreign} not in English, which is all that it was trained on; "
        ranked = sorted(self.card.measured.items(), key=lambda item: -item[1])
        tests = ", ".join(f"{name} {100 * share:.0f}%" for name, share in ranked)
        return (
            f"readout: {here}on pairs that it never saw: {tests or 'not measured'} (chance 50%). "
            "A larger judge for verdicts that matter: --model FILE.gguf, or an endpoint with "
            "--base-url"
        )


def is_english(text: str) -> bool:
    """Whether a text may be English; a few words, or code, do not tell."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    letters = "".join(words)
    if sum(letter.isascii() for letter in letters) < len(letters) / 2:
        return False
    return len(words) < 6 or not ENGLISH.isdisjoint(words)
