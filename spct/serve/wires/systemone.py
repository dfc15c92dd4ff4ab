"""POST /v1/systemone: typed questions by name, a probability for each option (pure).

A state, instructions and criteria may be any JSON, which is shown as one line of it. Text only: an
asset is a 422. A question that was not answered is missing from the reply, as the wire has it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spct.engines.readouts.decision import Answer, Answers, Question
from spct.engines.readouts.endpoint import MOST
from spct.models.answering import asked, text_of
from spct.serve.errors import invalid
from spct.serve.wires.chat import refusals

# Text, or JSON that is shown as a line of text.
Content = str | dict[str, JsonValue] | list[JsonValue]


class Lenient(BaseModel):
    """Fields that this version does not know are counted, not refused."""

    model_config = ConfigDict(extra="allow", strict=True)


class NoulCriteria(Lenient):
    """What makes it true, and what false."""

    true: Content | None = None
    false: Content | None = None


class Noul(Lenient):
    """Is it true?"""

    type: Literal["noul"]
    instructions: Content | None = None
    criteria: NoulCriteria | None = None


class Choice(Lenient):
    """Which of these labels?"""

    type: Literal["choice"]
    instructions: Content | None = None
    criteria: dict[str, Content | None] = Field(description="Label: what it means, or null.")


class Score(Lenient):
    """Which of these levels?"""

    type: Literal["score"]
    instructions: Content | None = None
    criteria: list[Content] = Field(description="The levels' texts, worst to best.")


class SystemOneRequest(Lenient):
    """A state and questions about it, by name."""

    model: str | None = Field(None, description="Must be a served name, if it is given.")
    state: Content
    questions: dict[str, Annotated[Noul | Choice | Score, Field(discriminator="type")]] = Field(
        min_length=1, max_length=MOST
    )
    assets: JsonValue = Field(None, description="Must be empty: text only.")


class NoulAnswer(BaseModel):
    """The probability that it is true."""

    type: Literal["noul"] = "noul"
    noul: float
    option_mass: float | None = None


class ChoiceAnswer(BaseModel):
    """The likeliest label, and the probability of each."""

    type: Literal["choice"] = "choice"
    choice: str
    probabilities: dict[str, float]
    confidence: float = Field(description="0 for uniform, 1 for all on one.")
    option_mass: float | None = None


class ScoreAnswer(BaseModel):
    """The expected level from 0, and the probability of each."""

    type: Literal["score"] = "score"
    score: float
    legend: dict[str, str]
    probabilities: dict[str, float]
    confidence: float
    option_mass: float | None = None


class TokenUsage(BaseModel):
    """Tokens read and written."""

    input_tokens: int
    output_tokens: int


class SystemOneReply(BaseModel):
    """Answers by the questions' names; a question that could not be answered is missing."""

    model: str
    answers: dict[str, NoulAnswer | ChoiceAnswer | ScoreAnswer]
    usage: TokenUsage


def read(request: SystemOneRequest) -> tuple[str, list[Question]]:
    """The state and its questions."""
    if request.assets:
        raise invalid("there are assets; a model of texts cannot see them", "assets")
    state = text_of(request.state)
    if not state.strip():
        raise invalid("the state is empty; there is nothing to ask about", "state")
    with refusals("questions"):
        return state, [_question(name, q) for name, q in request.questions.items()]


def _question(name: str, q: Noul | Choice | Score) -> Question:
    match q:
        case Noul(criteria=None):
            return asked(name, "yes_no", q.instructions)
        case Noul(criteria=NoulCriteria() as criteria):
            meant = [text_of(one) or None for one in (criteria.true, criteria.false)]
            return asked(name, "yes_no", q.instructions, texts=meant)
        case Choice():
            meant = [text_of(one) or None for one in q.criteria.values()]
            return asked(name, "choice", q.instructions, list(q.criteria), meant)
        case Score():
            return asked(name, "score", q.instructions, list(map(text_of, q.criteria)))
    raise AssertionError("the discriminator knows no other type")


def write(questions: list[Question], found: Answers, model: str) -> SystemOneReply:
    """The reply; what is unscored is left out."""
    answers = {
        q.name: _answer(q, answer)
        for q, answer in zip(questions, found.answers, strict=True)
        if isinstance(answer, Answer)
    }
    usage = TokenUsage(
        input_tokens=found.usage.prompt_tokens, output_tokens=found.usage.completion_tokens
    )
    return SystemOneReply(model=model, answers=answers, usage=usage)


def _answer(q: Question, answer: Answer) -> NoulAnswer | ChoiceAnswer | ScoreAnswer:
    p, mass = answer.probabilities, answer.option_mass
    if q.kind == "yes_no":
        return NoulAnswer(noul=p[0], option_mass=mass)
    if q.kind == "choice":
        return ChoiceAnswer(
            choice=q.options[answer.top],
            probabilities=dict(zip(q.options, p, strict=True)),
            confidence=answer.confidence,
            option_mass=mass,
        )
    return ScoreAnswer(
        score=answer.expected,
        legend={str(i): text for i, text in enumerate(q.options)},
        probabilities={str(i): one for i, one in enumerate(p)},
        confidence=answer.confidence,
        option_mass=mass,
    )
