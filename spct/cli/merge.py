"""`spct merge`: the shards of one run as one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spct.runs.shards import merge as merge_shards

Runs = Annotated[list[Path], typer.Argument(help="The run folder of every shard.", exists=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder to make.")]


def merge(runs: Runs, out: Out) -> None:
    """Put the shards of one run together: every shard once, all finished, all judged alike.

    Nothing is asked of a model. The result is the run that one process would have made.

    Example: spct merge runs/shard-* --out runs/whole
    """
    n_verdicts = merge_shards(runs, out)
    print(f"{n_verdicts:,} verdicts of {len(runs)} shards", file=sys.stderr)
    print(out)
