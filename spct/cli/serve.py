"""`spct serve MODEL`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A trained model's folder, a TOML config, `default` (the shipped judge) or "
            "`scripted` (the shipped fake)."
        ),
    ],
    host: Annotated[
        str | None, typer.Option(help="Address; others than loopback need a key.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a section serve.")
    ] = None,
    served_name: Annotated[
        str | None, typer.Option(help="The model name callers may give.")
    ] = None,
    keys_file: Annotated[
        Path | None, typer.Option(help="A name, key and scopes a line; read again on change.")
    ] = None,
    unsafe_no_auth: Annotated[
        bool | None, typer.Option("--unsafe-no-auth", help="Anyone who can connect may judge.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Another Host name to answer to; repeat it.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Chat template family of templated text: chatml, llama3...")
    ] = None,
    group_size: Annotated[
        str | None, typer.Option(help="Samples of a prompt judged together, or `learn`.")
    ] = None,
    group_wait: Annotated[
        float | None, typer.Option(help="Seconds until an incomplete group is judged.")
    ] = None,
    on_unscored: Annotated[
        str | None,
        typer.Option(help="A failed judgement on wires that need a number: NUMBER or `error`."),
    ] = None,
    labels_as_reference: Annotated[
        bool | None, typer.Option("--labels-as-reference", help="Show labels to the judge.")
    ] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds for one judgement.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--max-concurrency", "-j", help="Examples judged at once.")
    ] = None,
    queue: Annotated[
        int | None, typer.Option("--max-queue", help="Examples that may wait; then 503.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second and key; then 429.")] = None,
    shutdown_timeout: Annotated[
        float | None, typer.Option(help="Seconds for requests in flight at SIGTERM.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve a reward model to trainers, engines' clients and people.

    Every setting is in the section serve of --config and in SPCT_SERVE_NAME variables too; keys
    come from --keys-file or SPCT_GATEWAY_KEYS. docs/serving.md has a snippet for each trainer.

    Example: spct serve scripted --on-unscored error
    """
    from spct.config import resolve
    from spct.serve.config import ServeSettings
    from spct.serve.server import check, run

    flags = {
        "host": host,
        "port": port,
        "served_name": served_name,
        "keys_file": keys_file,
        "unsafe_no_auth": unsafe_no_auth,
        "allowed_hosts": tuple(allowed_host) if allowed_host else None,
        "template": template,
        "group_size": group_size,
        "group_wait_s": group_wait,
        "on_unscored": on_unscored,
        "labels_as_reference": labels_as_reference,
        "deadline_s": deadline,
        "max_concurrency": concurrency,
        "max_queue": queue,
        "rate": rate,
        "shutdown_timeout_s": shutdown_timeout,
    }
    settings = resolve(ServeSettings, flags={"serve": flags}, file=config)[0].serve
    check(settings)
    logging.basicConfig(
        stream=sys.stderr,
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    from spct.models.load import load_reward_model
    from spct.serve.app import create_app

    app = create_app(load_reward_model(model), settings, name=Path(model).name)
    raise typer.Exit(run(app, settings))
