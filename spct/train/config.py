"""Settings of the training stages: one frozen model per entry point, unknown keys refused.

The defaults are the paper's where it states one; docs/training.md lists what it leaves open and
what is chosen here. A field's description says what moving it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from spct.settings import Settings, read_toml, validated


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere it is emulated, very slowly."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Optimisation(Settings):
    """What every training stage hands to its trainer."""

    learning_rate: float = Field(5e-6, gt=0, description="Peak rate of AdamW.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "cosine", description="Decay after the warm-up; the paper does not state its own."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the rate rises.")
    batch_size: Positive = Field(
        1024, description="Sequences (rollouts in RL) per optimizer step, over all processes."
    )
    micro_batch_size: Positive = Field(
        8, description="Sequences that a process holds at once; lower it when memory runs out."
    )
    max_steps: Positive = Field(900, description="Optimizer steps.")
    max_length: Positive = Field(
        4096, description="Tokens of prompt and completion; longer rows are skipped and counted."
    )
    lora_rank: int = Field(0, ge=0, description="Rank of LoRA adapters; 0 trains all weights.")
    lora_skip_layers: int = Field(
        0, ge=0, description="Lowest layers without an adapter: no gradient goes back that far."
    )
    bf16: bool = Field(
        False, description="Mixed precision; on a CPU only where bfloat16 is native (avx512_bf16)."
    )
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = Field(
        None,
        description="Attention kernel; None: the model's own. On a CPU with bf16, eager is faster.",
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for about 30% more time.")
    save_steps: Positive = Field(100, description="Steps between checkpoints to resume from.")
    log_steps: Positive = Field(10, description="Steps between log lines.")
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        (), description="Trackers to log to, beside metrics.jsonl."
    )
    use_cpu: bool = Field(False, description="Train on CPU even where an accelerator is present.")
    seed: int = Field(0, description="Seed of data order, rollouts and initialisation.")


class RftDataConfig(Settings):
    """`spct data rft`: which trajectories become training rows."""

    n_samples: int = Field(
        3, ge=0, description="Non-hinted samples per example (the paper's N_RFT)."
    )
    hinted: bool = Field(True, description="One more sample that is told the best response.")
    non_hinted: bool = Field(
        True, description="Keep non-hinted trajectories (an ablation's switch)."
    )
    temperature: float = Field(
        0.7, ge=0, description="Of the trajectory sampler; higher gives more variety, more rejects."
    )
    max_tokens: Positive = Field(1024, description="Limit of one judgement.")
    max_kept_per_example: Positive = Field(
        4, description="Most trajectories kept of one example, so that no example dominates."
    )
    general_ratio: float = Field(
        0.0, ge=0, description="General instruction rows mixed in, per judgement row."
    )
    concurrency: Positive = Field(
        64, description="Examples in flight; raise it to fill the engine."
    )
    seed: int = Field(0, description="Seed of orders and samples.")


class SftConfig(Optimisation):
    """`spct train rft`: supervised tuning on accepted trajectories (the paper's Table 5)."""


class RlConfig(Optimisation):
    """`spct train rl`: GRPO on the outcome rule."""

    learning_rate: float = Field(4e-7, gt=0, description="Peak rate of AdamW.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "constant", description="Decay after the warm-up; the paper does not state its own."
    )
    batch_size: Positive = Field(512, description="Rollouts per optimizer step of all processes.")
    group_size: int = Field(4, ge=2, description="Rollouts of one prompt (G).")
    # The paper's 0.08 is higher than today's habit (0 to 0.01): it holds the format together.
    beta: float = Field(
        0.08,
        ge=0,
        description="Weight of the KL to the reference; lower moves faster, less stably.",
    )
    epsilon: float = Field(0.2, gt=0, description="Clip of the policy ratio.")
    temperature: float = Field(1.0, gt=0, description="Of the rollouts.")
    max_completion_tokens: Positive = Field(1024, description="Limit of one rollout.")
    format_reward: float = Field(
        0.0,
        ge=0,
        description="Extra pay for a readable judgement; small models may need 0.1 or so.",
    )
    # The paper filters with another, smaller chat model; here the model being trained, unless
    # `spct data rft-filter` ran before.
    drop_easy: bool = Field(True, description="Leave out prompts that all their samples got right.")
    easy_samples: int = Field(3, ge=1, description="Samples that must all be right to be easy.")
    passes: Positive = Field(
        1, description="Times each example enters, in another order each time."
    )
    # A group whose rollouts all earn the same has no advantage and moves nothing.
    max_zero_variance: Share = Field(
        0.98,
        description="Stop when more groups than this share tie: there is nothing to learn from.",
    )
    dev_steps: int = Field(0, ge=0, description="Steps between dev evaluations; 0 evaluates never.")
    vllm_server: str | None = Field(
        None, description="Base URL of a TRL vLLM server for rollouts; None uses transformers."
    )


class MetaConfig(Optimisation):
    """`spct train meta`: a one-logit head with binary cross-entropy."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak rate of AdamW.")
    batch_size: Positive = Field(512, description="Trajectories per optimizer step.")
    # Judgements of a good model are mostly right; unweighted, the head says "right" to all.
    balance: bool = Field(True, description="Weigh the rarer class up to the commoner one's mass.")


class DecisionConfig(Optimisation):
    """`spct train decision`: a readout of option labels; the paper has none, so no rate either."""

    learning_rate: float = Field(4e-4, gt=0, description="Peak rate of AdamW (of the adapters).")
    batch_size: Positive = Field(16, description="Rows per optimizer step, over all processes.")
    row_tokens: Positive = Field(
        512, description="Tokens of a row: responses of one query, their beginning read once."
    )
    lora_rank: int = Field(16, ge=0, description="Rank of LoRA adapters; 0 trains all weights.")
    log_score: float = Field(
        0.3, ge=0, description="Weight of the labels' cross-entropy beside the pairs' loss."
    )
    cache_states: bool = Field(
        False, description="Keep the states below the adapters in a file: faster from pass two on."
    )
    compile_layers: bool = Field(
        False,
        description="Compile every layer first (about two minutes; on a CPU with the compiler that"
        " CXX names, or g++): a step then takes two thirds of its time.",
    )
    calibration: Share = Field(
        0.1, description="Share of the queries that temperatures are fitted on, not trained on."
    )


class HeadConfig(Optimisation):
    """`spct train bradley-terry | pairwise | cloud`; the paper states none of these rates."""

    # The paper states no rates for its scalar models.
    learning_rate: float = Field(1e-5, gt=0, description="Peak rate of AdamW.")
    batch_size: Positive = Field(512, description="Pairs per optimizer step, over all processes.")
    dev_steps: int = Field(
        0,
        ge=0,
        description="Steps between evaluations on the dev set; 0 evaluates at the end only.",
    )
    frozen: bool = Field(
        False,
        description="Keep the backbone, read every conversation once and fit the head to the end; "
        "rates and steps do not apply. For a CPU: a pair costs two forwards in all.",
    )
    layer: Positive | None = Field(
        None,
        description="With frozen: use this many of the backbone's first layers; None: all. Fewer "
        "are faster, and may judge better.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.frozen and self.lora_rank:
            raise ValueError(
                f"frozen = true goes without adapters, got lora_rank = {self.lora_rank}; set it to "
                "0, or frozen to false"
            )
        if self.layer is not None and not self.frozen:
            raise ValueError(f"layer = {self.layer} goes with frozen = true only")
        return self


class ScalarConfig(HeadConfig):
    """`spct train bradley-terry`."""

    use_margins: bool = Field(
        False, description="Ask for a gap of at least gold's difference, times margin_scale."
    )
    margin_scale: float = Field(1.0, gt=0, description="Logits per unit of gold's difference.")


class PairwiseConfig(HeadConfig):
    """`spct train pairwise`; a batch counts sequences, two per pair."""


class CloudConfig(Settings):
    """`spct train cloud`: the settings of its three steps."""

    critic: SftConfig = Field(SftConfig(), description="Step 1: the critic's tuning.")
    head: ScalarConfig = Field(ScalarConfig(), description="Step 3: the head's training.")
    n_critiques: Positive = Field(
        1, description="Own critiques per response; more vary the head's data."
    )
    temperature: float = Field(0.5, ge=0, description="Of the critiques, in step 2 and in use.")
    max_critique_tokens: Positive = Field(512, description="Limit of one; a cut one is left out.")
    concurrency: Positive = Field(16, description="Responses in flight in step 2.")
    seed: int = Field(0, description="Seed of the sampled critiques.")


S = TypeVar("S", bound=Settings)


def load_settings(path: Path, kind: type[S], table: str | None = None) -> S:
    """Read a TOML file (or one table of it) as settings; unknown keys are refused by name."""
    values = read_toml(path)
    return validated(kind, values if table is None else values.get(table, {}), str(path))
