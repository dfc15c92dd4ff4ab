"""SGLang's reward routes: /classify with `text`, and /v1/embeddings (what verl's router calls).

The reward is a one-element embedding. /classify answers an object for one text and a list for
several; requests with `input` or `messages` are vLLM's (see vllm.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spct.data.chat.templated import Template
from spct.serve.config import ServeConfig
from spct.serve.samples import Sample
from spct.serve.wires.chat import Texts
from spct.serve.wires.vllm import NoTokens, samples_of


class Embedding(BaseModel):
    """One conversation's reward."""

    embedding: list[float]


class EmbeddingsRequest(BaseModel):
    """Templated conversations."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = Field(None, description="Must be the served model, if it is given.")
    input: str | Texts = Field(description="Templated conversations.")


class EmbeddingData(BaseModel):
    """One conversation's reward."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float]


class EmbeddingsReply(BaseModel):
    """The reply of /v1/embeddings."""

    object: Literal["list"] = "list"
    model: str
    data: list[EmbeddingData]
    usage: NoTokens = NoTokens()


def read_embeddings(
    request: EmbeddingsRequest, template: Template | None, config: ServeConfig
) -> list[Sample]:
    """The conversations of a request."""
    return samples_of(request.input, template, config, "input")


def write_classify(rewards: list[float], *, several: bool) -> Embedding | list[Embedding]:
    """The reply of /classify."""
    embeddings = [Embedding(embedding=[reward]) for reward in rewards]
    return embeddings if several else embeddings[0]


def write_embeddings(rewards: list[float], name: str) -> EmbeddingsReply:
    """The reply of /v1/embeddings."""
    data = [EmbeddingData(index=i, embedding=[reward]) for i, reward in enumerate(rewards)]
    return EmbeddingsReply(model=name, data=data)
