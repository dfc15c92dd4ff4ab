"""Load a one-logit head on a backbone, and refuse what has no trained head.

transformers loads a causal LM as a sequence classifier without complaint and invents the head's
weights; such a model gives plausible numbers that mean nothing. So the keys that were missing from
the files are looked at, not the warning. Weights come from safetensors only.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spct.errors import ConfigError, ExtraMissing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ADAPTER = "adapter_config.json"
HEADS = ("score", "classifier", "v_head")
NO_HEAD = (
    "loading the scorer: the model {folder!r} has no trained head: {why}; expected a sequence "
    "classifier of one logit, such as what `spct train bradley-terry` writes; a plain language "
    "model cannot score"
)


def load_head(folder: Path, *, device: str, dtype: torch.dtype | None) -> PreTrainedModel:
    """The model in evaluation mode on `device`; an adapter is merged into its base."""
    try:
        import torch
    except ImportError as error:
        raise ExtraMissing("torch", "hf") from error
    dtype = dtype or (torch.float32 if device == "cpu" else None)
    adapter = read_json(folder / ADAPTER) if (folder / ADAPTER).is_file() else None
    if adapter is None:
        model = _load(folder, device, dtype, head_from_here=True)
    else:
        model = _load_adapter(folder, adapter, device, dtype)
    model.train(False)
    return model


def new_head(model: str, *, seed: int, layers: int | None = None) -> PreTrainedModel:
    """A backbone with a head of fresh weights drawn under `seed`: where training begins.

    An already trained head of one logit is kept, so training can go on from a scalar model.
    `layers` keeps that many of the backbone's first layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(model, num_labels=1)
    if layers is not None:
        _keep_layers(config, layers)
    torch.manual_seed(seed)
    with _quietly():
        head = AutoModelForSequenceClassification.from_pretrained(
            model, config=config, dtype=torch.float32, use_safetensors=True
        )
    return cast("PreTrainedModel", head)


def _keep_layers(config: Any, layers: int) -> None:
    """Make the config that of the backbone's first layers; from_pretrained loads no more."""
    text = config.get_text_config()
    if layers > text.num_hidden_layers:
        raise ConfigError(
            f"layer = {layers}: the backbone has {text.num_hidden_layers} layers; expected at most "
            "that many"
        )
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]


def _load(
    folder: Path | str,
    device: str,
    dtype: torch.dtype | None,
    *,
    head_from_here: bool,
    config_of: Path | str | None = None,
) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(str(config_of or folder))
        if head_from_here:
            _check_labels(str(folder), config)
        config.num_labels = 1
        with _quietly():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype or "auto",
                use_safetensors=True,
                output_loading_info=True,
            )
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"loading the scorer {str(folder)!r}: {error}; expected a folder with config.json and "
            "safetensors weights (pickled weights are refused)"
        ) from error
    if head_from_here and (missing := sorted(info["missing_keys"])):
        raise _untrained(folder, f"the files lack {', '.join(missing[:4])}")
    return cast("PreTrainedModel", model.to(device))


def _load_adapter(
    folder: Path, adapter: dict[str, Any], device: str, dtype: torch.dtype | None
) -> PreTrainedModel:
    try:
        from peft import PeftModel
        from safetensors import safe_open
    except ImportError as error:
        raise ExtraMissing("peft", "train") from error
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: adapter_model.safetensors is missing; pickled "
            "adapters are refused"
        )
    with safe_open(weights, framework="pt") as tensors:
        if not has_head(tensors.keys()):
            raise _untrained(folder, "the adapter holds no head weights (modules_to_save)")
    base = _load(
        str(adapter["base_model_name_or_path"]),
        device,
        dtype,
        head_from_here=False,
        # a head on fewer layers than its base has keeps a config.json of its own
        config_of=folder if (folder / "config.json").is_file() else None,
    )
    merged = PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    return cast("PreTrainedModel", merged.to(device))


def has_head(names: Iterable[str]) -> bool:
    """Whether any weight belongs to a head."""
    return any(part in HEADS for name in names for part in name.split("."))


def head_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights of the head, by name."""
    return {n: p.detach() for n, p in model.named_parameters() if has_head([n])}


def weights_digest(model: PreTrainedModel) -> str:
    """A digest of config and head: every training run changes the head, so this names a model."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, weight in sorted(head_weights(model).items()):
        digest.update(name.encode() + weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"reading {str(path)!r}: {error}; expected a JSON object") from error
    if not isinstance(data, dict):
        raise ConfigError(f"reading {str(path)!r}: got {data!r}, expected a JSON object")
    return data


def _check_labels(folder: str, config: Any) -> None:
    architecture = (config.architectures or ["nothing"])[0]
    if "ForSequenceClassification" not in architecture:
        raise _untrained(folder, f"its config.json names {architecture}")
    if config.num_labels != 1:
        raise ConfigError(
            f"loading the scorer {folder!r}: its head has {config.num_labels} logits, expected 1; "
            "a classifier of several classes is no reward model"
        )


def _untrained(folder: Path | str, why: str) -> ConfigError:
    return ConfigError(NO_HEAD.format(folder=str(folder), why=why))


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence transformers' load report and bar: what they say is checked here, or meant."""
    from transformers.utils import logging as transformers_logging

    log = logging.getLogger("transformers")
    level, had_bar = log.level, transformers_logging.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        log.setLevel(level)
        if had_bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
