"""Fetches a model's folder from the hub, or finds it in the cache."""

from __future__ import annotations

from pathlib import Path

from spct.errors import ConfigError, ExtraMissing

HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")  # nothing that is run
HUB_WAIT_S = 10.0


def hub_folder(name: str) -> Path:
    """The folder of a model on the hub, fetched or from the cache."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ExtraMissing("huggingface_hub", "hf") from error
    try:
        return Path(
            snapshot_download(name, allow_patterns=list(HUB_FILES), etag_timeout=HUB_WAIT_S)
        )
    except Exception as error:  # its own classes, the HTTP library's, and OSError for no network
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"loading the model {name!r}: there is no such folder here, and the hub did not give "
            f"it: {why[0][:300]}; check the name, the network (HF_ENDPOINT, HF_HUB_OFFLINE) and, "
            "for a gated model, HF_TOKEN"
        ) from error
