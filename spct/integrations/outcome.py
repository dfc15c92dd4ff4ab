"""The reward of a judge that is trained: one rule, in the form that each trainer calls.

    trl        trl grpo --reward_funcs spct.integrations.outcome.trl_reward
    verl       reward.custom_reward_function.path=<this file>  (its name is compute_score)
    OpenRLHF   --reward.remote_url <this file>                 (it calls reward_func)

`spct data export-rl` writes the rows with gold and order inside. A wrong, tied or unreadable
judgement earns -1 in all three: here the policy wrote it. SPCT_RL_FORMAT_REWARD pays more for a
readable one. verl and OpenRLHF hand over text alone, so a reply that was cut counts as what it
says; TRL's token ids and `spct train rl` show where one was cut, and that is paid -1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spct.errors import ConfigError, DataError
from spct.integrations.groups import Turns, text_of
from spct.train.reward import Truth, paid

log = logging.getLogger("spct.integrations")
FORMAT_REWARD = "SPCT_RL_FORMAT_REWARD"  # also the variable of the setting rl.format_reward


def trl_reward(
    completions: Sequence[Turns],
    gold: Sequence[Sequence[float]],
    order: Sequence[Sequence[int]],
    pattern: Sequence[str] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float]:
    """TRL: the rewards of a batch; `gold`, `order` and `pattern` are columns of the dataset."""
    extra, patterns = _format_reward(), pattern or ["pointwise"] * len(completions)
    found = [
        paid(text_of(reply), Truth(tuple(g), tuple(o), p), extra)  # type: ignore[arg-type]
        for reply, g, o, p in zip(completions, gold, order, patterns, strict=True)
    ]
    if log_metric is not None and found:
        log_metric("spct/unscored", sum(not readable for _, readable in found) / len(found))
    return [reward for reward, _ in found]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    format_reward: float | None = None,
    **_: Any,
) -> dict[str, float]:
    """verl: the reward of one reply, with the same keys every time."""
    extra = _format_reward() if format_reward is None else float(format_reward)
    reward, readable = paid(solution_str, Truth.of(ground_truth), extra)
    return {"score": reward, "correct": float(reward > 0), "unscored": float(not readable)}


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """OpenRLHF: `queries` are prompts with their replies, as the tokenizer decodes them.

    OpenRLHF logs what a reward function raises as information and goes on without a reward, so it
    is logged as an error here too.
    """
    import torch

    try:
        extra = _format_reward()
        found = [
            paid(_reply(query, prompt), Truth.of(label), extra)
            for query, prompt, label in zip(queries, prompts, labels, strict=True)
        ]
    except (ConfigError, DataError) as error:
        log.error("OpenRLHF goes on without a reward for this: %s", error)
        raise
    rewards = torch.tensor([reward for reward, _ in found])
    unscored = torch.tensor([float(not readable) for _, readable in found])
    return {
        "rewards": rewards,
        "scores": (rewards > 0).float(),  # what its dynamic filter takes for accuracy
        "extra_logs": {"unscored": unscored},
    }


def _reply(query: str, prompt: str) -> str:
    if not query.startswith(prompt):
        raise DataError(
            f"telling a reply from its prompt: the query begins {query[:60]!r}, expected the "
            f"prompt {prompt[:60]!r}; OpenRLHF cut a prompt that is too long (raise "
            "--data.max_len), or its tokenizer decodes it otherwise"
        )
    return query[len(prompt) :]


def _format_reward() -> float:
    text = os.environ.get(FORMAT_REWARD, "0")
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{FORMAT_REWARD} is {text!r}; expected a number, such as 0.1") from None
