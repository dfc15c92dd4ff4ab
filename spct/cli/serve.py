"""`spct serve MODEL`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from spct.cli.options import takes_settings
from spct.serve.config import ServeConfig


@takes_settings
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A trained model's folder, a TOML config, `default` (the shipped judge) or "
            "`scripted` (the shipped fake)."
        ),
    ],
    serve: ServeConfig,
    k: Annotated[
        int | None,
        typer.Option(
            "--samples", "-k", min=1, help="Judgements per example; else the model's own."
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Of standard error.")
    ] = "info",
) -> None:
    """Serve a reward model to trainers, engines' clients and people.

    Every setting is in the section serve of --config and in SPCT_SERVE_NAME variables too; keys
    come from --keys-file or SPCT_GATEWAY_KEYS. docs/serving.md has a snippet for each trainer.

    Example: spct serve scripted --on-unscored error
    """
    from spct.serve.server import check, run

    check(serve)  # before a model is loaded, which takes its time
    logging.basicConfig(
        stream=sys.stderr,
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    from spct.models.load import load_reward_model
    from spct.serve.app import create_app

    app = create_app(load_reward_model(model, k=k), serve, name=Path(model).name)
    raise typer.Exit(run(app, serve))
