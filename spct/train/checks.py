"""What a stage's settings ask of this machine, looked at before its folder is begun.

A refused setting can then be changed in the same command: a folder knows its settings.
"""

from __future__ import annotations

from importlib.util import find_spec

from spct.errors import ConfigError, ExtraMissing
from spct.settings import Settings
from spct.train.config import Optimisation


def check_runnable(config: Settings, n_processes: int) -> None:
    """Refuse batches that do not split evenly, bf16 without hardware, and trackers not there.

    A config of several stages holds one of each.
    """
    for stage in (config, *vars(config).values()):
        if not isinstance(stage, Optimisation):
            continue
        batch_share(stage, n_processes)
        if stage.bf16 and not stage.use_cpu:
            check_bfloat16()
        trackers(stage)


def batch_share(config: Optimisation, n_processes: int) -> int:
    """How many micro batches of a step a process takes."""
    per_step = config.micro_batch_size * n_processes
    if config.batch_size % per_step:
        raise ConfigError(
            f"splitting a batch of {config.batch_size} over {n_processes} processes: "
            f"micro_batch_size = {config.micro_batch_size} does not divide it; expected batch_size "
            f"to be a multiple of {per_step}"
        )
    return config.batch_size // per_step


def check_bfloat16() -> None:
    """Refuse bf16 where no accelerator computes in it; transformers' words lead nowhere."""
    from transformers.utils.import_utils import (
        is_torch_bf16_gpu_available,
        is_torch_xla_available,
    )

    if not (is_torch_bf16_gpu_available() or is_torch_xla_available()):
        raise ConfigError(
            "bf16 = true: there is no accelerator here that computes in bfloat16; set bf16 = false,"
            " or on a machine without a GPU use_cpu = true"
        )


def trackers(config: Optimisation) -> list[str]:
    """What the trainer reports to; a tracker that is not installed is named before any work."""
    for name in config.report_to:
        if find_spec(name) is None:
            raise ExtraMissing(name, "trackers")
    return [*config.report_to]
