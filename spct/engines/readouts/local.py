"""A reader in this process: one forward over the prompt, the labels' logits at its last position.

Nothing is sampled and no text is written. Questions on one state share their prefix: it is read
once and each question continues from it. Two backends give logits: transformers (hf.py) and
OpenVINO's own runtime (openvino.py; the GenAI pipeline reports only the sampled token).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from spct.engines.readouts.asking import Wording, load_wording
from spct.engines.readouts.decision import (
    MIN_MASS,
    Answer,
    Answers,
    Question,
    averaged,
    labels_of,
    normalised,
    rotations,
)
from spct.errors import EngineError
from spct.types import Message, Unscored, Usage


class Backend(Protocol):
    """A model that gives, for prompts with a common beginning, masses of chosen tokens."""

    name: str
    context_length: int

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The chat request's token ids, up to where the answer begins."""
        ...

    def spellings(self, label: str) -> list[int]:
        """The ids of the single tokens that spell a label, bare or with white space before it."""
        ...

    def masses(
        self,
        shared: Sequence[int],
        rests: Sequence[Sequence[int]],
        wanted: Sequence[list[list[int]]],
    ) -> list[list[float]]:
        """For each rest, the probability of each label's spellings after `shared` + rest."""
        ...


@dataclass(frozen=True, slots=True)
class _Reading:
    """One prompt of one question: its ids, and the spellings of each label."""

    question: int
    order: tuple[int, ...]
    ids: list[int]
    labels: list[list[int]]


def _common(sequences: Sequence[list[int]]) -> list[int]:
    """The longest common beginning: that of the least and the greatest."""
    low, high = min(sequences), max(sequences)
    n = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:n]


class LocalReader:
    """Answers from a backend's next-token distribution; a thread of its own does the forwards."""

    def __init__(
        self,
        backend: Backend,
        wording: Wording | None = None,
        *,
        n_rotations: int = 1,
        min_mass: float = MIN_MASS,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.backend, self.wording = backend, wording or load_wording()
        self.n_rotations, self.min_mass, self._close = n_rotations, min_mass, close
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decisions")

    @property
    def fingerprint(self) -> str:
        """The backend's model, the wording and the rotations."""
        return f"{self.backend.name}/decision-{self.wording.fingerprint}-r{self.n_rotations}"

    async def open(self) -> None:
        """The backend is loaded already."""

    async def answer(self, state: str, questions: Sequence[Question]) -> Answers:
        """All questions about one state; one that does not fit is unscored."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, state, list(questions))

    def _answer(self, state: str, questions: list[Question]) -> Answers:
        readings = [r for i, q in enumerate(questions) for r in self._readings(state, i, q)]
        longest = max(len(r.ids) for r in readings)
        if longest >= self.backend.context_length:
            why = f"{longest} tokens; the model takes {self.backend.context_length}"
            return Answers([Unscored("failed", why)] * len(questions))
        masses, usage = self._read(readings)
        kept: list[list[tuple[tuple[int, ...], Answer | Unscored]]] = [[] for _ in questions]
        for reading, mass in zip(readings, masses, strict=True):
            kept[reading.question].append((reading.order, normalised(mass, min_mass=self.min_mass)))
        return Answers([averaged(answers) for answers in kept], usage)

    def _readings(self, state: str, i: int, question: Question) -> list[_Reading]:
        labels = []
        for label in labels_of(question):
            if not (ids := self.backend.spellings(label)):
                raise EngineError(
                    f"reading decisions from {self.backend.name}: the label {label!r} is more than"
                    " one token of its vocabulary; this model cannot be read this way"
                )
            labels.append(ids)
        count = self.n_rotations if question.kind == "choice" else 1
        return [
            _Reading(
                i, order, self.backend.ids(self.wording.messages(state, question, order)), labels
            )
            for order in rotations(len(question.options), count)
        ]

    def _read(self, readings: Sequence[_Reading]) -> tuple[list[list[float]], Usage]:
        """One pass over what the prompts share, then over what is each one's own."""
        # at least one token is left to each, so that it has a last position
        shared = _common([r.ids[:-1] for r in readings]) if len(readings) > 1 else []
        rests = [r.ids[len(shared) :] for r in readings]
        masses = self.backend.masses(shared, rests, [r.labels for r in readings])
        if not all(math.isfinite(m) for row in masses for m in row):
            raise EngineError(
                f"reading decisions from {self.backend.name}: logits that are not finite; the "
                "weights are damaged, or the precision overflows"
            )
        return masses, Usage(len(shared) + sum(map(len, rests)), 0, 1)

    async def aclose(self) -> None:
        """End the thread. Idempotent."""
        self._thread.shutdown(wait=False)
        self._close()
