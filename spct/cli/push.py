"""`spct push`: a trained model to the hub, with its card."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from spct.errors import ConfigError


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a training stage.")],
    name: Annotated[str, typer.Argument(help="owner/name on the hub.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge an adapter into its base first.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Only you see it.")] = False,
) -> None:
    """Send weights or adapter, tokenizer and card to the hub; checkpoints and pickles stay here.

    The hub and its token are those of huggingface_hub: HF_ENDPOINT, HF_TOKEN.

    Example: spct push runs/qwen_0_6b/rl me/judge
    """
    from spct.engines.hf_load import is_adapter
    from spct.engines.hub import push_folder
    from spct.train.adapters import write_merged
    from spct.train.model_readme import README, write_card

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(f"push to {name!r}: expected owner/name")
    weights = [*folder.glob("*model*.safetensors")]
    if not (folder / "run.json").is_file() or not weights:
        raise ConfigError(
            f"push {str(folder)!r}: it is not the finished folder of a training stage (run.json "
            "and safetensors); spct export-model writes a model of another origin"
        )
    if not (folder / README).is_file():
        write_card(folder)
    if not merge or not is_adapter(folder):
        print(push_folder(folder, name, private=private))
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merged-") as space:
        print("merging the adapter into its base", file=sys.stderr)
        write_merged(str(folder), Path(space))
        for part in ("run.json", "metrics.jsonl"):
            (Path(space) / part).write_bytes((folder / part).read_bytes())
        write_card(Path(space))
        print(push_folder(Path(space), name, private=private))
