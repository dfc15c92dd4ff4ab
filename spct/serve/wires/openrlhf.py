"""OpenRLHF's remote reward: POST /get_reward {query, prompts?, labels?} (0.4 to 0.11).

`query` is decoded text of prompt and answer with control tokens; `prompts` came with 0.5, `labels`
with 0.6. Later versions send one sample a request, and empty lists to all but the first of several
URLs, so empty in is empty out. The reply's `extra_logs` goes into a tensor: numbers only. The wire
has no null: a failed judgement is the operator's number, and `extra_logs.unscored` says which.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spct.data.chat.templated import Template
from spct.serve.config import ServeConfig
from spct.serve.errors import invalid
from spct.serve.samples import Sample, SampleOutcome
from spct.serve.wires.chat import Texts, split_sample


class Request(BaseModel):
    """A batch of decoded samples."""

    model_config = ConfigDict(extra="allow", strict=True)

    query: Texts = Field(description="Prompt and answer, decoded with control tokens.")
    prompts: Texts | None = Field(None, description="The templated prompts (from 0.5).")
    labels: list[JsonValue] | None = Field(None, description="The label column (from 0.6).")


class Reply(BaseModel):
    """Rewards for the advantage, scores for dynamic filtering, numbers to log."""

    rewards: list[float]
    scores: list[float] = Field(description="The same numbers.")
    extra_logs: dict[str, list[float]]


def read(request: Request, template: Template | None, config: ServeConfig) -> list[Sample]:
    """The samples of a request."""
    n = len(request.query)
    if n > config.max_examples:
        raise invalid(f"{n} samples; the limit is {config.max_examples}", "query")
    for name, column in (("prompts", request.prompts), ("labels", request.labels)):
        if column is not None and len(column) != n:
            raise invalid(f"{n} texts in query and {len(column)} {name}; expected as many", name)
    samples = []
    for i, text in enumerate(request.query):
        prompt = request.prompts[i] if request.prompts else None
        query, response = split_sample(text, prompt, template, f"query[{i}]")
        label = request.labels[i] if request.labels and config.labels_as_reference else None
        samples.append(Sample(query, response, reference_of(label)))
    return samples


def write(judged: list[SampleOutcome], rewards: list[float]) -> Reply:
    """The reply; `rewards` have the operator's number where a judgement failed."""
    unscored = [float(one.reward is None) for one in judged]
    counted = [
        float(one.outcome.verdict.k_counted) if one.outcome.verdict else 0.0 for one in judged
    ]
    return Reply(
        rewards=rewards,
        scores=rewards,
        extra_logs={"unscored": unscored, "k_counted": counted},
    )


def reference_of(label: JsonValue) -> str | None:
    """A label as a reference answer: text and numbers are, other things are not."""
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    return str(label)
