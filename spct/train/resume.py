"""Stopping and going on: a folder knows its run, and a finished run takes no further step.

`begin` writes `run.json` (stage, model, settings, a digest of the data) before any work, or refuses
to go on in the folder of another run. What only says how far or how often (`FREE`) may change: a
run may be given more steps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spct
from spct.engines.checkpoint import check_model
from spct.errors import ConfigError, SpctError, TrainError
from spct.runs.folder import atomic_text
from spct.runs.identity import differences, digest_of_all
from spct.settings import Settings
from spct.train.checks import check_runnable

if TYPE_CHECKING:
    from transformers import Trainer

RUN = "run.json"
FREE = frozenset(
    {"max_steps", "save_steps", "log_steps", "dev_steps", "micro_batch_size", "report_to"}
)


def begin(
    out: Path,
    stage: str,
    model: str,
    config: Settings,
    data: Sequence[object],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write `run.json`, or check that the folder belongs to the same run and may go on.

    `about` is what the model's card tells beside it; a run may go on with another.
    """
    check_model(model)
    check_runnable(config, int(os.environ.get("WORLD_SIZE", "1")))
    run: dict[str, object] = {
        "stage": stage,
        "model": model,
        "settings": config.model_dump(mode="json"),
        "data": digest_of_all(data),
    }
    path = out / RUN
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if differing := differences(before, run, FREE | {"spct", "about"}):
            raise ConfigError(
                f"training into {str(out)!r}: it holds another run; these differ: "
                f"{'; '.join(map(str, differing))}; use a new folder, or the same settings to go on"
            )
        return
    if os.environ.get("RANK", "0") != "0":
        return  # one process of several writes
    out.mkdir(parents=True, exist_ok=True)
    with atomic_text(path) as file:
        file.write(
            json.dumps(run | {"spct": spct.__version__, "about": about or {}}, indent=1) + "\n"
        )


def last_checkpoint(out: Path) -> str | None:
    """The newest whole checkpoint folder in `out` to resume from, or None.

    transformers writes `trainer_state.json` last; a folder without it was cut short by a kill or a
    full disk, and is passed over.
    """
    found = {
        int(folder.name.rpartition("-")[2]): folder
        for folder in out.glob("checkpoint-*")
        if folder.name.rpartition("-")[2].isdigit()
    }
    for step in sorted(found, reverse=True):
        if (found[step] / "trainer_state.json").is_file():
            return str(found[step])
        if os.environ.get("RANK", "0") == "0":
            print(f"{found[step]} was not written to its end: passed over", file=sys.stderr)
    return None


# What the writers of weights, of optimizer states and of texts say of a disk that is full.
_FULL = re.compile(
    "No space left|StorageFull|File ?[Tt]oo ?[Ll]arge|quota exceeded"
    "|StreamWriter|iostream error|unexpected pos"  # torch.save
)
# What gloo and NCCL say where a process that they talk to is gone.
_GONE = re.compile("by peer|gloo/transport|remote process|NCCL (error|communicator)")


@contextmanager
def room_for(out: Path) -> Iterator[None]:
    """Say in words that there was no room to write; each library raises a class of its own."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, SpctError) or not _FULL.search(str(error)):
            raise
        there = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
        raise TrainError(
            f"writing a checkpoint or the model into {str(out)!r}: {error!s:.200} "
            f"({shutil.disk_usage(there).free / 2**30:.1f} GiB free); make room (--dry-run says "
            "how much), then the same command goes on from the last whole checkpoint"
        ) from error


@contextmanager
def all_there() -> Iterator[None]:
    """Say in words that another process of this training has ended."""
    try:
        yield
    except RuntimeError as error:
        n_processes = int(os.environ.get("WORLD_SIZE", "1"))
        if isinstance(error, SpctError) or n_processes < 2 or not _GONE.search(str(error)):
            raise
        raise TrainError(
            f"training on {n_processes} processes: another one does not answer any more "
            f"({error!s:.200}); its own message stands above, or it was killed (for want of "
            "memory: see dmesg); the same command, or one with fewer processes, goes on from the "
            "last whole checkpoint"
        ) from error


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
    _order_by_epoch(trainer)
    with suppress(_NothingLeft), room_for(Path(str(trainer.args.output_dir))), all_there():
        trainer.train(resume_from_checkpoint=checkpoint)
    if "wandb" in (trainer.args.report_to or ()):
        import wandb  # type: ignore[import-not-found, unused-ignore]

        wandb.finish()  # or the next stage of a pipeline would log into the same run


def save_whole(trainer: Trainer, out: Path) -> None:
    """Save the model to `out` in whole files, also where its checkpoints are sharded.

    transformers writes nothing at all where FSDP's state is said to be sharded.
    """
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    with room_for(out), all_there():
        trainer.save_model(str(out))


def _order_by_epoch(trainer: Trainer) -> None:
    """Make the order of rows that are grouped by length a function of seed, epoch and global batch.

    transformers draws it from the global generator: a run resumed inside an epoch would take the
    rest of that epoch in another order, some rows twice and some not at all. And it groups by the
    batch of one process: the same run on more of them would see other batches.
    """
    import torch
    from transformers import TrainerCallback
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator, make = torch.Generator(), trainer._get_train_sampler

    class SeedEpoch(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seed = args.seed if args.data_seed is None else args.data_seed
            # the epoch is a fraction where a checkpoint lies inside it
            generator.manual_seed(seed + int((state.epoch or 0) + 1e-6))

    def sampler_of(dataset: Any = None) -> Any:
        sampler = make(dataset)
        if isinstance(sampler, LengthGroupedSampler):
            sampler.generator = generator
            sampler.batch_size *= trainer.args.world_size
        return sampler

    trainer._get_train_sampler = sampler_of  # type: ignore[method-assign, assignment]
    trainer.add_callback(SeedEpoch)
