"""What a training run needs, before it is paid for: memory of one GPU, and hours.

Parameters are counted on the model's own architecture, built on the meta device (no weights, no
memory). The rest is arithmetic with stated constants, so read it as +-30%: mixed precision holds
16 bytes a trained parameter (bf16 weights and gradients, float32 master weights and two Adam
moments), all of it sharded over the GPUs; time is floating-point work at a stated share of the
peak. Generation in RL reads weights rather than computes, so its share is much lower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError, ExtraMissing, did_you_mean
from spct.train.config import (
    DecisionConfig,
    HeadConfig,
    MetaConfig,
    Optimisation,
    RlConfig,
    ScalarConfig,
)

MOMENT_BYTES = 12  # float32 master weights and two Adam moments of a trained parameter
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
class Device:
    """An accelerator as its maker's data sheet has it: GiB, and dense bf16 in TFLOP/s."""

    name: str
    gib: float
    tflops: float


DEVICES: Mapping[str, Device] = {
    d.name: d
    for d in (
        Device("L4", 22, 121),
        Device("RTX4090", 24, 165),
        Device("RTX5090", 32, 210),
        Device("L40S", 45, 362),
        Device("A100", 80, 312),
        Device("H100", 80, 989),
        Device("H200", 141, 989),
        Device("B200", 180, 2250),
    )
}


def devices_named(text: str) -> tuple[int, Device]:
    """`8xH100` or `H100`: how many, and which."""
    found = re.fullmatch(r"(?:(\d+)\s*[x*]\s*)?(\w+)", text.strip())
    name = found[2].upper() if found else text
    if found is None or name not in DEVICES or found[1] == "0":
        raise ConfigError(
            f"--on {text!r}: expected a number and a device, such as 8xH100"
            f"{did_you_mean(name, DEVICES)} (there are {', '.join(DEVICES)})"
        )
    return int(found[1] or 1), DEVICES[name]


@dataclass(frozen=True, slots=True)
class Needs:
    """GiB of one GPU by part; weights, gradients and optimizer are sharded over all GPUs."""

    weights: float
    gradients: float
    optimizer: float
    reference: float
    activations: float
    logits: float
    generation: float
    runtime: float = OVERHEAD_GIB

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(asdict(self).values()))


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
    try:
        config = AutoConfig.from_pretrained(str(config_file), trust_remote_code=False)
    except Exception as error:  # an unknown architecture, a key of another type: classes of its own
        raise ConfigError(
            f"estimating from {str(config_file)!r}: {error!s:.300}; expected the config.json of an "
            "architecture that transformers has"
        ) from error
    config = config.get_text_config()
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
    # linear attention keeps one state a sequence, not one a token
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    caching = sum(kind != "linear_attention" for kind in kinds)
    return Architecture(
        parameters=sum(p.numel() for p in model.parameters()),
        lora_parameters=sum(lora_rank * (m.in_features + m.out_features) for m in linears),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        kv_bytes_a_token=2 * caching * heads * size * FROZEN_BYTES,
    )


def is_frozen(config: Optimisation) -> bool:
    """Whether the backbone stays as it is and is read once."""
    return isinstance(config, HeadConfig) and config.frozen


def tokens_at_once(config: Optimisation) -> int:
    """The most tokens that a process holds at once."""
    longest = config.row_tokens if isinstance(config, DecisionConfig) else config.max_length
    return config.micro_batch_size * longest * sequences(config)


def sequences(config: Optimisation) -> int:
    """Sequences of what a batch counts: a pair of a pointwise head is two."""
    return 2 if isinstance(config, ScalarConfig) else 1


def needs(a: Architecture, config: Optimisation, n_gpus: int) -> Needs:
    """Memory of each of `n_gpus` GPUs for one stage."""
    reinforced = isinstance(config, RlConfig)
    trained = a.lora_parameters if config.lora_rank else a.parameters
    frozen = a.parameters if config.lora_rank else 0
    if is_frozen(config):
        trained, frozen = 0, a.parameters
    # a full RL run holds the reference too; with LoRA the reference is the frozen base
    has_reference = isinstance(config, RlConfig) and config.beta > 0 and not config.lora_rank
    tokens = tokens_at_once(config)
    a_layer = tokens * a.hidden * 34  # bytes that one layer keeps for its backward pass
    kept = tokens * a.layers * a.hidden * FROZEN_BYTES + a_layer  # one checkpoint a layer
    sharded, each = GIB * n_gpus, GIB
    return Needs(
        weights=FROZEN_BYTES * (trained + frozen) / sharded,
        gradients=FROZEN_BYTES * trained / sharded,
        optimizer=MOMENT_BYTES * trained / sharded,
        reference=FROZEN_BYTES * a.parameters * has_reference / sharded,
        activations=(
            a_layer
            if is_frozen(config)
            else kept
            if config.gradient_checkpointing
            else a_layer * a.layers
        )
        / each,
        # float32, with its gradient; a head has one logit, a readout those of its labels
        logits=0.0
        if isinstance(config, MetaConfig | HeadConfig | DecisionConfig)
        else tokens * a.vocabulary * 8 / each,
        generation=tokens * a.kv_bytes_a_token * reinforced / each,
    )


def fits(need: Needs, device: Device) -> bool:
    """Whether a GPU holds it, with a twelfth left for what moves."""
    return need.total <= device.gib * 11 / 12


def disk_gib(a: Architecture, config: Optimisation) -> dict[str, float]:
    """GiB that a stage writes: the model, and its checkpoints (two, a third while it is new)."""
    trained = a.lora_parameters if config.lora_rank else a.parameters
    return {"model": 4 * trained / GIB, "checkpoints": 3 * 12 * trained / GIB}


def hours(
    a: Architecture, config: Optimisation, *, n_gpus: int, peak_tflops: float, mean_tokens: float
) -> float:
    """Hours of all steps; `mean_tokens` is prompt and completion."""
    tokens = float(config.batch_size * mean_tokens * sequences(config))
    passes = 6 + 2 * config.gradient_checkpointing  # 2 forward, 4 backward, 2 recomputed
    passes -= 2 * (config.lora_rank > 0)  # no gradient of the frozen weights
    passes = 2 if is_frozen(config) else passes
    train = passes * a.parameters * tokens
    seconds = train / (n_gpus * peak_tflops * 1e12 * TRAIN_SHARE)
    if isinstance(config, RlConfig):
        reference = (config.beta > 0) * 2 * train / passes
        reference /= n_gpus * peak_tflops * 1e12 * TRAIN_SHARE
        written = config.batch_size * min(config.max_completion_tokens, mean_tokens)
        decode = 2 * a.parameters * written / (n_gpus * peak_tflops * 1e12 * DECODE_SHARE)
        seconds += reference + decode
    return seconds * config.max_steps / 3600
