"""Text Embeddings Inference: POST /predict {inputs, raw_scores?}.

`inputs` is a text, a pair [query, response], or a batch whose entries are lists of one text or
two. A text alone is a templated conversation. Scores are raw: `raw_scores: false`, TEI's sigmoid,
is refused when it is asked for by name; leaving it out gets the raw score (a departure).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from spct.data.chat.templated import Template
from spct.serve.config import ServeConfig
from spct.serve.errors import invalid
from spct.serve.samples import Sample
from spct.serve.wires.chat import Texts, split_stripped
from spct.types import Message


class Request(BaseModel):
    """One text, one pair, or a batch of them."""

    model_config = ConfigDict(extra="allow", strict=True)

    inputs: str | Texts | list[Texts] = Field(description="Text, pair or batch.")
    raw_scores: bool | None = Field(None, description="Must not be false: scores are raw.")


class Prediction(BaseModel):
    """One input's reward, as the one label that there is."""

    label: str = "LABEL_0"
    score: float


def read(request: Request, template: Template | None, config: ServeConfig) -> list[Sample]:
    """The samples of a request."""
    if request.raw_scores is False:
        raise invalid("scores are raw here; ask for `raw_scores: true`", "raw_scores")
    inputs = request.inputs
    batch: list[list[str]]
    if isinstance(inputs, str):
        batch = [[inputs]]
    elif is_batch(request):
        batch = [one for one in inputs if isinstance(one, list)]
    else:
        batch = [[text for text in inputs if isinstance(text, str)]]
    if not batch or len(batch) > config.max_examples:
        raise invalid(f"{len(batch)} inputs; expected 1 to {config.max_examples}", "inputs")
    return [_sample(entry, template, f"inputs[{i}]") for i, entry in enumerate(batch)]


def is_batch(request: Request) -> bool:
    """Whether the reply is nested."""
    return isinstance(request.inputs, list) and all(isinstance(x, list) for x in request.inputs)


def write(request: Request, rewards: list[float]) -> list[Prediction] | list[list[Prediction]]:
    """The reply: nested for a batch."""
    predictions = [Prediction(score=reward) for reward in rewards]
    return [[one] for one in predictions] if is_batch(request) else predictions


def _sample(entry: list[str], template: Template | None, param: str) -> Sample:
    match entry:
        case [text]:
            return Sample(*split_stripped(text, template, param))
        case [query, response]:
            return Sample((Message("user", query),), response)
    raise invalid(f"{len(entry)} texts in one input; expected one text or a pair", param)
