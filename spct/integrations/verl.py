"""verl: `compute_score` for `reward.custom_reward_function`, called once a sample.

    reward.custom_reward_function.path=<this file>
    reward.custom_reward_function.name=compute_score
    +reward.reward_kwargs.on_unscored=0.0

verl passes no prompt, so the dataset must hold the question in `extra_info` (`question_key`). It
has no word for a failed judgement and reads the first sample's keys on every other, so every reply
has the same keys, a failure's score is `on_unscored`, which must be named, and `unscored` is 1.0.
To judge a prompt's samples together serve the model with `spct serve`, name its address in
SPCT_REWARD_MODEL and pass `group_size`; `compute_score_batch`, for the batch manager, sees groups
whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from spct.errors import ConfigError, DataError
from spct.integrations.groups import query_of, runs_of
from spct.integrations.hook import Hook
from spct.runs.identity import content_id
from spct.types import Message

KEYS = ("score", "unscored")


@lru_cache(maxsize=1)
def _hook() -> Hook:
    return Hook.from_env()


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None,
    *,
    on_unscored: float | None = None,
    question_key: str = "question",
    group_size: int = 1,
    use_ground_truth: bool = False,
    **ignored: Any,
) -> dict[str, float]:
    """The reward of one sample, with the same keys every time."""
    hook, number = _hook(), _named(on_unscored)
    query = _query(extra_info, question_key)
    reference = _reference(ground_truth) if use_ground_truth else None
    if group_size > 1:
        reward = await _member(hook, query, solution_str, reference, group_size)
    else:
        (run,) = runs_of([_prompt(query)], [solution_str], [reference])
        reward = (await hook.judge_all([run.example]))[0].reward()
    hook.count([reward is not None])
    return _scored(reward, number)


async def compute_score_batch(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    on_unscored: float | None = None,
    question_key: str = "question",
    use_ground_truth: bool = False,
    **ignored: Any,
) -> list[dict[str, float]]:
    """The rewards of a batch; consecutive samples of one question are judged together."""
    hook, number = _hook(), _named(on_unscored)
    prompts = [_prompt(_query(info, question_key)) for info in extra_infos]
    references = [_reference(t) if use_ground_truth else None for t in ground_truths]
    runs = runs_of(prompts, solution_strs, references)
    rewards: list[float | None] = [None] * len(solution_strs)
    judged = await hook.judge_all([run.example for run in runs])
    for run, one in zip(runs, judged, strict=True):
        for row, i in zip(run.rows, run.index, strict=True):
            rewards[row] = one.reward(i)
    hook.count([reward is not None for reward in rewards])
    return [_scored(reward, number) for reward in rewards]


def _named(on_unscored: float | None) -> float:
    if on_unscored is None:
        raise ConfigError(
            "verl needs a number for a failed judgement; name it with "
            "+reward.reward_kwargs.on_unscored=NUMBER (it is marked by unscored=1.0)"
        )
    return float(on_unscored)


def _scored(reward: float | None, number: float) -> dict[str, float]:
    return {
        "score": number if reward is None else reward,
        "unscored": float(reward is None),
    }


def _query(extra_info: Mapping[str, Any] | None, key: str) -> tuple[Message, ...]:
    question = (extra_info or {}).get(key)
    if isinstance(question, str):
        return query_of(question)
    if question is None:
        known = ", ".join(sorted(extra_info or {})) or "nothing"
        raise DataError(
            f"verl passes no prompt and extra_info has no {key!r} (it has {known}); put the "
            "question there when the dataset is made, or name its key with question_key"
        )
    return query_of([dict(turn) for turn in question])  # Parquet gives an array of mappings


def _prompt(query: tuple[Message, ...]) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": turn.content} for turn in query]


def _reference(ground_truth: Any) -> str | None:
    return None if ground_truth is None else str(ground_truth)


async def _member(
    hook: Hook, query: tuple[Message, ...], response: str, reference: str | None, size: int
) -> float | None:
    gateway = hook.gateway
    if gateway is None:
        raise ConfigError(
            "verl calls once a sample, so a group can only be put together by a gateway: serve the "
            "reward model with `spct serve` and name its address in SPCT_REWARD_MODEL"
        )
    name = content_id(query, [], reference)
    work = gateway.member_rewards(query, [response], group=name, size=size, reference=reference)
    rewards = await hook.on_loop(hook.within_deadline(work))
    return None if isinstance(rewards, str) else rewards[0]
