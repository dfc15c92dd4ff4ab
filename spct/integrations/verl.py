"""verl: `compute_score` for `reward.custom_reward_function`, called once per sample.

    reward.custom_reward_function.path=<this file>
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.on_unscored=-1.0

verl passes no prompt, so the dataset must hold the question in `extra_info` (`question_key`). It
cannot represent a failed judgement and reads the first sample's keys on every other, so every reply
has the same keys, a failure's score is `on_unscored`, which must be named, and `unscored` is 1.0.

Whatever this function raises, verl's rate-limited manager turns into a reward of 0.0, and so it
does with what takes longer than its own timeout (300 s). So our deadline is shorter, and what we
raise is logged as an error too.

To judge a prompt's samples together serve the model with `spct serve`, name its address in
SPCT_REWARD_MODEL and pass `group_size`; `compute_score_batch`, for the batch manager, sees groups
whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from spct.errors import ConfigError, DataError, SpctError
from spct.integrations.groups import Run, Turns, runs_of
from spct.integrations.hook import ENVIRONMENT, Hook, rewards_or_none
from spct.runs.identity import content_id
from spct.types import Example

log = logging.getLogger("spct.integrations")
KEYS = ("score", "unscored")
DEADLINE_S = 240.0  # below the 300 s of verl's rate-limited manager, which pays 0.0 in silence
_WARNING = "verl's rate-limited manager pays 0.0 for this: %s"


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
    deadline_s: float = DEADLINE_S,
    **ignored: Any,
) -> dict[str, float]:
    """The reward of one sample, with the same keys every time."""
    with _loudly():
        hook, number = _hook(deadline_s), _named(on_unscored)
        reference = _reference(ground_truth) if use_ground_truth else None
        runs = _runs([_question(extra_info, question_key)], [solution_str], [reference])
        await hook.reach()
        reward: float | None = None
        if runs and group_size > 1:
            reward = await _member(hook, runs[0].example, group_size)
        elif runs:
            reward = (await hook.judge_all([runs[0].example]))[0].reward()
        hook.count([reward is not None])
        return _scored(reward, number)


def compute_score_batch(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    on_unscored: float | None = None,
    question_key: str = "question",
    use_ground_truth: bool = False,
    deadline_s: float = DEADLINE_S,
    **ignored: Any,
) -> list[dict[str, float]]:
    """The rewards of a batch; consecutive samples of one question are judged together.

    A plain function: verl's batch manager calls it and does not await.
    """
    with _loudly():
        hook, number = _hook(deadline_s), _named(on_unscored)
        prompts = [_question(info, question_key) for info in extra_infos]
        references = [_reference(t) if use_ground_truth else None for t in ground_truths]
        runs = _runs(prompts, solution_strs, references)
        hook.run(hook.reach())
        judged = hook.run(hook.judge_all([run.example for run in runs]))
        rewards: list[float | None] = [None] * len(solution_strs)
        for run, one in zip(runs, judged, strict=True):
            for row, i in zip(run.rows, run.index, strict=True):
                rewards[row] = one.reward(i)
        hook.count([reward is not None for reward in rewards])
        return [_scored(reward, number) for reward in rewards]


@contextmanager
def _loudly() -> Iterator[None]:
    """Log what verl would turn into a reward of 0.0 without a word."""
    try:
        yield
    except SpctError as error:
        log.error(_WARNING, error)
        raise
    except asyncio.CancelledError:
        log.error(
            _WARNING,
            "it cancelled the judgement before our own deadline; make its timeout longer, or "
            "+reward.custom_reward_function.reward_kwargs.deadline_s shorter",
        )
        raise


def _hook(deadline_s: float) -> Hook:
    return _hook_of(tuple(map(os.environ.get, ENVIRONMENT)), deadline_s)


@lru_cache(maxsize=8)
def _hook_of(settings: tuple[str | None, ...], deadline_s: float) -> Hook:
    return Hook.from_env(deadline_s=deadline_s)


def _named(on_unscored: float | None) -> float:
    if on_unscored is None:
        raise ConfigError(
            "verl needs a number for a failed judgement (marked by unscored=1.0); name it with "
            "+reward.custom_reward_function.reward_kwargs.on_unscored=NUMBER"
        )
    return float(on_unscored)


def _scored(reward: float | None, number: float) -> dict[str, float]:
    return {
        "score": number if reward is None else reward,
        "unscored": float(reward is None),
    }


def _question(extra_info: Mapping[str, Any] | None, key: str) -> Turns:
    question = (extra_info or {}).get(key)
    if question is None:
        known = ", ".join(sorted(extra_info or {})) or "nothing"
        raise DataError(
            f"verl passes no prompt and extra_info has no {key!r} (it has {known}); put the "
            "question there when the dataset is made, or name its key with question_key"
        )
    # Parquet gives an array of mappings
    return question if isinstance(question, str) else [dict(turn) for turn in question]


def _runs(
    prompts: Sequence[Turns], solutions: Sequence[str], references: Sequence[str | None]
) -> list[Run]:
    grouped = runs_of(prompts, solutions, references)
    for why, n in Counter(grouped.refused.values()).items():
        log.warning("%d of %d samples cannot be judged: %s", n, len(prompts), why)
    return grouped.runs


def _reference(ground_truth: Any) -> str | None:
    return None if ground_truth is None else str(ground_truth)


async def _member(hook: Hook, asked: Example, size: int) -> float | None:
    gateway = hook.gateway
    if gateway is None:
        raise ConfigError(
            "verl calls once per sample, so a group can only be put together by a gateway: serve "
            "the reward model with `spct serve` and name its address in SPCT_REWARD_MODEL"
        )
    work = gateway.member_rewards(
        asked.query,
        asked.responses,
        group=content_id(asked.query, [], asked.reference),
        size=size,
        reference=asked.reference,
    )
    return rewards_or_none(await hook.on_loop(hook.within_deadline(work)), 1)[0]
