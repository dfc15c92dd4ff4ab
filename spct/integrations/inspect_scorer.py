"""Inspect AI: `reward()`, a scorer that a task names; an abstention is `Score.unscored`.

Task(dataset=..., solver=generate(), scorer=reward("scripted"))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import ChatMessage
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState

from spct.data.criteria import Negative
from spct.errors import DataError, EndpointError
from spct.integrations.groups import general_list, read_lists, runs_of
from spct.integrations.hook import Hook, Judged
from spct.protocols import RewardModel
from spct.types import Judgement


@scorer(metrics=[mean(), stderr()])
def reward(
    model: RewardModel | Hook | str | None = None,
    *,
    deadline_s: float = 300.0,
    use_target: bool = False,
    criteria: str | None = None,
    general_criteria: str | Sequence[Any] | None = None,
    negative: Negative | None = None,
) -> Scorer:
    """Score a sample by the reward of its completion; `use_target` shows the target to the judge.

    `criteria` names the key of a sample's metadata that holds its list of criteria;
    `general_criteria` (items, or a file) are added to every list, and `negative` says what weights
    below zero mean.
    `model` is a reward model, a gateway's address, or what `spct serve` takes; None reads
    SPCT_REWARD_MODEL.
    """
    hook = Hook.of(model, deadline_s=deadline_s)
    general = general_list(general_criteria)
    by_criteria = criteria is not None or general is not None

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        turns: list[dict[str, Any]] = [_turn(message) for message in state.messages]
        while turns and turns[-1]["role"] == "assistant":  # the completion itself
            turns.pop()
        reference = target.text if use_target and target.text else None
        if by_criteria:
            hook.check_criteria()
        try:
            own = None if criteria is None else state.metadata.get(criteria)
            where = criteria or "general_criteria"
            lists = read_lists([own], general, where=where, negative=negative)
        except DataError as error:
            return Score.unscored(reason="bad_sample", answer=answer, explanation=str(error))
        grouped = runs_of([turns], [answer], [reference], criteria=lists)
        if grouped.refused:
            return Score.unscored(
                reason="bad_sample", answer=answer, explanation=grouped.refused[0]
            )
        try:
            await hook.reach()
        except EndpointError as error:
            return Score.unscored(reason="unscored", answer=answer, explanation=str(error))
        (judged,) = await hook.judge_all([grouped.runs[0].example])
        value = judged.reward()
        metadata = _metadata(judged)
        if value is None:
            return Score.unscored(
                reason="unscored", answer=answer, explanation=judged.why, metadata=metadata
            )
        return Score(
            value=value, answer=answer, explanation=_explanation(judged), metadata=metadata
        )

    return score


def _turn(message: ChatMessage) -> dict[str, Any]:
    """A message as a chat API has it: images and calls of tools are not left out."""
    found: dict[str, Any] = message.model_dump(
        include={"role", "content", "tool_calls", "tool_call_id", "function"}, exclude_none=True
    )
    calls = found.pop("tool_calls", ())
    if calls:
        found["tool_calls"] = [
            {"id": one["id"], "name": one["function"], "arguments": one["arguments"]}
            for one in calls
        ]
    return found


def _metadata(judged: Judged) -> dict[str, object]:
    verdict = judged.verdict
    if verdict is None:
        return {"error": judged.why}
    return {
        "k_asked": verdict.k_asked,
        "k_counted": verdict.k_counted,
        "unscored": {str(reason): times for reason, times in verdict.unscored.items()},
        "scores": [list(t.judgement.scores) for t in verdict.trajectories if t.judgement],
        "fingerprint": verdict.trajectories[0].fingerprint if verdict.trajectories else None,
    }


def _explanation(judged: Judged) -> str | None:
    """The first judgement that counts, as it was written."""
    verdict = judged.verdict
    for trajectory in verdict.trajectories if verdict else ():
        if isinstance(trajectory.outcome, Judgement):
            # what was put together of several replies has no text of its own
            return trajectory.completion.text or trajectory.outcome.critique
    return None
