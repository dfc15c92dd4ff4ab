"""NeMo Gym's resources server: POST /verify for one rollout, POST /compare for a whole group.

/verify echoes what came and adds `reward`. A failed judgement is a 200 that is marked in every way
that a release reads: `mask_sample`, `failure_kind` and `failure_reason` (2026), `_ng_failure_class`
(rollout collection), `instance_config.mask_sample` (NeMo RL). Its reward is the operator's number,
which the mask keeps out of the loss. Members of a group share `prompt_id` or `_ng_task_index`; a
group that does not get complete is judged as it is, where NeMo's own server answers 503.
/compare judges all responses at once. `principle` is shown to the judge as a system turn.

An agent asks more of a resources server than rewards: /seed_session before a rollout (there is no
session to seed), /reverify_mode (a verdict needs nothing but the request: stateless), and
/aggregate_metrics at the end (statistics of rewards, masked samples left out and counted).
"""

from __future__ import annotations

import math
from statistics import fmean, median, stdev
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spct.serve.config import ServeConfig
from spct.serve.errors import invalid
from spct.serve.samples import Outcome, Sample, SampleOutcome, criteria_of, example
from spct.serve.wires.chat import Query, Turn, messages, split_output
from spct.types import Example, Message

FAILURE = "judge_failed"


class CreateParams(BaseModel):
    """What the rollout was asked."""

    model_config = ConfigDict(extra="allow", strict=True)

    input: Query = Field(description="The conversation, text or messages.")
    instructions: JsonValue = Field(None, description="A system turn before the conversation.")


class ResponseObject(BaseModel):
    """A Responses-API object."""

    model_config = ConfigDict(extra="allow", strict=True)

    output: list[JsonValue] = Field(description="Its items, shown to the judge as text.")


class VerifyRequest(BaseModel):
    """One rollout."""

    model_config = ConfigDict(extra="allow", strict=True)

    responses_create_params: CreateParams
    response: ResponseObject
    prompt_id: str | None = Field(None, max_length=200, description="The group's name.")
    task_index: int | None = Field(None, alias="_ng_task_index", description="The task.")
    principle: str | None = Field(None, description="A principle for the judge.")
    rubric: list[JsonValue] | None = Field(None, description="Criteria, as /v1/judge takes them.")
    instance_config: dict[str, JsonValue] = Field({}, description="Echoed.")


class VerifyReply(BaseModel):
    """The rollout again, with its reward."""

    model_config = ConfigDict(extra="allow", strict=True)

    responses_create_params: dict[str, JsonValue]
    response: dict[str, JsonValue]
    reward: float
    mask_sample: bool = Field(description="The judgement failed; leave the sample out.")
    failure_kind: str | None = Field(None, description="The kind, from NeMo Gym's own names.")
    failure_reason: str | None = None
    instance_config: dict[str, JsonValue]


class CompareRequest(BaseModel):
    """A conversation and the responses to compare."""

    model_config = ConfigDict(extra="allow", strict=True)

    conversation_history: list[Turn] = Field(min_length=1)
    response_objs: list[ResponseObject] = Field(min_length=1)
    principle: str | None = Field(None, description="A principle for the judge.")
    rubric: list[JsonValue] | None = Field(None, description="Criteria, as /v1/judge takes them.")


class CompareReply(BaseModel):
    """One reward a response."""

    rewards: Annotated[list[float], Field(description="In the order of `response_objs`.")]
    comparison_results: list[dict[str, float]] | None = Field(
        None, description="One entry a counted judgement and pair: both scores."
    )
    metrics: dict[str, float]


class SeedRequest(BaseModel):
    """The start of a rollout; nothing is kept of it."""

    model_config = ConfigDict(extra="allow")

    resources_session_id: str | None = Field(None, max_length=500, description="Echoed.")


class AggregateRequest(BaseModel):
    """What /verify answered, or as much of it as the agent kept."""

    model_config = ConfigDict(extra="allow")

    verify_responses: list[dict[str, JsonValue]] = Field(description="One per rollout.")


class AggregateReply(BaseModel):
    """Statistics of the rewards."""

    group_level_metrics: list[dict[str, float]] = Field(description="One entry per task.")
    agent_metrics: dict[str, float] = Field(description="Over all rollouts.")
    key_metrics: dict[str, float] = Field(description="The headline of `agent_metrics`.")


def read_verify(request: VerifyRequest, config: ServeConfig) -> Sample:
    """The sample of a rollout."""
    asked = request.responses_create_params
    query = messages(asked.input, "responses_create_params.input", instructions=asked.instructions)
    said, response = split_output(request.response.output, "response.output")
    query = _with_principle((*query, *said), request.principle)
    group = request.prompt_id
    if group is None and request.task_index is not None:
        group = f"task {request.task_index}"
    if config.group_size == 1:
        group = None
    criteria = criteria_of(request.rubric, "rubric")
    return Sample(query, response, group=group, criteria=criteria)


def write_verify(request: VerifyRequest, judged: SampleOutcome, reward: float) -> VerifyReply:
    """The echo with its reward."""
    failed = judged.reward is None
    echo = request.model_dump(by_alias=True, exclude_unset=True, exclude={"instance_config"})
    config, failure = dict(request.instance_config), {}
    if failed:
        config["mask_sample"] = True
        failure = {
            "failure_kind": FAILURE,
            "failure_reason": judged.outcome.why,
            "_ng_failure_class": FAILURE,
            "_ng_failure_judge_error": judged.outcome.why,
        }
    return VerifyReply(
        **{**echo, **failure, "reward": reward, "mask_sample": failed, "instance_config": config}
    )


def read_compare(request: CompareRequest, config: ServeConfig) -> Example:
    """The example of a comparison."""
    turns = messages(request.conversation_history, "conversation_history")
    responses = [
        _single_response(one.output, f"response_objs[{i}].output")
        for i, one in enumerate(request.response_objs)
    ]
    criteria = criteria_of(request.rubric, "rubric")
    query = _with_principle(turns, request.principle)
    return example(query, responses, config, criteria=criteria)


def _single_response(items: list[JsonValue], param: str) -> str:
    said, response = split_output(items, param)
    if said:
        raise invalid(
            "a user turn stands inside; responses to one conversation are compared", param
        )
    return response


def write_compare(outcome: Outcome, rewards: list[float]) -> CompareReply:
    """The reply; `rewards` have the operator's number where the judgement failed."""
    verdict = outcome.verdict
    counted = [t.judgement.scores for t in verdict.trajectories if t.judgement] if verdict else []
    pairs = [
        {"response_i": i, "response_j": j, "judge_idx": n, "score_1": s[i], "score_2": s[j]}
        for n, s in enumerate(counted)
        for i in range(len(s))
        for j in range(i + 1, len(s))
    ]
    return CompareReply(
        rewards=rewards,
        comparison_results=pairs,
        metrics={
            "unscored": float(outcome.reward(0) is None),
            "k_counted": float(verdict.k_counted) if verdict else 0.0,
        },
    )


def _with_principle(query: tuple[Message, ...], principle: str | None) -> tuple[Message, ...]:
    return query if principle is None else (Message("system", principle), *query)


def aggregate(request: AggregateRequest) -> AggregateReply:
    """Statistics over all rollouts and per task; a masked sample's number is not a reward."""
    tasks: dict[int, list[dict[str, JsonValue]]] = {}
    for row in request.verify_responses:
        index = row.get("_ng_task_index")
        tasks.setdefault(index if isinstance(index, int) else 0, []).append(row)
    groups = [{"_ng_task_index": float(i), **_statistics(tasks[i])} for i in sorted(tasks)]
    overall = _statistics(request.verify_responses) if request.verify_responses else {}
    headline = {key: value for key, value in overall.items() if key.startswith("mean/")}
    return AggregateReply(group_level_metrics=groups, agent_metrics=overall, key_metrics=headline)


def _statistics(rows: list[dict[str, JsonValue]]) -> dict[str, float]:
    valid = [
        float(reward)
        for row in rows
        if not row.get("mask_sample")
        and isinstance(reward := row.get("reward"), int | float)
        and math.isfinite(reward)
    ]
    found = {"count/rollouts": float(len(rows)), "count/masked": float(len(rows) - len(valid))}
    if not valid:
        return found
    return {
        "mean/reward": fmean(valid),
        "max/reward": max(valid),
        "min/reward": min(valid),
        "median/reward": median(valid),
        "std/reward": stdev(valid) if len(valid) > 1 else 0.0,
        **found,
    }
