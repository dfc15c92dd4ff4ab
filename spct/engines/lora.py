"""Finds a LoRA adapter on disk, as peft writes it, and computes what it adds to a GGUF model.

Neither embedded engine applies peft's files to a GGUF model (openvino-genai finds no layer of the
same name, llama.cpp wants another format), so their product is added to the F16 copy instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.engines.checkpoint import ADAPTER, read_adapter
from spct.errors import ConfigError, DataError, ExtraMissing

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from numpy.typing import NDArray
    from peft import PeftModel

WEIGHTS = "adapter_model.safetensors"
# Settings of peft that change more than the factor of the product, or which layers it is for.
UNPLAIN = (
    *("alpha_pattern", "rank_pattern", "use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"),
    *("modules_to_save", "layer_replication", "trainable_token_indices", "corda_config"),
)
# Begun so, an adapter took a part of the base's weights along, which peft takes off when it loads.
REBASED = ("pissa", "olora")


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter's weights and the factor by which their product is scaled."""

    path: Path
    scale: float
    config: Mapping[str, Any]


def find_lora(path: str | Path) -> Lora:
    """Return the adapter in a folder written by peft, or in the .safetensors file of one."""
    given = Path(path).expanduser()
    folder = given.parent if given.is_file() else given
    if not folder.is_dir() or (given.is_file() and given.name != WEIGHTS):
        raise ConfigError(
            f"the adapter {str(given)!r} has no safetensors weights; expected a folder with "
            f"{WEIGHTS} and {ADAPTER}, as peft's save_pretrained writes it"
        )
    adapter = read_adapter(folder)
    rank, alpha = (adapter.config.get(name) for name in ("r", "lora_alpha"))
    if type(rank) is not int or rank < 1 or not isinstance(alpha, (int, float)):
        raise DataError(
            f"reading the adapter {str(given)!r}: r is {rank!r:.40} and lora_alpha {alpha!r:.40} "
            f"in its {ADAPTER}; expected the numbers that peft writes there"
        )
    scale = alpha / (rank**0.5 if adapter.config.get("use_rslora") else rank)
    return Lora(folder / WEIGHTS, scale, adapter.config)


def check_is_plain(lora: Lora) -> None:
    """Refuse what only peft applies: the product of the two matrices would be another model."""
    start = str(lora.config.get("init_lora_weights")).lower()
    rebased = ("init_lora_weights",) if start.startswith(REBASED) else ()
    for name in (*UNPLAIN, *rebased):
        if lora.config.get(name):
            raise ConfigError(
                f"the adapter {str(lora.path.parent)!r} sets {name} = {lora.config[name]!r:.80}, "
                "which cannot be applied here; merge it into its base (spct export-model) or use "
                "the hf engine"
            )


def gguf_deltas(lora: Lora, reader: GGUFReader) -> dict[str, NDArray[np.float32]]:
    """Return what the adapter adds to each tensor of a GGUF model, by the tensor's name."""
    import gguf

    check_is_plain(lora)
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ExtraMissing("safetensors", "embedded") from error
    arch = _value(reader, gguf.Keys.General.ARCHITECTURE)
    kinds = [kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == arch]
    n_blocks = int(_value(reader, f"{arch}.block_count"))
    names = gguf.get_tensor_name_map(kinds[0], n_blocks)
    try:
        tensors = load_file(lora.path)
    except Exception as error:  # the library raises its own kind for a damaged file
        raise DataError(f"reading the adapter {str(lora.path)!r}: {error}") from error
    shapes = {tensor.name: tuple(map(int, reversed(tensor.shape))) for tensor in reader.tensors}
    deltas: dict[str, NDArray[np.float32]] = {}
    for key in tensors:
        module, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        name = names.get_name(module) if module else None
        if name is None or part not in ("A.weight", "B.weight"):
            raise DataError(
                f"the adapter {str(lora.path)!r} has the tensor {key!r}, which has no place in a "
                f"GGUF model of architecture {arch!r}; merge it with peft and use the hf engine"
            )
        if part == "B.weight":
            down = tensors[key.replace("lora_B", "lora_A")].astype("float32")
            delta = lora.scale * (tensors[key].astype("float32") @ down)
            if delta.shape != shapes.get(f"{name}.weight"):
                raise DataError(
                    f"the adapter {str(lora.path)!r} changes {key!r} by a matrix of {delta.shape}, "
                    f"where the model has {shapes.get(f'{name}.weight')}; it belongs to another "
                    "base model: name that with --model, or leave the adapter out"
                )
            deltas[f"{name}.weight"] = _as_stored(delta, name, arch, reader)
    return deltas


def _as_stored(
    delta: NDArray[np.float32], name: str, arch: str, reader: GGUFReader
) -> NDArray[np.float32]:
    """Bring the rows into GGUF's order: Llama's query and key heads are stored interleaved."""
    if arch != "llama" or not name.endswith(("attn_q", "attn_k")):
        return delta
    suffix = "head_count" if name.endswith("attn_q") else "head_count_kv"
    n_heads = int(_value(reader, f"{arch}.attention.{suffix}"))
    n_rows, n_columns = delta.shape
    split = delta.reshape(n_heads, 2, n_rows // n_heads // 2, n_columns)
    return split.swapaxes(1, 2).reshape(n_rows, n_columns)


def _value(reader: GGUFReader, key: str) -> str:
    field = reader.get_field(key)
    if field is None:
        raise DataError(f"the GGUF file does not state {key!r}; fetch it again")
    return str(field.contents())


def check_applied(model: PeftModel, folder: Path) -> None:
    """Raise `DataError` unless the model took every tensor of the adapter and needs no other.

    peft leaves out what has no place and starts afresh what is missing, without a word. (An adapter
    of a shallower base of the same width cannot be told from one that skips the upper layers.)
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "numpy") as file:
        held = {name for name in file.keys() if ".lora_" in name}  # noqa: SIM118 (no dict)
    used = {name for name in get_peft_model_state_dict(model) if ".lora_" in name}
    if held != used:
        raise DataError(
            f"the adapter {str(folder)!r} belongs to another base model: {len(held - used)} of its "
            f"{len(held)} tensors have no place in this one, {len(used - held)} places have none"
        )
