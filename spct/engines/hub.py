"""Fetches a model from the hub, or finds it in the cache: a folder, or one GGUF file.

Through huggingface_hub, so its cache, HF_ENDPOINT (a mirror), HF_HUB_OFFLINE and HF_TOKEN hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import spct
from spct.errors import ConfigError, ExtraMissing

HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")  # nothing that is run
WITHOUT_WEIGHTS = tuple(kind for kind in HUB_FILES if kind != "*.safetensors")
HUB_WAIT_S = 10.0
_NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?<!\.gguf)(?:/([^/]+\.gguf))?")
T = TypeVar("T")


def is_hub_name(name: str) -> bool:
    """Whether a text is owner/name, or owner/name/FILE.gguf, and no path here.

    `runs/judge` beside a folder `runs` is a mistyped path, and not asked of the hub.
    """
    path = Path(name)
    return (
        _NAME.fullmatch(name) is not None and not path.exists() and not Path(path.parts[0]).exists()
    )


def hub_model(name: str) -> Path:
    """What owner/name or owner/name/FILE.gguf names: a GGUF file, or a folder with safetensors."""
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise ConfigError(f"{name!r} is not owner/name or owner/name/FILE.gguf")
    repository, file = matched.groups()
    if file is None:
        found = sorted(one for one in _files(repository) if one.endswith(".gguf"))
        if not found:
            return hub_folder(repository)
        if len(found) > 1:
            raise ConfigError(
                f"the model {name!r} has {len(found)} GGUF files; name one, as "
                f"{repository}/{found[0]}: {', '.join(found[:8])}"
            )
        (file,) = found

    def fetch() -> Path:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, file, etag_timeout=HUB_WAIT_S))

    return _asked(name, fetch)


def hub_folder(name: str, files: Sequence[str] | None = None) -> Path:
    """The folder of a model on the hub, fetched or from the cache; `files` says what of it."""

    def fetch() -> Path:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                name, allow_patterns=list(files or HUB_FILES), etag_timeout=HUB_WAIT_S
            )
        )

    return _asked(name, fetch)


def _files(repository: str) -> list[str]:
    """The files of a model on the hub; offline, those in the cache."""

    def ask() -> list[str]:
        from huggingface_hub import HfApi, constants, snapshot_download

        if constants.is_offline_mode():
            patterns = [*HUB_FILES, "*.gguf"]
            root = Path(
                snapshot_download(repository, local_files_only=True, allow_patterns=patterns)
            )
            return [str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()]
        return list(HfApi().list_repo_files(repository))

    return _asked(repository, ask)


def _asked(name: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except ModuleNotFoundError as error:
        raise ExtraMissing("huggingface_hub", "embedded") from error
    except Exception as error:  # its own classes, the HTTP library's, and OSError for no network
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"loading the model {name!r}: there is no such folder here, and the hub did not give "
            f"it: {why[0][:300]}; check the name, the network (HF_ENDPOINT, HF_HUB_OFFLINE) and, "
            "for a gated model, HF_TOKEN"
        ) from error


def start_of(model: str, files: Sequence[str] | None = None) -> str:
    """The folder of a model to start from; a name on the hub is fetched before anything else."""
    # Asked here and not by the trainer: its libraries retry an unreachable hub for a minute, after
    # half a minute of imports, and call a mistyped path a bad repository name.
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    if not is_hub_name(model):
        found = "a file" if path.exists() else "no such folder"
        raise ConfigError(
            f"--model {model!r}: {found}; expected a folder with config.json, safetensors and "
            "tokenizer, or owner/name of a model on the hub"
        )
    return str(hub_folder(model, files))


# What a trained model is made of. Not run.json, which holds paths of this machine, nor pickles.
PUSHED = (*HUB_FILES, "README.md", "metrics.jsonl", "curves.png")
KEPT_HERE = ("run.json", "trainer_state.json", "*.bin", "*.pt", "*/*", ".*")


def push_folder(folder: Path, name: str, *, private: bool = False) -> str:
    """Send a model's folder to the hub as `name`, and return its address there."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ExtraMissing("huggingface_hub", "hf") from error
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        sent = hub.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(PUSHED),
            ignore_patterns=list(KEPT_HERE),
            commit_message=f"A judge trained with spct {spct.__version__}",
        )
    except Exception as error:  # its own classes, the HTTP library's, and OSError for no network
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"sending {str(folder)!r} to {name!r}: {why[0][:300]}; check the name, the network "
            "(HF_ENDPOINT, HF_HUB_OFFLINE) and that HF_TOKEN may write there"
        ) from error
    return str(sent.repo_url if hasattr(sent, "repo_url") else sent)
