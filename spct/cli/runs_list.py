"""`spct runs list`: the runs below a folder with their figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def runs() -> None:
    """Look over run folders."""


@app.command("list")
def list_runs(
    root: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """List every run below a folder: examples, accuracy, ties, unscored, tokens, model.

    Each part of a benchmark and each model of a comparison is a line. A run is read once; the next
    time its index (view.db, as of `spct view`) says what there is.

    Example: spct runs list runs
    """
    from spct.measure.tables import safe, table
    from spct.view.run import runs_in

    found = []
    for run in runs_in([root]):
        run.index.follow()
        found.append(run.facts())
        run.close()
    if as_json:
        for facts in found:
            print(json.dumps({name: facts[name] for name in _SAID}))
        return
    head = ["run", "examples", "accuracy [95%]", "ties", "unscored", "tokens", "model"]
    print(safe(table(head, [_row(facts) for facts in found])))


_SAID = ("name", "n", "accuracy", "ties", "unscored", "tokens", "calls", "model")


def _row(facts: dict[str, Any]) -> list[str]:
    from spct.measure.intervals import Interval
    from spct.measure.tables import interval

    accuracy = facts["accuracy"]
    return [
        facts["name"],
        str(facts["n"]),
        "-" if accuracy is None else interval(Interval(**accuracy)),
        str(facts["ties"]),
        str(facts["unscored"]),
        str(facts["tokens"]),
        facts["model"] or "-",
    ]
