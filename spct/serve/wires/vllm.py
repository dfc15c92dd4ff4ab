"""vLLM's pooling routes: /classify (SGLang's too), /pooling, /score.

For clients of a scalar reward model. The text that they send is a conversation through the reward
model's template, so the operator names its family, or they send `messages`. Rewards are raw: vLLM
applies an activation unless told not to, which a judge's scale has no use for, so a request that
asks for one is refused and one that leaves it open gets the raw number (a departure). /score pairs
a query with documents: the documents of one query are judged together.
"""

from __future__ import annotations

import time
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from spct.data.chat.templated import Template
from spct.serve.config import ServeConfig
from spct.serve.errors import HttpError, invalid
from spct.serve.samples import Outcome, Sample, example
from spct.serve.wires.chat import Texts, Turn, conversation, split_stripped
from spct.types import Example, Message


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = Field(None, description="Must be the served model, if it is given.")
    use_activation: bool | None = Field(None, description="Must not be true: rewards are raw.")
    activation: bool | None = Field(None, description="An older name of `use_activation`.")


class ClassifyRequest(_Wire):
    """vLLM: `input` (templated text) or `messages`; SGLang: `text`."""

    input: str | Texts | None = Field(None, description="Templated conversations.")
    text: str | Texts | None = Field(None, description="SGLang's name of `input`.")
    messages: list[Turn] | None = Field(None, description="One conversation.")


class PoolingRequest(_Wire):
    """Templated text or messages; task `classify` only."""

    input: str | Texts | None = Field(None, description="Templated conversations.")
    messages: list[Turn] | None = Field(None, description="One conversation.")
    task: Literal["classify"] = Field("classify", description="The reward of a conversation.")


class ScoreRequest(_Wire):
    """A query with documents, under the names of several releases."""

    queries: str | Texts | None = Field(None, description="Queries.")
    documents: str | Texts | None = Field(None, description="Responses.")
    items: str | Texts | None = Field(None, description="Another name of `documents`.")
    data_1: str | Texts | None = Field(None, description="Another name of `queries`.")
    data_2: str | Texts | None = Field(None, description="Another name of `documents`.")
    text_1: str | Texts | None = Field(None, description="Another name of `queries`.")
    text_2: str | Texts | None = Field(None, description="Another name of `documents`.")


class NoTokens(BaseModel):
    """The usage that vLLM's clients expect; the judge's own usage is in /metrics."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class Listed(BaseModel):
    """What every reply of vLLM begins with."""

    id: str = Field(default_factory=lambda: f"spct-{uuid4().hex}")
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    usage: NoTokens = NoTokens()


class ClassData(BaseModel):
    """One conversation's reward, as the one class that there is."""

    index: int
    label: str = "LABEL_0"
    probs: list[float]
    num_classes: int = 1


class ClassifyReply(Listed):
    """vLLM's reply of /classify."""

    data: list[ClassData]


class PoolingData(BaseModel):
    """One conversation's reward."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float]


class PoolingReply(Listed):
    """vLLM's reply of /pooling."""

    data: list[PoolingData]


class ScoreData(BaseModel):
    """One document's reward."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreReply(Listed):
    """vLLM's reply of /score."""

    data: list[ScoreData]


def read(
    request: ClassifyRequest | PoolingRequest, template: Template | None, config: ServeConfig
) -> list[Sample]:
    """The conversations of a request."""
    check_raw(request)
    text = getattr(request, "text", None)
    given = [x for x in (request.input, text, request.messages) if x is not None]
    if len(given) != 1:
        raise invalid("send either `input` (SGLang: `text`) or `messages`, and one of them")
    if request.messages is not None:
        return [Sample(*conversation(request.messages, "messages"))]
    texts = request.input if request.input is not None else text
    return samples_of(texts, template, config, "input")


def samples_of(
    texts: str | Texts | None, template: Template | None, config: ServeConfig, param: str
) -> list[Sample]:
    """The samples of templated text."""
    some = [texts] if isinstance(texts, str) else list(texts or ())
    if not some or len(some) > config.max_examples:
        raise invalid(f"{len(some)} texts; expected 1 to {config.max_examples}", param)
    return [Sample(*split_stripped(text, template, f"{param}[{i}]")) for i, text in enumerate(some)]


def read_score(request: ScoreRequest, config: ServeConfig) -> list[Example]:
    """The examples of a score request: one with all documents, or one a pair."""
    check_raw(request)
    queries = _one_of(request, "queries", "data_1", "text_1")
    documents = _one_of(request, "documents", "items", "data_2", "text_2")
    some_queries = [queries] if isinstance(queries, str) else queries
    some_documents = [documents] if isinstance(documents, str) else documents
    if len(some_queries) == 1:
        return [example((Message("user", some_queries[0]),), some_documents, config)]
    if len(some_queries) != len(some_documents) or len(some_queries) > config.max_examples:
        raise invalid(
            f"{len(some_queries)} queries and {len(some_documents)} documents; expected one query "
            f"or as many of both, at most {config.max_examples}",
            "queries",
        )
    return [
        example((Message("user", query),), (document,), config)
        for query, document in zip(some_queries, some_documents, strict=True)
    ]


def rewards_of(outcomes: list[Outcome], examples: list[Example]) -> list[float | None]:
    """The rewards of score examples, in the order of the documents."""
    return [
        outcome.reward(i)
        for outcome, asked in zip(outcomes, examples, strict=True)
        for i in range(asked.n)
    ]


def write_classify(rewards: list[float], name: str) -> ClassifyReply:
    """vLLM's reply of /classify."""
    data = [ClassData(index=i, probs=[reward]) for i, reward in enumerate(rewards)]
    return ClassifyReply(model=name, data=data)


def write_pooling(rewards: list[float], name: str) -> PoolingReply:
    """vLLM's reply of /pooling."""
    data = [PoolingData(index=i, data=[reward]) for i, reward in enumerate(rewards)]
    return PoolingReply(model=name, data=data)


def write_score(rewards: list[float], name: str) -> ScoreReply:
    """vLLM's reply of /score."""
    data = [ScoreData(index=i, score=reward) for i, reward in enumerate(rewards)]
    return ScoreReply(model=name, data=data)


def check_raw(request: _Wire) -> None:
    """Refuse an activation that would not be applied."""
    if request.use_activation or request.activation:
        raise invalid("rewards are raw here; ask for `use_activation: false`", "use_activation")


def _one_of(request: ScoreRequest, *names: str) -> str | list[str]:
    given = {name: getattr(request, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1 or not all(given.values()):
        raise HttpError(
            422, "invalid", f"send exactly one of {', '.join(names)}, not empty", param=names[0]
        )
    value: str | list[str] = next(iter(given.values()))
    return value
