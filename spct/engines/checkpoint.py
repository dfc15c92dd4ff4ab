"""What a transformers folder holds, read from its headers alone, before a library loads it.

A model folder is a stranger's. The libraries that load one believe its config.json, so a small file
can ask for terabytes of weights or for Python of its own, and a damaged file ends in an exception
of a class that nobody catches. So the folder is read here first, in bounded time and memory: what
passes is a model whose config matches the weights that are there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError
from spct.strict_json import NotStrictJSON, read_json

CONFIG, ADAPTER, WEIGHTS = "config.json", "adapter_config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 64 * 2**20  # bytes of a safetensors header; 100,000 tensors take about 12 MB
MAX_JSON = 16 * 2**20  # bytes of a config or an index
# What libraries call the layer that turns a hidden state into logits or a value.
HEADS = frozenset({"score", "classifier", "v_head", "value_head", "reward_head", "rm_head"})
# Ways of peft to begin an adapter that move a part of the base's weights into it, at random or by
# data: the base that it was trained on is nowhere.
REBASING = ("pissa_niter", "loftq", "lora_ga", "corda")
# Of one element, by the name of its type; there are others, of 4 bits and more.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
}
# A quantised model packs several weights into one element, so its files hold fewer elements than
# its config promises: 8 for 4 bits in an int32, with room to spare.
PACKED = 32
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
_NO_SIZE = re.compile("max|position|token|window|length|theta|seed|step")  # may be any number


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder's config (or adapter's config) and the shape of each tensor by its name."""

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """The class that the config names first; "" where it names none."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    @property
    def n_elements(self) -> int:
        """Elements of all tensors together."""
        return sum(map(math.prod, self.shapes.values()))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a model's folder; `ConfigError` for what is damaged, hostile or not there."""
    _check_one_model(folder)
    found = Checkpoint(read_object(folder / CONFIG), shapes_in(folder))
    check_no_code(folder, found.config)
    _check_sizes(folder, found)
    return found


def read_adapter(folder: Path) -> Checkpoint:
    """Read a LoRA adapter's folder."""
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        lacks = f"{path.name} is missing" if folder.is_dir() else "there is no such folder"
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: {lacks}; expected a folder as peft's "
            "save_pretrained writes it (pickled adapters are refused)"
        )
    found = Checkpoint(read_object(folder / ADAPTER), shapes_of(path))
    check_no_code(folder, found.config)
    _check_one_model(folder)
    _check_base(folder, found.config)
    rank = found.config.get("r")
    if isinstance(rank, int) and rank > found.n_elements:
        raise _too_big(folder, f"r = {rank}", found.n_elements)
    return found


def _check_one_model(folder: Path) -> None:
    """Refuse whole weights beside an adapter: which of the two is meant, the loaders guess."""
    whole = [path.name for path in (folder / WEIGHTS, folder / INDEX) if path.is_file()]
    if whole and (folder / ADAPTER).is_file():
        raise ConfigError(
            f"loading {str(folder)!r}: it holds whole weights ({whole[0]}) and an adapter "
            f"({ADAPTER}), and only one can be the model; move one of them to a folder of its own"
        )


def _check_base(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse an adapter whose product belongs to another base than the one that would be loaded."""
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(REBASING):
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: it was trained with init_lora_weights = "
            f"{start!r}, which changes its base in a way that cannot be done again; convert it "
            "where it was trained (peft: path_initial_model_for_weight_conversion), or merge it"
        )
    revision, base = config.get("revision"), str(config.get("base_model_name_or_path"))
    if revision not in (None, "main") and not Path(base).is_dir():
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: its base is the revision {revision!r} of "
            f"{base!r}; fetch that (hf download --revision), and set base_model_name_or_path to "
            "its folder"
        )


def heads_in(names: Iterable[str]) -> list[str]:
    """The heads that weights belong to, such as `score` or `v_head`."""
    return sorted({part for name in names for part in name.split(".") if part in HEADS})


def check_model(model: str) -> None:
    """Refuse a folder that must not be loaded at all; the name of a model on the hub passes."""
    folder = Path(model).expanduser()
    if (folder / ADAPTER).is_file():
        read_adapter(folder)
    elif folder.is_dir():
        read_checkpoint(folder)


def check_language_model(folder: Path) -> None:
    """Refuse what transformers would load as a language model with a head of random weights."""
    found = read_checkpoint(folder)
    if "Classification" in found.architecture:
        raise ConfigError(
            f"loading {str(folder)!r}: it is a classifier ({found.architecture}), not a language "
            "model, so it writes no judgements; name it as the reward model itself (spct bench, "
            "compare, serve) or as [scorer] folder in a TOML file"
        )
    if heads := heads_in(found.shapes):
        raise ConfigError(
            f"loading {str(folder)!r}: its weights hold a head ({', '.join(heads)}), but its "
            f"config.json calls it a language model ({found.architecture}); for a classifier of "
            "one logit set architectures to its ForSequenceClassification class; a value head "
            "(v_head) of an RL trainer is not a reward model"
        )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise ConfigError(
                f"reading {str(path)!r}: it has {path.stat().st_size:,} bytes, expected at most "
                f"{MAX_JSON:,}; it is not a model's configuration"
            )
        data = read_json(path.read_bytes())
    except (OSError, NotStrictJSON) as error:
        raise ConfigError(f"reading {str(path)!r}: {error}; expected a JSON object") from error
    if not isinstance(data, dict):
        raise ConfigError(f"reading {str(path)!r}: got {data!r:.80}, expected a JSON object")
    return data


def check_no_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder that brings Python of its own, by what its configs say of it."""
    tokenizer = folder / "tokenizer_config.json"
    several = [config, read_object(tokenizer)] if tokenizer.is_file() else [config]
    for one in several:
        if one.get("auto_map") or one.get("custom_pipelines"):
            raise ConfigError(
                f"loading {str(folder)!r}: its configuration names code of its own (auto_map), "
                "which spct does not run; use a model of an architecture that transformers has, "
                "or serve this one with an endpoint and name that with --base-url"
            )


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a folder's safetensors files."""
    files = list(_weight_files(folder))
    if not files:
        found = sorted(path.name for path in folder.iterdir())[:8]
        raise ConfigError(
            f"loading {str(folder)!r}: it holds no safetensors weights (pickled weights are "
            f"refused); got {found!r}"
        )
    return {name: shape for file in files for name, shape in shapes_of(file).items()}


def _weight_files(folder: Path) -> Iterator[Path]:
    if not (folder / INDEX).is_file():
        yield from sorted(folder.glob("*.safetensors"))
        return
    named = read_object(folder / INDEX).get("weight_map")
    if not isinstance(named, dict):
        raise ConfigError(f"reading {str(folder / INDEX)!r}: it has no weight_map")
    for name in sorted(set(map(str, named.values()))):
        # transformers joins the name to the folder, so `../other/model.safetensors` would load
        if Path(name).name != name or not (folder / name).is_file():
            raise ConfigError(
                f"reading {str(folder / INDEX)!r}: it names the weights {name!r}, which are not a "
                "file of this folder; fetch the model again"
            )
        yield folder / name


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in one safetensors file, whose header must match its size."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise _damaged(path, f"its header claims {length:,} bytes, the file has {size:,}")
            header = read_json(file.read(length))
    except OSError as error:
        raise _damaged(path, str(error)) from error
    except NotStrictJSON as error:
        raise _damaged(path, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    shapes, end = {}, 0
    for name, tensor in header.items():
        try:
            shape = tuple(tensor["shape"])
            first, last = tensor["data_offsets"]
            is_sound = all(type(n) is int and n >= 0 for n in (*shape, first, last))
            bits = BITS.get(tensor["dtype"], 4)  # 4: the least that one element takes
            if not is_sound or math.prod(shape) * bits > 8 * (last - first):
                raise ValueError
        except (TypeError, KeyError, ValueError):
            raise _damaged(path, f"the entry of {name[:80]!r} makes no sense") from None
        shapes[name], end = shape, max(end, last)
    described = 8 + length + end
    if described != size:
        raise _damaged(path, f"it has {size:,} bytes, and its header describes {described:,}")
    return shapes


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"reading the weights {str(path)!r}: {why}; the file is damaged or its download broke off: "
        "fetch it again"
    )


def _check_sizes(folder: Path, found: Checkpoint) -> None:
    """Refuse a config that promises far more weights than the files hold.

    A library allocates what the config says before it looks at the weights.
    """
    text = found.config.get("text_config")
    config = text if isinstance(text, dict) else found.config
    sizes = {key: value for key, value in config.items() if type(value) is int}
    for key, value in sizes.items():
        if value < 1 and key in (*_LAYERS, *_WIDTHS, "vocab_size", "intermediate_size"):
            raise ConfigError(
                f"reading {str(folder / CONFIG)!r}: {key} is {value}, expected at least 1; fetch "
                "the model again"
            )
        if value > found.n_elements and not _NO_SIZE.search(key):
            raise _too_big(folder, f"{key} = {value}", found.n_elements)
    layers = max((sizes[key] for key in _LAYERS if key in sizes), default=0)
    if layers > len(found.shapes):  # each layer has at least one tensor
        raise _too_big(folder, f"num_hidden_layers = {layers}", found.n_elements)
    width = max((sizes[key] for key in _WIDTHS if key in sizes), default=0)
    promised = {
        "hidden_size": layers * width * width,
        "intermediate_size": layers * width * sizes.get("intermediate_size", 0),
        "vocab_size": width * sizes.get("vocab_size", 0),
    }
    for key, n in promised.items():
        if n > PACKED * found.n_elements + 2**20:
            raise _too_big(folder, f"{key} = {sizes.get(key, width)}", found.n_elements)


def _too_big(folder: Path, setting: str, n_elements: int) -> ConfigError:
    return ConfigError(
        f"loading {str(folder)!r}: its configuration says {setting}, and its weights hold only "
        f"{n_elements:,} numbers; config and weights do not belong together, fetch the model again"
    )
