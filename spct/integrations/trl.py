"""TRL: `reward_func` for `GRPOTrainer(reward_funcs=...)` and `trl grpo --reward_funcs`.

    SPCT_REWARD_MODEL=scripted trl grpo --reward_funcs spct.integrations.trl.reward_func ...

TRL passes the local batch: G consecutive rows a prompt. A run of equal prompts is judged together;
a failed judgement is None, which TRL leaves out of the group's mean and gives no advantage. TRL
does not say G: pass `group_size` to `make_reward_func` (or set SPCT_REWARD_GROUP_SIZE), and a batch
that holds part of a group is put together with the other processes' parts by a gateway, or refused
where there is none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

from spct.errors import ConfigError
from spct.integrations.groups import Run, Turns, runs_of
from spct.integrations.hook import Hook
from spct.runs.identity import content_id
from spct.types import RewardModel

Rewards = list[float | None]
ENV_GROUP_SIZE = "SPCT_REWARD_GROUP_SIZE"
RewardFunc = Callable[..., Coroutine[Any, Any, Rewards]]


def make_reward_func(
    model: RewardModel | Hook | str | None = None,
    *,
    deadline_s: float = 300.0,
    max_unscored: float | None = None,
    group_size: int | None = None,
    reference_column: str | None = None,
) -> RewardFunc:
    """A reward function of `model`: a reward model, a name that `spct serve` takes, or an address.

    `reference_column` names a dataset column whose text the judge sees as a good answer.
    """
    hook = Hook.of(model, deadline_s=deadline_s, max_unscored=max_unscored)

    async def spct_reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], **columns: Any
    ) -> Rewards:
        references = _column(columns, reference_column)
        runs = runs_of(prompts, completions, references, group_size)
        rewards = await _rewards(hook, runs, group_size, columns.get("trainer_state"))
        hook.count([reward is not None for reward in rewards])
        log_metric = columns.get("log_metric")
        if log_metric is not None:
            _log(log_metric, runs, rewards)
        return rewards

    return spct_reward


@lru_cache(maxsize=1)
def _from_env() -> RewardFunc:
    size = os.environ.get(ENV_GROUP_SIZE)
    if size is not None and not (size.isdecimal() and int(size) > 0):
        raise ConfigError(f"{ENV_GROUP_SIZE} is {size!r}; expected num_generations, such as 8")
    return make_reward_func(group_size=None if size is None else int(size))


async def reward_func(
    prompts: Sequence[Turns], completions: Sequence[Turns], **columns: Any
) -> Rewards:
    """The reward function of the model that the environment variable SPCT_REWARD_MODEL names."""
    return await _from_env()(prompts=prompts, completions=completions, **columns)


async def _rewards(
    hook: Hook, runs: Sequence[Run], group_size: int | None, trainer_state: Any
) -> Rewards:
    rewards: Rewards = [None] * sum(len(run.rows) for run in runs)
    whole = [run for run in runs if group_size is None or len(run.rows) == group_size]
    parts = [run for run in runs if group_size is not None and len(run.rows) != group_size]
    if parts and hook.gateway is None:
        raise ConfigError(
            f"this process holds {len(parts[0].rows)} of a prompt's {group_size} completions, so "
            "they cannot be compared here; make the local batch a multiple of the group, or serve "
            "the reward model with `spct serve` and name its address, which puts groups together"
        )
    judged, members = await asyncio.gather(
        hook.judge_all([run.example for run in whole]),
        hook.on_loop(_members(hook, parts, group_size or 0, _step(trainer_state))),
    )
    for run, one in zip(whole, judged, strict=True):
        for row, i in zip(run.rows, run.index, strict=True):
            rewards[row] = one.reward(i)
    for run, some in zip(parts, members, strict=True):
        for row, reward in zip(run.rows, some, strict=True):
            rewards[row] = reward
    return rewards


async def _members(hook: Hook, parts: Sequence[Run], size: int, step: int) -> list[Rewards]:
    gateway = hook.gateway

    async def ask(run: Run) -> Rewards:
        assert gateway is not None
        asked, texts = run.example, [run.example.responses[i] for i in run.index]
        # the same on every process, and another at every step
        name = f"step {step} {content_id(asked.query, [], asked.reference)}"
        result = await hook.within_deadline(
            gateway.member_rewards(
                asked.query, texts, group=name, size=size, reference=asked.reference
            )
        )
        return [None] * len(texts) if isinstance(result, str) else result

    return await asyncio.gather(*(ask(run) for run in parts))


def _step(trainer_state: Any) -> int:
    return int(getattr(trainer_state, "global_step", 0))


def _column(columns: dict[str, Any], name: str | None) -> Sequence[str | None] | None:
    if name is None:
        return None
    if name not in columns:
        known = sorted(key for key, value in columns.items() if isinstance(value, list))
        raise ConfigError(f"the dataset has no column {name!r}; there are {', '.join(known)}")
    column: Sequence[str | None] = columns[name]
    return column


def _log(log_metric: Callable[[str, float], None], runs: Sequence[Run], rewards: Rewards) -> None:
    log_metric("spct/unscored", rewards.count(None) / max(1, len(rewards)))
    spread = [
        len({rewards[row] for row in run.rows} - {None}) > 1 for run in runs if len(run.rows) > 1
    ]
    if spread:
        log_metric("spct/groups_without_spread", spread.count(False) / len(spread))
