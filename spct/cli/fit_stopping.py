"""`spct fit-stopping`: measure on a stored run what `--stop predictive` wants to know."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from spct.config import Config
from spct.core.predictive import fit_stopping as fit
from spct.core.predictive import write_fit
from spct.core.vote import vote_named
from spct.errors import ConfigError, StoreError
from spct.models.judges import build_format
from spct.runs.folder import CONFIG_NAME, read_config
from spct.runs.store import Store
from spct.settings import validated

Run = Annotated[Path, typer.Argument(help="A run folder of several samples each.", exists=False)]
To = Annotated[Path, typer.Option("--to", help="The stopping file to write (JSON).")]


def fit_stopping(run: Run, to: To = Path("stopping.json")) -> None:
    """Measure a judge's noise and the spread of its items, for an early stop that fits it.

    Nothing is asked of a model. The file holds for the vote and the scale of the run, at any k.

    Example: spct fit-stopping runs/20260101T000000Z_pairs_a1b2c3 --to stopping.json
    """
    with closing(Store.read(run)) as store:
        settings = (read_config(run / CONFIG_NAME) or {}).get("settings")
        if not isinstance(settings, dict):
            raise StoreError(
                f"cannot read the settings of the run in {run}; `spct sample` writes them"
            )
        judge = validated(Config, settings, str(run / CONFIG_NAME)).judge
        vote = vote_named(judge.vote, judge.k_meta)
        if vote.rows is None:
            raise ConfigError(
                f"the run in {run} voted by {vote.name!r}, and early stopping needs a vote that "
                "sums over judgements: sample with --vote mean or majority"
            )
        rows = [vote.rows(verdict.trajectories) for verdict in store.verdicts()]
    found = fit(rows, vote, build_format(judge).score_scale)
    write_fit(found, to)
    print(
        f"{to}: noise {found.noise:.3g}, spread {found.spread:.3g} on {found.items} items; use it "
        f"with --stop predictive --stop-file {to}"
    )
