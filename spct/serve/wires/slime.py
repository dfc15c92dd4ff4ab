"""slime's and miles' remote_rm: POST {prompt, response, label} for one sample (v0.3).

`prompt` is text or messages. The whole JSON reply is the reward: /remote_rm answers a bare number,
which is what the trainer expects by default; /remote_rm/detail answers an object that says more,
for `--reward-key reward`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spct.data.chat.templated import Template, response_of
from spct.serve.config import ServeConfig
from spct.serve.samples import Sample, SampleOutcome
from spct.serve.wires.chat import Query, messages, split_prompt
from spct.serve.wires.openrlhf import reference_of


class Request(BaseModel):
    """One sample."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: Query = Field(description="The prompt: templated or plain text, or messages.")
    response: str
    label: JsonValue = Field(None, description="The label column.")


class Reply(BaseModel):
    """The reward, for `--reward-key reward`."""

    reward: float
    unscored: bool = Field(description="The judgement failed; `reward` is the operator's number.")


def read(request: Request, template: Template | None, config: ServeConfig) -> Sample:
    """The sample of a request."""
    if isinstance(request.prompt, str):
        query = split_prompt(request.prompt, template, "prompt")
    else:
        query = messages(request.prompt, "prompt")
    label = request.label if config.labels_as_reference else None
    return Sample(query, response_of(request.response, template), reference_of(label))


def write(judged: SampleOutcome, reward: float) -> Reply:
    """The reply."""
    return Reply(reward=reward, unscored=judged.reward is None)
