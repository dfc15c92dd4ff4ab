"""`spct validate`: read a file of examples strictly, before anything is spent on it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from spct.cli import source
from spct.data.mapping import parse_mapping
from spct.data.rows import validate as read_all
from spct.data.shown import Report
from spct.errors import DataError, printable


def validate(
    file: source.File = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    show: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show the first N examples as they were read.")
    ] = 1,
    negative: source.NegativeSign = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one object.")] = False,
) -> None:
    """Read a file of examples strictly: shows the first as it was read, counts, and every fault.

    Each kind of fault is told once, with the lines that have it and what to do about it.

    Example: spct validate pairs.jsonl --map query=question --map responses=a,b --show 3
    """
    chosen = source.source_of(file, schema, mapping, None, None, None, None)
    for name in chosen.files:
        report = read_all(
            name,
            schema=schema,
            mapping=parse_mapping(mapping or []),
            show=max(show, 1),
            negative=negative,
        )
        if as_json:
            print(json.dumps(asdict(report), indent=2, default=dict))
        else:
            _print(report, show)
        if not report.ok:
            s = "s" * (report.n_problems != 1)
            kinds = "" if report.examples else "; nothing in it can be read"
            raise DataError(f"{name}: {report.n_problems} problem{s}{kinds}")


def _print(report: Report, show: int) -> None:
    for problem in report.problems:
        print(printable(problem), file=sys.stderr)
    if report.ok:
        for shown in report.shown[:show]:
            for line in shown.lines():
                print(printable(line))
    elif report.shown:  # with the faults, a report stays within twenty lines
        for line in report.brief()[1:]:
            print(printable(line))
    print(report.summary())
    for line in report.details() if report.ok else ():
        print(line)
    for note in report.notes:
        print(f"note: {printable(note)}")
