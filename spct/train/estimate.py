"""What a training run needs, before it is paid for: memory of one GPU, and hours.

Parameters are counted on the model's own architecture, built on the meta device (no weights, no
memory). The rest is arithmetic with stated constants, so read it as +-30%: mixed precision holds
16 bytes a trained parameter (bf16 weights and gradients, float32 master weights and two Adam
moments), all of it sharded over the GPUs; activations are those of gradient checkpointing; time is
floating-point work at a stated share of the peak. Generation in RL reads weights rather than
computes, so its share is much lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spct.errors import ConfigError, ExtraMissing
from spct.train.config import Optimisation, RlConfig

TRAINED_BYTES = 16
FROZEN_BYTES = 2
GIB = 2**30
TRAIN_SHARE = 0.40  # of the peak, forward and backward
DECODE_SHARE = 0.08  # of the peak, batched generation
OVERHEAD_GIB = 3.0  # CUDA context, buffers of collectives, fragmentation


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the arithmetic needs of a model."""

    parameters: int
    lora_parameters: int
    layers: int
    hidden: int
    vocabulary: int
    kv_bytes_a_token: int


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one stage on `n_gpus` GPUs."""

    stage: Literal["tune", "rl"]
    weights_gib: float
    activations_gib: float
    generation_gib: float
    hours: float

    @property
    def gib_a_gpu(self) -> float:
        """All of it, with a margin for the runtime."""
        return self.weights_gib + self.activations_gib + self.generation_gib + OVERHEAD_GIB


def architecture(config_file: Path, lora_rank: int = 0, skip_layers: int = 0) -> Architecture:
    """Build the model of a transformers config.json on the meta device and count.

    Adapters sit on every linear layer above the lowest `skip_layers` blocks, as in training.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    if not config_file.is_file():
        raise ConfigError(f"estimating from {config_file}: no such file; expected a config.json")
    config = AutoConfig.from_pretrained(str(config_file), trust_remote_code=False)
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model = build(config)
    skipped = {f"layers.{i}." for i in range(skip_layers)}
    linears = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and "lm_head" not in name
        and not any(f".{part}" in f".{name}" for part in skipped)
    ]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Architecture(
        parameters=sum(p.numel() for p in model.parameters()),
        lora_parameters=sum(lora_rank * (m.in_features + m.out_features) for m in linears),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        kv_bytes_a_token=2 * config.num_hidden_layers * heads * size * FROZEN_BYTES,
    )


def needs(
    a: Architecture, config: Optimisation, *, n_gpus: int, peak_tflops: float, mean_tokens: int
) -> Needs:
    """Memory of each GPU and hours for one stage; `mean_tokens` is prompt and completion."""
    reinforced = isinstance(config, RlConfig)
    has_reference = isinstance(config, RlConfig) and config.beta > 0
    trained = a.lora_parameters if config.lora_rank else a.parameters
    frozen = a.parameters if config.lora_rank else 0
    # a full RL run holds the reference too; with LoRA the reference is the frozen base
    reference = a.parameters if has_reference and not config.lora_rank else 0
    weights = (TRAINED_BYTES * trained + FROZEN_BYTES * (frozen + reference)) / n_gpus
    tokens = config.micro_batch_size * config.max_length
    kept = tokens * a.layers * a.hidden * FROZEN_BYTES  # one checkpoint a layer
    layer = tokens * a.hidden * 34 * FROZEN_BYTES  # what one layer holds while it is recomputed
    logits = tokens * a.vocabulary * 4 * 2  # float32, with its gradient
    generation = tokens * a.kv_bytes_a_token if reinforced else 0
    return Needs(
        "rl" if reinforced else "tune",
        weights / GIB,
        (kept + layer + logits) / GIB,
        generation / GIB,
        _hours(a, config, n_gpus, peak_tflops, mean_tokens),
    )


def _hours(
    a: Architecture, config: Optimisation, n_gpus: int, peak_tflops: float, mean_tokens: int
) -> float:
    tokens = float(config.batch_size * mean_tokens)
    passes = 6 + 2 * config.gradient_checkpointing  # 2 forward, 4 backward, 2 recomputed
    passes -= 2 * (config.lora_rank > 0)  # no gradient of the frozen weights
    train = passes * a.parameters * tokens
    seconds = train / (n_gpus * peak_tflops * 1e12 * TRAIN_SHARE)
    if isinstance(config, RlConfig):
        reference = 2 * a.parameters * tokens / (n_gpus * peak_tflops * 1e12 * TRAIN_SHARE)
        written = config.batch_size * min(config.max_completion_tokens, mean_tokens)
        decode = 2 * a.parameters * written / (n_gpus * peak_tflops * 1e12 * DECODE_SHARE)
        seconds += reference + decode
    return seconds * config.max_steps / 3600
