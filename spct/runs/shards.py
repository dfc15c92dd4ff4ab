"""Shards: one input judged by many processes that know nothing of each other, and put together.

An example's shard is a digest of its content, so it stays where it is when the input grows. A shard
run's identity is that of the whole run, with the shard's name and the number of its examples, so a
merged run is the one that a single process would have made: the same command continues it. The
number of a long input is known at its end, and then stands in a file of the run (`COMPLETE_NAME`).
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from spct.core.plan import content_id
from spct.errors import ConfigError, StoreError
from spct.runs.database import DB_NAME, VERSION, connect_writer, storage
from spct.runs.folder import CONFIG_NAME, RunLock, atomic_text, read_config
from spct.runs.identity import differences
from spct.runs.run import open_run
from spct.runs.store import Store
from spct.types import Example

SHARD, COUNT = "shard", "examples"  # what a shard's identity has beside that of the whole run
COMPLETE_NAME = "complete.json"
_TABLES = ("calls", "failed_calls", "verdicts", "quarantine")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3/64`."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            raise ConfigError(f"--shard {text!r}: expected i/n with 1 <= i <= n, such as 3/64")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, example: Example) -> bool:
        """Whether the example belongs to this shard."""
        content = content_id(example.query, example.responses, example.reference)
        return int(content, 16) % self.count == self.index - 1


@dataclass(slots=True)
class Part:
    """What one process judges: a shard, or everything where there are none."""

    shard: Shard | None
    n: int = field(default=0, init=False)  # examples of it that the loop came to

    def holds(self, example: Example) -> bool:
        """Whether the example belongs to it."""
        return self.shard is None or self.shard.holds(example)

    def wants(self, example: Example) -> bool:
        """The same, counted: the judging loop asks once for each example."""
        holds = self.holds(example)
        self.n += holds
        return holds

    def identity(self, examples: Iterable[Example], n: int | None) -> dict[str, Any]:
        """What it adds to the identity of the whole run; its number if the examples are held."""
        if self.shard is None:
            return {}
        count = {} if n is None else {COUNT: sum(map(self.holds, examples))}
        return {SHARD: str(self.shard), **count}

    def named(self, name: str) -> str:
        """The name of a run of this part."""
        return f"{name}-{self.shard.index}-of-{self.shard.count}" if self.shard else name

    def finish(self, folder: Path) -> None:
        """Leave the number of a shard's examples in its run, once its input was read to the end."""
        if self.shard is not None:
            with atomic_text(folder / COMPLETE_NAME) as file:
                file.write(json.dumps({COUNT: self.n}) + "\n")


def merge(runs: Sequence[Path], out: Path) -> int:
    """Put all shards of one run together in the new folder `out`; return how many verdicts it has.

    Raises `StoreError`, and leaves nothing behind, unless every shard is there once, whole, and
    judged alike.
    """
    if out.exists():
        raise StoreError(f"merging into {out}: it is there already; name a new folder with --out")
    configs = [_config(run) for run in runs]
    _check_alike(runs, configs)
    _check_all_there(runs, [config["identity"] for config in configs])
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(RunLock(run))
        counts = [
            _check_finished(run, config["identity"])
            for run, config in zip(runs, configs, strict=True)
        ]
        identity = _whole(configs[0]["identity"])
        try:
            with open_run(out.parent, out.name, identity, configs[0]["settings"], at=out):
                pass
            with closing(connect_writer(out / DB_NAME, durable=False)) as db:
                for run in runs:
                    _copy(db, run, out)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
    return sum(counts)


def _config(run: Path) -> dict[str, Any]:
    config = read_config(run / CONFIG_NAME)
    if config is None or not isinstance(config.get("identity"), dict):
        raise StoreError(f"merging {run}: it is not a run folder with a {CONFIG_NAME}")
    if SHARD not in config["identity"]:
        raise StoreError(f"merging {run}: it is no shard; `spct sample --shard i/n` makes them")
    return config


def _whole(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in (SHARD, COUNT)}


def _check_alike(runs: Sequence[Path], configs: Sequence[Mapping[str, Any]]) -> None:
    """Every shard must be judged by the same judge on the same input."""
    first = _whole(configs[0]["identity"])
    for run, config in zip(runs, configs, strict=True):
        if found := differences(first, _whole(config["identity"])):
            lines = "\n".join(f"  {d.key}: {d.before!r} there, {d.now!r} here" for d in found)
            hint = (
                "\nreplicas at several addresses are one judge when each run names its own with "
                "--endpoints FILE"
                if any("@" in str(d.before) for d in found)
                else ""
            )
            raise StoreError(f"merging {run}: it is another run than {runs[0]}:\n{lines}{hint}")


def _check_all_there(runs: Sequence[Path], identities: Sequence[Mapping[str, Any]]) -> None:
    """Each of the n shards once."""
    shards = [Shard.parse(str(identity[SHARD])) for identity in identities]
    counts = sorted({shard.count for shard in shards})
    if len(counts) > 1:
        raise StoreError(f"merging: the runs are shards of {counts}, expected one number of shards")
    for shard, n in Counter(shards).items():
        if n > 1:
            twice = [str(run) for run, one in zip(runs, shards, strict=True) if one == shard]
            raise StoreError(f"merging: the shard {shard} is there {n} times: {', '.join(twice)}")
    missing = [i for i in range(1, counts[0] + 1) if Shard(i, counts[0]) not in shards]
    if missing:
        shown = ", ".join(f"{i}/{counts[0]}" for i in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise StoreError(
            f"merging: {len(shards)} of {counts[0]} shards are there, missing: {shown}{more}; name "
            f"their runs too, or judge them first (spct sample --shard {missing[0]}/{counts[0]})"
        )


def _check_finished(run: Path, identity: Mapping[str, Any]) -> int:
    """How many examples the shard has; every one must have its verdict."""
    expected = identity.get(COUNT, (read_config(run / COMPLETE_NAME) or {}).get(COUNT))
    with closing(Store.read(run)) as store:
        n_verdicts = store.counts()["verdicts"]
    if not isinstance(expected, int) or n_verdicts != expected:
        wanted = "an input not yet read to its end" if expected is None else expected
        raise StoreError(
            f"merging {run}: the shard {identity[SHARD]} has {n_verdicts} of {wanted} "
            "verdicts; run its command again, which continues it"
        )
    return expected


def _copy(db: sqlite3.Connection, run: Path, out: Path) -> None:
    """Add one run's rows, all or none."""
    with storage("merge", run / DB_NAME):
        db.execute("ATTACH ? AS shard", (str(run / DB_NAME),))
        try:
            if (found := db.execute("PRAGMA shard.user_version").fetchone()[0]) != VERSION:
                raise StoreError(
                    f"merging {run}: its schema version is {found}, expected {VERSION}; the command"
                    " that made it brings it up to date"
                )
            db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                db.execute(f"INSERT INTO main.{table} SELECT * FROM shard.{table}")
            db.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise StoreError(
                f"merging {run} into {out}: it holds examples that another shard holds too"
            ) from None
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.execute("DETACH shard")
