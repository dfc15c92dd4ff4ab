"""POST /v1/decisions: typed questions in a list, as OpenAI's and SGLang's clients send it (pure).

The input is a text, or messages with calls of tools, shown with their roles; an `input_json` part
is a line of JSON, an image a 422. A question that was not answered is a `refusal`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from spct.engines.readouts.decision import Answer, Answers, Question
from spct.engines.readouts.endpoint import MOST
from spct.models.answering import asked, text_of
from spct.serve.errors import invalid
from spct.serve.wires.chat import Query, messages, refusals
from spct.serve.wires.systemone import Lenient, TokenUsage
from spct.types import Unscored


class _Asked(Lenient):
    name: str | None = None
    instructions: str | list[dict[str, JsonValue]]


class Predicate(_Asked):
    """Is it true?"""

    type: Literal["predicate"]


class ChoiceOption(Lenient):
    """One of the values to choose from."""

    value: str | bool
    description: str | None = None


class ChoiceOf(_Asked):
    """Which of these values?"""

    type: Literal["choice"]
    choices: list[ChoiceOption] = Field(min_length=2)


class Level(Lenient):
    """One of the levels."""

    label: str
    description: str | None = None


class ScoreOf(_Asked):
    """Which of these levels, worst first?"""

    type: Literal["score"]
    levels: list[Level]


class DecisionsRequest(Lenient):
    """An input and a list of questions about it."""

    model: str | None = Field(None, description="Must be a served name, if it is given.")
    input: Query
    questions: list[Annotated[Predicate | ChoiceOf | ScoreOf, Field(discriminator="type")]] = Field(
        min_length=1, max_length=MOST
    )


class _Named(BaseModel):
    name: str | None


class PredicateAnswer(_Named):
    """The probability that it is true."""

    type: Literal["predicate"] = "predicate"
    probability: float


class ValueProbability(BaseModel):
    """One value's probability."""

    value: str | bool
    probability: float


class ChoiceOfAnswer(_Named):
    """The likeliest value, and the probability of each."""

    type: Literal["choice"] = "choice"
    choice: str | bool
    confidence: float
    probabilities: list[ValueProbability]


class LevelProbability(BaseModel):
    """One level's number and probability."""

    label: str
    value: int
    probability: float


class ScoreOfAnswer(_Named):
    """The expected level from 0, and the probability of each."""

    type: Literal["score"] = "score"
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class Refusal(_Named):
    """The question was not answered."""

    type: Literal["refusal"] = "refusal"


class InputDetails(BaseModel):
    """Nothing is counted apart."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(BaseModel):
    """Nothing is counted apart."""

    reasoning_tokens: int = 0


class DecisionsUsage(TokenUsage):
    """Tokens as OpenAI counts them."""

    input_tokens_details: InputDetails = InputDetails()
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class DecisionsReply(BaseModel):
    """Answers in the order of the questions."""

    model: str
    answers: list[PredicateAnswer | ChoiceOfAnswer | ScoreOfAnswer | Refusal]
    usage: DecisionsUsage


def read(request: DecisionsRequest) -> tuple[str, list[Question]]:
    """The input as one text, and its questions."""
    state = _text(request.input, "input")
    if not state.strip():
        raise invalid("the input is empty; there is nothing to ask about", "input")
    with refusals("questions"):
        return state, [_question(i, q) for i, q in enumerate(request.questions)]


def _text(content: Query, param: str) -> str:
    """Messages as one text; a single user turn is the text itself."""
    if isinstance(content, str):
        return content
    turns = messages([_without_json(turn) for turn in content], param)
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def _without_json(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn with its parts of JSON as parts of text."""
    if not isinstance(turn.get("content"), list):
        return turn
    return turn | {"content": [_part(part) for part in turn["content"]]}


def _part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") == "input_json":
        return {"type": "input_text", "text": text_of(part.get("data"))}
    return part


def _question(i: int, q: Predicate | ChoiceOf | ScoreOf) -> Question:
    name, said = f"questions[{i}]", q.instructions  # two questions may have one name
    if not isinstance(said, str):
        said = _text([{"role": "user", "content": [*said]}], f"{name}.instructions")
    match q:
        case Predicate():
            return asked(name, "yes_no", said)
        case ChoiceOf():
            texts = {one.value for one in q.choices if isinstance(one.value, str)}
            options = [_shown(one.value, texts) for one in q.choices]
            return asked(name, "choice", said, options, [one.description for one in q.choices])
        case ScoreOf():
            labels = [one.label for one in q.levels]
            return asked(name, "score", said, labels, [one.description for one in q.levels])
    raise AssertionError("the discriminator knows no other type")


def _shown(value: str | bool, texts: set[str]) -> str:
    """A value as an option's text: true and "true" are two values."""
    if isinstance(value, str):
        return value
    word = str(value).lower()
    return f"{word} (boolean)" if word in texts else word


def write(request: DecisionsRequest, found: Answers, model: str) -> DecisionsReply:
    """The reply, in the order of the questions."""
    answers = [_answer(q, one) for q, one in zip(request.questions, found.answers, strict=True)]
    read, written = found.usage.prompt_tokens, found.usage.completion_tokens
    usage = DecisionsUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return DecisionsReply(model=model, answers=answers, usage=usage)


def _answer(
    q: Predicate | ChoiceOf | ScoreOf, answer: Answer | Unscored
) -> PredicateAnswer | ChoiceOfAnswer | ScoreOfAnswer | Refusal:
    if not isinstance(answer, Answer):
        return Refusal(name=q.name)
    p, sure = answer.probabilities, answer.confidence
    match q:
        case Predicate():
            return PredicateAnswer(name=q.name, probability=p[0])
        case ChoiceOf():
            values = [one.value for one in q.choices]
            each = [
                ValueProbability(value=value, probability=one)
                for value, one in zip(values, p, strict=True)
            ]
            return ChoiceOfAnswer(
                name=q.name, choice=values[answer.top], confidence=sure, probabilities=each
            )
        case ScoreOf():
            levels = [
                LevelProbability(label=level.label, value=i, probability=p[i])
                for i, level in enumerate(q.levels)
            ]
            return ScoreOfAnswer(
                name=q.name, score=answer.expected, confidence=sure, probabilities=levels
            )
    raise AssertionError("the discriminator knows no other type")
