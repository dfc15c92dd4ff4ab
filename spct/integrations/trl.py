"""TRL: `reward_func` for `GRPOTrainer(reward_funcs=...)` and `trl grpo --reward_funcs`.

    SPCT_REWARD_MODEL=scripted trl grpo --reward_funcs spct.integrations.trl.reward_func ...

TRL passes the local batch: G consecutive rows a prompt. A run of equal prompts is judged together;
a failed judgement is None, which TRL leaves out of the group's mean and gives no advantage. TRL
does not say G: pass `group_size` to `make_reward_func` (or set SPCT_REWARD_GROUP_SIZE), and a batch
that holds part of a group is put together with the other processes' parts by a gateway, or refused
where there is none.

With `log_completions` TRL's table shows why: the best and the worst response of each group carry
the principles and the critique of a judgement that agrees with the vote. A gateway keeps its
judgements (`spct serve --judgement-log`), so they are not in that table.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

from spct.data.criteria import Negative
from spct.errors import ConfigError, printable
from spct.integrations.groups import Run, Turns, general_list, read_lists, runs_of
from spct.integrations.hook import ENVIRONMENT, Hook, rewards_or_none
from spct.measure.outcomes import telling
from spct.protocols import RewardModel
from spct.runs.identity import content_id
from spct.types import Criteria, Verdict

log = logging.getLogger("spct.integrations")
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
    criteria_column: str | None = None,
    general_criteria: str | Sequence[Any] | None = None,
    negative: Negative | None = None,
) -> RewardFunc:
    """A reward function of `model`: a reward model, a name that `spct serve` takes, or an address.

    `reference_column` names a dataset column whose text the judge sees as a good answer,
    `criteria_column` one with a list of criteria; `general_criteria` (items, or a file) are added
    to every list, and `negative` says what weights below zero mean. `max_unscored` ends the run
    when a larger share of the last responses (32 to 256) has no reward.
    """
    hook = Hook.of(model, deadline_s=deadline_s, max_unscored=max_unscored)
    general = general_list(general_criteria)
    by_criteria = criteria_column is not None or general is not None

    async def spct_reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], **columns: Any
    ) -> Rewards:
        references = _column(columns, reference_column)
        lists: Sequence[Criteria | None] | None = None
        if by_criteria:
            hook.check_criteria()
            rows = _values(columns, criteria_column) or [None] * len(prompts)
            where = criteria_column or "general_criteria"
            lists = read_lists(rows, general, where=where, negative=negative)
        grouped = runs_of(prompts, completions, references, group_size, lists)
        for why, n in Counter(grouped.refused.values()).items():
            log.warning("%d of %d samples cannot be judged: %s", n, len(prompts), why)
        await hook.reach()
        rewards: Rewards = [None] * len(prompts)
        step = _step(columns.get("trainer_state"))
        found, verdicts = await _rewards(hook, grouped.runs, group_size, step)
        for row, reward in found:
            rewards[row] = reward
        hook.count([reward is not None for reward in rewards])
        log_metric = columns.get("log_metric")
        if log_metric is not None:
            _log(log_metric, grouped.runs, rewards)
        log_extra = columns.get("log_extra")
        if log_extra is not None and any(verdict.trajectories for _, verdict in verdicts):
            for name, values in _why(verdicts, len(prompts)).items():
                log_extra(name, values)
        return rewards

    return spct_reward


@lru_cache(maxsize=8)
def _from_env(settings: tuple[str | None, ...], size: str | None) -> RewardFunc:
    if size is not None and not (size.isdecimal() and int(size) > 0):
        raise ConfigError(f"{ENV_GROUP_SIZE} is {size!r}; expected num_generations, such as 8")
    return make_reward_func(group_size=None if size is None else int(size))


async def reward_func(
    prompts: Sequence[Turns], completions: Sequence[Turns], **columns: Any
) -> Rewards:
    """The reward function of the model that the environment variable SPCT_REWARD_MODEL names."""
    made = _from_env(tuple(map(os.environ.get, ENVIRONMENT)), os.environ.get(ENV_GROUP_SIZE))
    return await made(prompts=prompts, completions=completions, **columns)


async def _rewards(
    hook: Hook, runs: Sequence[Run], group_size: int | None, step: int
) -> tuple[list[tuple[int, float | None]], list[tuple[Run, Verdict]]]:
    """Each judged row with its reward, and the verdicts that were reached here."""
    whole = [run for run in runs if group_size is None or run.n_rows == group_size]
    parts = [run for run in runs if group_size is not None and run.n_rows != group_size]
    if parts and hook.gateway is None:
        raise ConfigError(
            f"this process holds {parts[0].n_rows} of a prompt's {group_size} completions, so "
            "they cannot be compared here; make the local batch a multiple of the group, or serve "
            "the reward model with `spct serve` and name its address, which puts groups together"
        )
    judged, members = await asyncio.gather(
        hook.judge_all([run.example for run in whole]),
        hook.on_loop(_members(hook, parts, group_size or 0, step)),
    )
    found: list[tuple[int, float | None]] = []
    for run, one in zip(whole, judged, strict=True):
        found += [(row, one.reward(i)) for row, i in zip(run.rows, run.index, strict=True)]
    for run, some in zip(parts, members, strict=True):
        found += zip(run.rows, some, strict=True)
    return found, [(r, j.verdict) for r, j in zip(whole, judged, strict=True) if j.verdict]


def _why(verdicts: Sequence[tuple[Run, Verdict]], n_rows: int) -> dict[str, list[str]]:
    """Columns for TRL's table of completions: what was said of each group's best and worst."""
    found = {name: [""] * n_rows for name in ("judged", "principles", "critique")}
    for run, verdict in verdicts:
        t = telling(verdict)
        if verdict.rewards is None or t is None or t.judgement is None:
            continue
        said = t.judgement
        principles = "\n".join(
            f"{p.name} {p.weight or ''} {p.text}".strip() for p in said.principles
        )
        ends = {"best": max(verdict.rewards), "worst": min(verdict.rewards)}
        if len(set(verdict.rewards)) == 1:
            ends = {"only" if len(verdict.rewards) == 1 else "tied": verdict.rewards[0]}
        for name, extreme in ends.items():
            i = verdict.rewards.index(extreme)
            row = run.rows[run.index.index(i)]
            place = t.prompt.order.index(i) + 1
            found["judged"][row] = f"{name}, {extreme:.4g}: response {place} of the critique"
            found["principles"][row] = printable(principles)
            found["critique"][row] = printable(said.critique)
    return found


async def _members(hook: Hook, parts: Sequence[Run], size: int, step: int) -> list[Rewards]:
    gateway = hook.gateway

    async def ask(run: Run) -> Rewards:
        assert gateway is not None
        asked, texts = run.example, [run.example.responses[i] for i in run.index]
        # the same on every process, and another at every step
        name = f"step {step} {content_id(asked.query, [], asked.reference)}"
        name += "" if asked.criteria is None else f" {asked.criteria.fingerprint}"
        work = gateway.member_rewards(
            asked.query,
            texts,
            group=name,
            size=size,
            reference=asked.reference,
            criteria=asked.criteria,
        )
        result = await hook.within_deadline(work)
        return rewards_or_none(result, len(texts))

    return await asyncio.gather(*(ask(run) for run in parts))


def _step(trainer_state: Any) -> int:
    return int(getattr(trainer_state, "global_step", 0))


def _column(columns: dict[str, Any], name: str | None) -> Sequence[str | None] | None:
    values = _values(columns, name)
    return None if values is None else [None if one is None else str(one) for one in values]


def _values(columns: dict[str, Any], name: str | None) -> list[Any] | None:
    if name is None:
        return None
    if name not in columns:
        known = sorted(key for key, value in columns.items() if isinstance(value, list))
        raise ConfigError(f"the dataset has no column {name!r}; there are {', '.join(known)}")
    return list(columns[name])


def _log(log_metric: Callable[[str, float], None], runs: Sequence[Run], rewards: Rewards) -> None:
    log_metric("spct/unscored", rewards.count(None) / max(1, len(rewards)))
    spread = [
        len({rewards[row] for row in run.rows} - {None}) > 1 for run in runs if len(run.rows) > 1
    ]
    if spread:
        log_metric("spct/groups_without_spread", spread.count(False) / len(spread))
