"""`spct fit-stopping` and `spct fit-meta`: what a stored run tells of a judge and of a meta RM."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from spct.config import Config
from spct.errors import ConfigError, StoreError
from spct.models.judges import build_format, build_vote
from spct.runs.folder import CONFIG_NAME, read_config
from spct.runs.store import Store
from spct.settings import validated
from spct.train.outcome import labelled
from spct.votes.calibration import MetaFit, auc_within, calibrate, write_meta_fit
from spct.votes.predictive import fit_stopping as fit
from spct.votes.predictive import write_fit

Run = Annotated[Path, typer.Argument(help="A run folder of several samples each.", exists=False)]
To = Annotated[Path, typer.Option("--to", help="The file to write (JSON).")]


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
        vote = build_vote(judge)
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


def fit_meta(run: Run, to: To = Path("meta.json")) -> None:
    """Calibrate a meta RM on a run with gold, for guided votes whose weights are probabilities.

    The run must have been voted with that meta RM, on dev examples. Where the meta RM does not
    tell right judgements from wrong ones within an example, votes with this file are plain ones.

    Example: spct fit-meta runs/20260101T000000Z_dev_a1b2c3 --to meta.json
    """
    with closing(Store.read(run)) as store:
        if (meta := store.config.get("meta")) is None:
            raise ConfigError(
                f"the run in {run} has no meta scores: sample with --vote meta_weighted --meta "
                "FOLDER"
            )
        examples = [
            labelled(judged.example, judged.verdict.trajectories)
            for judged in store.judged()
            if judged.example is not None
        ]
    found, auc = calibrate(examples), auc_within(examples)
    n = sum(map(len, examples))
    write_meta_fit(MetaFit(found.slope, found.offset, auc, str(meta), n), to)
    told = "" if found.informs else "; that is not above one half: votes with this file are plain"
    print(
        f"{to}: log odds {found.slope:.3g} x logit {found.offset:+.3g}, AUC within an example "
        f"{auc:.3f} on {n} judgements of {len(examples)} examples{told}; use it with --meta-file "
        f"{to}"
    )
