"""What the meta RM learns from: the trajectories of runs, labelled by the outcome rule.

The command `spct data meta` and the stage of the pipeline build it alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from spct.runs.store import Store
from spct.train.meta_rm import MetaFunnel, meta_rows
from spct.train.rft import stored, write_rows
from spct.types import Example


class Drawn(NamedTuple):
    """A run, the name under which its rows are counted, and the examples to take from it."""

    source: str
    folder: Path
    examples: Iterable[Example] | None = None  # None: all of them, with the gold that they had


def build(runs: Iterable[Drawn], out: Path) -> MetaFunnel:
    """Write the labelled conversations of all runs to `out`; the funnel counts the others."""
    funnel, rows = MetaFunnel(), []
    for run in runs:
        with Store.read(run.folder) as store:
            pairs = ((e, t) for e, ts in stored(store, run.examples) for t in ts)
            rows += meta_rows(pairs, run.source, funnel)
    write_rows(rows, out)
    funnel.check()
    return funnel
