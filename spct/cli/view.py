"""`spct view`, `spct rank` and `spct show`: judgements to read, on a page and in the terminal."""

from __future__ import annotations

import json
import socket
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.errors import ConfigError, DataError
from spct.types import Example, Verdict

Runs = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders of sample, bench, compare or training data; runs/ by default."),
]


def view(
    runs: Runs = None,
    export: Annotated[
        Path | None, typer.Option("--export", "-o", help="Write one HTML file and end.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of the export: the first N.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Of the export: only wrong ones.")] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Of the export: no texts.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Read judgements in the browser: which are wrong, what was voted, and why.

    The page is served on 127.0.0.1 until Ctrl-C; --export writes it as one file.

    Example: spct view runs/20261126T101500Z_pairs_a1b2c3
    """
    from spct.view.export import export as write
    from spct.view.run import follow_all, runs_in

    if export is None and (limit or wrong or redact):
        raise ConfigError("--limit, --wrong and --redact belong to --export FILE.html")
    with ExitStack() as stack:
        folders = list(runs) if runs else [Path("runs")]
        found = runs_in(folders)
        stack.callback(_close, found)
        ranking = _ranking_of(folders)
        if export is not None:
            for run in found:
                run.index.follow()
            n = write(found, export, limit=limit, only_wrong=wrong, redact=redact, ranking=ranking)
            print(f"{export}: {n} examples, {export.stat().st_size:,} bytes", file=sys.stderr)
            return
        stack.callback(follow_all(found, folders).set)
        _serve(found, port, ranking, open_browser=browser)


def _close(found: Sequence[Any]) -> None:
    for run in found:
        run.close()


def _serve(found: Sequence[Any], port: int, ranking: Any, *, open_browser: bool) -> None:
    import uvicorn

    from spct.view.api import create_app

    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
        held.listen(128)  # before the address is told: a browser that is quick waits, not fails
    except OSError as error:
        raise ConfigError(
            f"--port {port}: {error.strerror}; leave it out to take a free one"
        ) from error
    address = f"http://127.0.0.1:{held.getsockname()[1]}/"
    print(f"{address} shows {len(found)} runs; Ctrl-C ends", file=sys.stderr, flush=True)
    if open_browser and not webbrowser.open(address):
        print("no browser could be opened: open the address yourself", file=sys.stderr)
    config = uvicorn.Config(create_app(found, ranking=ranking), log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[held])


def rank(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    as_json: Annotated[bool, typer.Option("--json", help="One object on stdout.")] = False,
) -> None:
    """Rank systems by what a judge said of their answers to the same queries.

    Rows name the system behind each response in meta.systems. Prints win rates, Bradley-Terry
    strengths and length-controlled win rates, each with its 95% interval.

    Example: spct rank runs/20261126T101500Z_answers_a1b2c3 --json
    """
    from spct.measure.ranking import markdown, ranking_json
    from spct.measure.ranking import rank as ranked

    found = ranked(_judged(runs))
    print(json.dumps(ranking_json(found), indent=2) if as_json else markdown(found))


def _judged(folders: Sequence[Path]) -> Iterator[tuple[Example, Verdict]]:
    from spct.runs.store import Store
    from spct.view.run import folders_in

    for folder, _ in folders_in(folders):
        with Store.read(folder) as store:
            for found in store.judged():
                if found.example is not None:
                    yield found.example, found.verdict


def _ranking_of(folders: Sequence[Path]) -> dict[str, Any] | None:
    """The ranking for the page, where the rows name systems."""
    from spct.measure.ranking import rank as ranked
    from spct.measure.ranking import ranking_json, systems_of
    from spct.view.run import folders_in

    # a run's first example says whether its rows name systems: a large one is not read for nothing
    named = []
    for folder, _ in folders_in(folders):
        first = next(_judged([folder]), None)
        if first is not None and systems_of(first[0]):
            named.append(folder)
    try:
        return dict(ranking_json(ranked(_judged(named)))) if named else None
    except DataError:
        return None


def show(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    id: Annotated[str, typer.Argument(help="The example's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="The stored record.")] = False,
) -> None:
    """Print a stored judgement: query, responses, every critique and the verdict.

    Example: spct show runs/20261126T101500Z_pairs_a1b2c3 pair-17
    """
    from rich.console import Console

    from spct.cli.card import show_verdict
    from spct.runs.codec import to_line
    from spct.runs.store import Store
    from spct.view.settings import settings_of

    with Store.read(run) as store:
        found, settings = store.sound(id), settings_of(store.config)
    if found is None:
        raise DataError(f"no verdict on example {id!r} in {run}; spct export {run} lists them")
    if as_json:
        print(to_line(found.record()))
    elif found.example is None:
        raise DataError(f"the run keeps no texts beside its verdict on {id!r}; use --json")
    else:
        top = None if settings.scale is None else settings.scale.high
        show_verdict(Console(), found.example, found.verdict, full=True, top=top)
