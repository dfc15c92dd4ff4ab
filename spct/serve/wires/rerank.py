"""Rerankers: POST /rerank, /v1/rerank and /v2/rerank, as clients of four kinds send them.

vLLM, Cohere and Infinity send `documents` and read `results`; Text Embeddings Inference sends
`texts` and reads a bare list. The documents are responses to the query, judged together; scores
are rewards on the judge's scale, best first (a departure: TEI's sigmoid is applied for
`raw_scores: false` alone). /rerank gives no texts back with `results`: LiteLLM reads them there as
an object from vLLM and as a text from Infinity, and the requests of both are the same.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from spct.serve.config import ServeConfig
from spct.serve.errors import invalid
from spct.serve.samples import example
from spct.serve.wires.chat import Texts
from spct.serve.wires.vllm import Listed
from spct.types import Example, Message


class TextDocument(BaseModel):
    """A document as an object."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str


class Request(BaseModel):
    """A query with `documents` or, as TEI sends them, `texts`."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = Field(None, description="Must be a served name, if it is given.")
    query: str
    documents: list[str | TextDocument] | None = Field(None, description="Responses.")
    texts: Texts | None = Field(None, description="TEI's name of `documents`.")
    top_n: int | None = Field(None, ge=1, description="How many of the best to return.")
    return_documents: bool | None = Field(None, description="Whether results carry the texts.")
    return_text: bool = Field(False, description="TEI's name of `return_documents`.")
    raw_scores: bool | None = Field(None, description="TEI: false asks for the sigmoid.")


class Result(BaseModel):
    """One document's reward."""

    index: int
    relevance_score: float
    document: TextDocument | None = None


class Reply(Listed):
    """The documents, best first."""

    results: list[Result]
    meta: dict[str, Any] = Field({"api_version": {"version": "2"}}, description="Cohere's.")


class Rank(BaseModel):
    """TEI's entry for one text."""

    index: int
    score: float
    text: str | None = None


def read(request: Request, config: ServeConfig) -> Example:
    """The example of a request."""
    if (request.documents is None) == (request.texts is None):
        raise invalid("send either `documents` or `texts`", "documents")
    return example((Message("user", request.query),), _texts(request), config)


def write(request: Request, rewards: list[float], name: str, *, path: str) -> Reply | list[Rank]:
    """The reply, in the shape that the request's field and the route ask for."""
    texts = _texts(request)
    best = sorted(range(len(rewards)), key=lambda i: (-rewards[i], i))[: request.top_n]
    if request.texts is not None:
        return [
            Rank(
                index=i,
                score=_sigmoid(rewards[i]) if request.raw_scores is False else rewards[i],
                text=texts[i] if request.return_text else None,
            )
            for i in best
        ]
    shown = path != "/rerank" and request.return_documents is not False
    results = [
        Result(
            index=i,
            relevance_score=rewards[i],
            document=TextDocument(text=texts[i]) if shown else None,
        )
        for i in best
    ]
    return Reply(model=name, results=results)


def _sigmoid(reward: float) -> float:
    """What TEI makes of a logit where it is not asked for raw scores; the ranks stay."""
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, reward))))


def _texts(request: Request) -> list[str]:
    some = request.texts if request.documents is None else request.documents
    return [one if isinstance(one, str) else one.text for one in some or ()]
