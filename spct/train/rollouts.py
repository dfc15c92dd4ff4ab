"""Rollouts by our own sampler where GRPO runs on a CPU.

transformers' `generate` carries every row to the length of the longest one and copies its cache at
each token; a judgement of two responses is a third as long as one of five, so on a CPU most of that
work is thrown away. The engines' decoder drops the finished rows. TRL takes a rollout function in
place of its own sampling; everything after it (rewards, advantages, loss) stays TRL's.

Under mixed precision the rollouts come from a bfloat16 twin of the policy, refreshed at every step,
as they do where TRL samples with vLLM.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spct.engines.ends import end_ids
from spct.engines.hf_load import cast_weights
from spct.train.config import RlConfig
from spct.train.fitting import encode
from spct.types import SamplingParams

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rollout = Callable[[list[Any], Any], dict[str, list[Any] | None]]
SILENCE = "TRL_EXPERIMENTAL_SILENCE"  # else TRL warns of its rollout function at every start


def local_rollouts(tokenizer: PreTrainedTokenizerBase, config: RlConfig) -> Rollout | None:
    """TRL's rollout function over our decoder; None where TRL samples by itself."""
    import torch

    from spct.engines.hf_decode import Row, decode

    if not config.use_cpu or config.vllm_server:
        return None
    os.environ.setdefault(SILENCE, "1")
    params = SamplingParams(temperature=config.temperature, max_tokens=config.max_completion_tokens)
    twin: PreTrainedModel | None = None

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, list[Any] | None]:
        nonlocal twin
        ids = [encode(tokenizer, p, add_generation_prompt=True)["input_ids"] for p in prompts]
        policy = trainer.accelerator.unwrap_model(trainer.model)
        if twin is None:
            twin = sampling_twin(policy, torch.bfloat16 if config.bf16 else torch.float32)
        refresh(twin, policy)
        seeds = torch.randint(2**62, (len(prompts),)).tolist()  # the trainer's own random state
        rows = [Row.of(prompt, params, seed) for prompt, seed in zip(ids, seeds, strict=True)]
        decode(twin, rows, end_ids(tokenizer, twin.generation_config))
        return {"prompt_ids": ids, "completion_ids": [row.ids for row in rows], "logprobs": None}

    return rollout


def sampling_twin(policy: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy of the policy to sample from, without what trainers wrap around its forward."""
    twin = copy.deepcopy(policy)
    for module in twin.modules():
        module.__dict__.pop("forward", None)  # bound to the policy's weights
    twin.requires_grad_(False)
    cast_weights(twin, dtype)
    twin.train(False)
    return twin


def refresh(twin: PreTrainedModel, policy: PreTrainedModel) -> None:
    """Copy the policy's weights of now into its twin."""
    import torch

    with torch.no_grad():
        for mine, theirs in zip(twin.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs)
