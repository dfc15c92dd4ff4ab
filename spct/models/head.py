"""Load a one-logit head on a backbone, and refuse what has no trained head.

transformers loads a causal LM as a sequence classifier without complaint and invents the head's
weights; such a model gives plausible numbers that mean nothing. So the keys that were missing from
the files are looked at, not the warning. Weights come from safetensors only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spct.engines.checkpoint import (
    ADAPTER,
    CONFIG,
    HEADS,
    Checkpoint,
    heads_in,
    read_adapter,
    read_checkpoint,
)
from spct.engines.hf_load import is_adapter, quietly
from spct.engines.lora import check_applied
from spct.errors import ConfigError, ExtraMissing, SpctError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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
    if (folder / ADAPTER).is_file():
        model = _load_adapter(folder, device, dtype)
    else:
        checkpoint = read_checkpoint(folder)
        _check_head(folder, checkpoint)
        model = _load(folder, device, dtype, head_from_here=True)
    model.train(False)
    return model


def new_head(model: str, *, seed: int, layers: int | None = None) -> PreTrainedModel:
    """A backbone with a head of fresh weights drawn under `seed`: where training begins.

    An already trained head of one logit is kept, so training can go on from a scalar model.
    `layers` keeps that many of the backbone's first layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if is_adapter(model):
        raise ConfigError(
            f"a head on {model!r}: it is an adapter without its base; merge it first (spct train "
            "does, and spct.train.adapters.merged_folder)"
        )
    config = AutoConfig.from_pretrained(model, num_labels=1, trust_remote_code=False)
    if layers is not None:
        _keep_layers(config, layers)
    torch.manual_seed(seed)  # transformers draws the head's weights from the global generator
    with quietly():
        head = AutoModelForSequenceClassification.from_pretrained(
            model,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
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
        config = AutoConfig.from_pretrained(str(config_of or folder), trust_remote_code=False)
        # the base of an adapter says nothing of labels, and transformers would guess 2
        config.num_labels = 1
        with quietly():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype or "auto",
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
    # safetensors, tokenizers and torch raise classes of their own for what they cannot read
    except Exception as error:
        raise ConfigError(
            f"loading the scorer {str(folder)!r}: {error}; expected a folder with config.json and "
            "safetensors weights (pickled weights are refused)"
        ) from error
    if head_from_here:
        _check_whole(Path(folder), info)
    return cast("PreTrainedModel", model.to(device))


def _load_adapter(folder: Path, device: str, dtype: torch.dtype | None) -> PreTrainedModel:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ExtraMissing("peft", "train") from error
    adapter = read_adapter(folder)
    # what LoRA adds to a head is nothing without the head's own weights, which no base has
    own = heads_in(name for name in adapter.shapes if ".lora_" not in name)
    if not own:
        raise _untrained(folder, "the adapter holds no head weights (modules_to_save)")
    _check_one_head(folder, own)
    _check_one_logit(folder, adapter)
    base = _load(
        str(adapter.config.get("base_model_name_or_path")),
        device,
        dtype,
        head_from_here=False,
        # a head on fewer layers than its base has keeps a config.json of its own
        config_of=folder if (folder / CONFIG).is_file() else None,
    )
    try:
        # peft itself honours alpha_pattern, rank_pattern, rsLoRA and DoRA when it merges
        adapted = PeftModel.from_pretrained(base, str(folder))
        check_applied(adapted, folder)
        merged = adapted.merge_and_unload()
    except SpctError:
        raise
    except Exception as error:  # a missing key, a shape of another base, a kind that peft lacks
        raise ConfigError(
            f"loading the adapter {str(folder)!r}: {error!s:.300}; it was made for another base "
            "model or by another version of peft: merge it where it was trained, and name that"
        ) from error
    return cast("PreTrainedModel", merged.to(device))


def head_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights of the head, by name."""
    return {n: p.detach() for n, p in model.named_parameters() if heads_in([n])}


def weights_digest(model: PreTrainedModel) -> str:
    """A digest of config and head: every training run changes the head, so this names a model."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, weight in sorted(head_weights(model).items()):
        digest.update(name.encode() + weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _check_head(folder: Path, found: Checkpoint) -> None:
    """Refuse by name what would load and score by another head than the one that was trained."""
    if "ForSequenceClassification" not in found.architecture:
        raise _untrained(folder, f"its config.json names {found.architecture or 'nothing'}")
    n_labels = _labels_of(found.config)
    if n_labels != 1:
        raise _several(folder, n_labels)
    _check_one_head(folder, heads_in(found.shapes))
    _check_one_logit(folder, found)


def _check_whole(folder: Path, info: Mapping[str, Any]) -> None:
    """Every weight came from the files, and no part of a head in them was left out."""
    if missing := sorted(info["missing_keys"]):
        raise _untrained(folder, f"the files lack {', '.join(missing[:4])}")
    shapes = read_checkpoint(folder).shapes
    unread = [
        name
        for name in sorted(info["unexpected_keys"])
        if heads_in([name]) or shapes.get(name, ())[:1] == (1,)
    ]
    if unread:
        raise ConfigError(
            f"loading the scorer {str(folder)!r}: its files hold {', '.join(unread[:4])}, which "
            "this architecture has no place for; a reward without it would be another one: "
            "export the model with a head of one linear layer without a bias"
        )


def _check_one_head(folder: Path, heads: Sequence[str]) -> None:
    if len(heads) > 1:
        raise ConfigError(
            f"loading the scorer {str(folder)!r}: its weights hold {len(heads)} heads "
            f"({', '.join(heads)}), and only one can be the reward; save the model with that alone"
        )


def _check_one_logit(folder: Path, found: Checkpoint) -> None:
    """The last layer of a head must have one row, whatever the config says."""
    for name, shape in found.shapes.items():
        parts = name.replace(".modules_to_save.default", "").split(".")
        is_last = parts[-1] == "weight" and (parts[-2] in HEADS or parts[-2] == "out_proj")
        if heads_in([name]) and is_last and shape[0] != 1:
            raise _several(folder, shape[0])


def _labels_of(config: Mapping[str, Any]) -> int:
    """How many logits a config promises; transformers counts id2label, and 2 where nothing is."""
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    n = config.get("num_labels", 2)
    return n if isinstance(n, int) else 2


def _several(folder: Path, n: int) -> ConfigError:
    return ConfigError(
        f"loading the scorer {str(folder)!r}: its head has {n} logits, expected 1; a classifier "
        "of several classes is not a reward model"
    )


def _untrained(folder: Path | str, why: str) -> ConfigError:
    return ConfigError(NO_HEAD.format(folder=str(folder), why=why))
