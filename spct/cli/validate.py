"""`spct validate`: read a file of examples strictly, before anything is spent on it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from spct.cli import source
from spct.data.rows import validate as read_all
from spct.data.schemas import parse_mapping
from spct.errors import DataError


def validate(
    file: source.File = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one object.")] = False,
) -> None:
    """Check every row of a file of examples; names file, line and field of what is wrong."""
    chosen = source.source_of(file, schema, mapping, None, None, None, None)
    report = read_all(chosen.file, schema=schema, mapping=parse_mapping(mapping or []))
    if as_json:
        print(json.dumps(asdict(report), indent=2))
    else:
        for problem in report.problems:
            print(problem, file=sys.stderr)
        print(
            f"{report.examples} examples from {report.rows} rows (schema {report.schema}), "
            f"{report.with_gold} with gold, {report.duplicates} duplicate ids, "
            f"{report.n_problems} problems"
        )
    if not report.ok:
        raise DataError(f"{chosen.file}: {report.n_problems} problems")
