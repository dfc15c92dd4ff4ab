"""Stopping and going on: a folder knows its run, and a finished run takes no further step.

`begin` writes `run.json` (stage, model, settings, a digest of the data) before any work, or refuses
to go on in the folder of another run. What only says how far or how often (`FREE`) may change: a
run may be given more steps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spct
from spct.config import Settings
from spct.errors import ConfigError
from spct.runs.folder import atomic_text

if TYPE_CHECKING:
    from transformers import Trainer

RUN = "run.json"
FREE = frozenset({"max_steps", "save_steps", "log_steps", "dev_steps", "micro_batch_size"})


def begin(out: Path, stage: str, model: str, config: Settings, data: Sequence[object]) -> None:
    """Write `run.json`, or check that the folder belongs to the same run and may go on."""
    digest = hashlib.sha256()
    for item in data:
        digest.update(repr(item).encode(errors="surrogatepass"))
    run: dict[str, object] = {
        "stage": stage,
        "model": model,
        "settings": config.model_dump(mode="json"),
        "data": digest.hexdigest()[:16],
    }
    path = out / RUN
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if differing := differences(before, run):
            raise ConfigError(
                f"training into {str(out)!r}: it holds another run; these differ: "
                f"{'; '.join(differing)}; use a new folder, or the same settings to go on"
            )
        return
    if os.environ.get("RANK", "0") != "0":
        return  # one process of several writes
    out.mkdir(parents=True, exist_ok=True)
    with atomic_text(path) as file:
        file.write(json.dumps(run | {"spct": spct.__version__}, indent=1) + "\n")


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Set[str] = FREE
) -> list[str]:
    """What differs, by dotted name, each with its old and its new value; those in `free` may."""
    found = []
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found += [f"{key}.{item}" for item in differences(old, value, free)]
        elif old != value and key not in free:
            found.append(f"{key} (was {old!r}, is {value!r})")
    return found


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint folder in `out` to resume from, or None."""
    from transformers.trainer_utils import get_last_checkpoint

    find: Callable[[str], str | None] = get_last_checkpoint
    return find(str(out)) if out.is_dir() else None


class _NothingLeft(Exception):
    """Leaves `trainer.train` before its first step."""


def resume(trainer: Trainer, checkpoint: str | None) -> None:
    """Train on from a checkpoint, or from the start; one at the last step is only loaded.

    transformers compares the steps with `max_steps` after a step, so it would take one too many.
    """
    from transformers import TrainerCallback

    class LeaveIfDone(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= args.max_steps:
                raise _NothingLeft

    trainer.add_callback(LeaveIfDone)
    with suppress(_NothingLeft):
        trainer.train(resume_from_checkpoint=checkpoint)
