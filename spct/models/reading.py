"""What the models that a reader answers for share: one state, typed questions, probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from spct.engines.readouts.decision import Answer, Answers, Kind, Question, Reader, tempered
from spct.models.base import FrozenModel
from spct.text.neutralise import neutralise
from spct.types import Completion, Judgement, Prompt, Trajectory, Unscored, Usage


def reading(
    prompt: Prompt, index: int, outcome: Judgement | Unscored, usage: Usage, fingerprint: str
) -> Trajectory:
    """What came of asking a reader, for which no text was written."""
    read = Completion("", usage=usage)
    return Trajectory(prompt.example_id, index, 0, prompt, read, outcome, fingerprint)


@dataclass(frozen=True, eq=False)
class ReadingModel(FrozenModel):
    """A base for what asks a reader; `temperatures` divide its log odds, by kind of question."""

    reader: Reader
    _: KW_ONLY
    temperatures: Mapping[Kind, float] = field(default_factory=dict)
    concurrency: int = 64

    async def open(self) -> None:
        """Open the reader."""
        await self.reader.open()

    async def decide(self, state: str, questions: Sequence[Question]) -> Answers:
        """Answer questions of a caller's own about a state, which is neutralised."""
        found = await self.reader.answer(neutralise(state), questions)
        pairs = zip(found.answers, questions, strict=True)
        return Answers([self.tempered(a, q.kind) for a, q in pairs], found.usage)

    def tempered(self, answer: Answer | Unscored, kind: Kind) -> Answer | Unscored:
        """An answer at its kind's temperature; what is unscored stays so."""
        if isinstance(answer, Unscored):
            return answer
        return tempered(answer, self.temperatures.get(kind, 1.0))

    async def aclose(self) -> None:
        """Close the reader."""
        await self.reader.aclose()
