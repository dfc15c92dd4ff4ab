"""`--dry-run`: what a stage would do, before anything is paid for.

Rows after each filter, tokens, steps, memory by part, hours on named devices, what will be written;
what cannot fit is refused. Only settings, data, tokenizer and the architecture are read. Lengths
are those of at most 2,000 rows drawn evenly, so means and shares come with their 95% interval; gold
is looked at in every row. A stage whose rows an earlier stage still has to write has no rows here,
and its hours are those of rows of `max_length`.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spct.errors import ConfigError, TemplateRefused
from spct.measure.intervals import Z95, Interval, wilson
from spct.measure.tables import interval, table
from spct.train.config import Optimisation, RlConfig
from spct.train.estimate import (
    DEVICES,
    Architecture,
    Device,
    Needs,
    disk_gib,
    fits,
    hours,
    is_frozen,
    needs,
    sequences,
)

SAMPLED = 2000
CHARACTERS_A_TOKEN = 4.0  # where there is no tokenizer yet
Turns = Sequence[Mapping[str, str]]
Counter = Callable[[Turns], int]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a stage: how many were given, what filters left out, and lengths of a sample.

    `lengths` are tokens; None is a row that the chat template refuses. `limit` is the longest that
    is trained on, and `added` what a stage writes to each itself (the rollouts of RL, at most).
    """

    given: int
    left_out: Mapping[str, int]
    lengths: Sequence[int | None]
    limit: int
    added: int = 0

    @property
    def n_read(self) -> int:
        """Rows that no filter left out; their lengths, or a sample's, are known."""
        return self.given - sum(self.left_out.values())

    @property
    def are_all_measured(self) -> bool:
        """Whether the sample is every row, so that counts are exact."""
        return len(self.lengths) == self.n_read

    @property
    def usable(self) -> list[int]:
        """Lengths of the sampled rows that would be trained on."""
        return [n for n in self.lengths if n is not None and n <= self.limit]

    @property
    def trained_on(self) -> Interval:
        """How many rows remain."""
        if self.are_all_measured:
            return Interval(float(len(self.usable)), None, None)
        share = wilson(len(self.usable), len(self.lengths))
        return Interval(*(None if x is None else x * self.n_read for x in share))  # type: ignore[arg-type]

    @property
    def tokens(self) -> Interval:
        """Mean tokens of a row that is trained on, with what the stage adds."""
        found = [n + self.added for n in self.usable]
        mean = fmean(found)
        if len(found) < 2 or self.are_all_measured:
            return Interval(mean, None, None)
        half = Z95 * stdev(found) / math.sqrt(len(found))
        return Interval(mean, mean - half, mean + half)


def evenly(n: int, wanted: int = SAMPLED) -> list[int]:
    """At most `wanted` places of `n`, evenly apart."""
    return [i * n // min(n, wanted) for i in range(min(n, wanted))]


def rows_of(
    rows: Sequence[Any],
    turns: Callable[[Any], Turns],
    count: Counter,
    limit: int,
    *,
    added: int = 0,
    left_out: Mapping[str, int] | None = None,
) -> Rows:
    """Measure a sample of rows; `turns` gives the conversation that a row becomes."""
    lengths: list[int | None] = []
    for i in evenly(len(rows)):
        try:
            lengths.append(count(turns(rows[i])))
        except TemplateRefused:
            lengths.append(None)
    out = dict(left_out or {})
    return Rows(len(rows) + sum(out.values()), out, lengths, limit, added)


def counter_of(tokenizer: Any | None) -> Counter:
    """Tokens as the model's template writes them, or a quarter of the characters without one."""
    if tokenizer is None:
        return lambda turns: math.ceil(sum(len(t["content"]) for t in turns) / CHARACTERS_A_TOKEN)
    from spct.train.fitting import token_count

    return lambda turns: token_count(tokenizer, [dict(t) for t in turns])


@dataclass(slots=True)
class DryRun:
    """One stage, and what it would need on `n_gpus` of the devices."""

    stage: str
    model: str
    out: Path
    config: Optimisation
    architecture: Architecture
    n_gpus: int
    devices: Sequence[Device]
    rows: Rows | None = None
    notes: list[str] = field(default_factory=list)
    elsewhere: bool = False  # planned for another machine, whose disk is not known here

    @property
    def needs(self) -> Needs:
        """Memory of one GPU."""
        return needs(self.architecture, self.config, self.n_gpus)

    def check(self) -> None:
        """Refuse what cannot be trained: no row, no device that holds it, no room on the disk."""
        if self.rows is not None and not self.rows.usable:
            raise ConfigError(
                f"{self.stage}: none of its rows can be trained on ({self._left_out()}); look at "
                "the gold of the examples, raise max_length where rows are too long, or merge "
                "system turns into the user's where the chat template refuses them"
            )
        if not any(fits(self.needs, d) for d in self.devices):
            parts = sorted(asdict(self.needs).items(), key=lambda part: -part[1])
            largest = ", ".join(f"{name} {gib:.0f}" for name, gib in parts[:3])
            raise ConfigError(
                f"{self.stage} of {self.model!r} does not fit: {self.needs.total:.0f} GiB on each "
                f"of {self.n_gpus} ({largest}), and {self.devices[-1].name} has "
                f"{self.devices[-1].gib:.0f}; lower micro_batch_size or max_length, set "
                "gradient_checkpointing, train adapters (lora_rank = 16), or take more GPUs (--on "
                "8xH100)"
            )
        wanted, free = sum(disk_gib(self.architecture, self.config).values()), free_gib(self.out)
        if wanted > free and not self.elsewhere:
            raise ConfigError(
                f"{self.stage} writes {wanted:.1f} GiB to {str(self.out)!r} (model and "
                f"checkpoints), and its disk has {free:.1f} GiB free; name another --out, or train "
                "adapters"
            )

    def _left_out(self) -> str:
        rows = self.rows
        assert rows is not None
        refused = sum(n is None for n in rows.lengths)
        n_long = len(rows.lengths) - refused - len(rows.usable)
        exact = [f"{n:,} {why}" for why, n in rows.left_out.items() if n]
        found = [(n_long, f"longer than {rows.limit:,} tokens"), (refused, "refused by the chat "
                 "template")]  # fmt: skip
        if rows.are_all_measured:
            exact += [f"{n:,} {why}" for n, why in found if n]
            found = []
        shares = [f"{interval(wilson(n, len(rows.lengths)))}% {why}" for n, why in found if n]
        return "; ".join([f"{rows.given:,} given", *exact, *shares])

    def text(self) -> str:
        """The whole, for a person."""
        a, config = self.architecture, self.config
        trained = f"adapters of rank {config.lora_rank}" if config.lora_rank else "all weights"
        trained = "a head alone" if is_frozen(config) else trained
        disk = disk_gib(a, config)
        lines = [
            f"{self.stage} of {self.model}: {a.parameters / 1e9:.2f}B parameters, {trained}",
            *(
                self._of_rows()
                if self.rows
                else ["rows    not there yet: an earlier stage writes them"]
            ),
            f"steps   {config.max_steps:,} of {config.batch_size:,} "
            f"{'rollouts' if isinstance(config, RlConfig) else 'rows'}, {self._passes()}",
            f"memory  GiB on each of {self.n_gpus}: "
            + ", ".join(f"{name} {gib:.1f}" for name, gib in asdict(self.needs).items() if gib)
            + f"; in all {self.needs.total:.1f} (+-30%)",
            f"writes  {self.out}: model {disk['model']:.2f} GiB, checkpoints up to "
            f"{disk['checkpoints']:.2f} GiB (free here: {free_gib(self.out):.0f}), run.json, "
            "metrics.jsonl",
            *(f"note    {note}" for note in self.notes),
        ]
        return "\n".join(lines) + "\n" + self._hours()

    def _of_rows(self) -> list[str]:
        rows = self.rows
        assert rows is not None
        looked = f"{len(rows.lengths):,} sampled rows"
        mean = interval(rows.tokens, scale=1, digits=0)
        in_all = self.config.max_steps * self.config.batch_size * sequences(self.config)
        return [
            f"rows    {self._left_out()}; "
            f"{interval(rows.trained_on, scale=1, digits=0)} to train on",
            f"tokens  {mean} a row ({looked}), "
            f"{rows.tokens.point * in_all / 1e6:,.1f}M in all steps",
        ]

    def _passes(self) -> str:
        seen = self.config.max_steps * self.config.batch_size
        if isinstance(self.config, RlConfig):
            seen //= self.config.group_size
        if self.rows is None:
            return f"{seen:,} rows in all"
        return f"{seen / self.rows.trained_on.point:.1f} passes over the rows"

    def _hours(self) -> str:
        tokens = self.rows.tokens.point if self.rows else float(self.config.max_length)
        lines = []
        for d in (d for d in self.devices if d.tflops):
            time = hours(self.architecture, self.config, n_gpus=self.n_gpus,
                         peak_tflops=d.tflops, mean_tokens=tokens)  # fmt: skip
            fit = "yes" if fits(self.needs, d) else "no"
            lines.append([f"{self.n_gpus} x {d.name}", f"{d.gib:.0f}", fit, f"{time:.1f}"])
        return table(["device", "GiB", "fits", "hours"], lines) if lines else ""


def free_gib(out: Path) -> float:
    """GiB free on the disk that a folder is, or will be, on."""
    there = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free / 2**30


def devices_here(use_cpu: bool) -> tuple[int, list[Device]]:
    """What a run on this machine would train on; without a GPU, one of each device that is known.

    A GPU that the table does not know has no speed, so no hours are told.
    """
    import torch

    if use_cpu:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return 1, [Device("this machine", pages / 2**30, 0.0)]
    if not torch.cuda.is_available():
        return 1, [*DEVICES.values()]
    name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
    speed = next((d.tflops for d in DEVICES.values() if d.name in name.replace(" ", "")), 0.0)
    return torch.cuda.device_count(), [Device(name, memory / 2**30, speed)]
