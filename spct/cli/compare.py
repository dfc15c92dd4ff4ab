"""`spct compare`: reward models side by side on the same examples."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spct.errors import ConfigError

KS = "1,2,4,8,16,32"


def compare(
    data: Annotated[str, typer.Argument(help="Examples with gold (any schema that spct reads).")],
    model: Annotated[
        list[str],
        typer.Option(
            help="NAME=SPEC, repeated: a trained folder, a .toml file, default or scripted."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for table, figure and JSON.")],
    k: Annotated[str, typer.Option(help="Numbers of samples, all dividing the largest.")] = KS,
    limit: Annotated[int | None, typer.Option(help="Examples at most.")] = None,
    timed: Annotated[int, typer.Option(help="Examples that cost is measured on.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Show which reward models gain from more samples, and what they cost, on the same examples.

    The same command continues: no reply that `OUT/replies` holds is drawn again.
    """
    from spct.data.rows import read_examples
    from spct.measure.compare import compare as measure
    from spct.measure.compare_report import markdown, write_report
    from spct.measure.json_files import plain
    from spct.models.load import load_reward_model
    from spct.runs.store import Store

    ks = _numbers(k)
    models = {name: load_reward_model(spec, k=max(ks)) for name, spec in map(_named, model)}
    if len(models) < len(model):
        raise ConfigError(f"--model: names must differ, got {model}")
    examples = list(read_examples(data, limit=limit))
    with Store.open(out / "replies", {"command": "compare"}) as store:
        found = asyncio.run(measure(examples, models, ks=ks, n_timed=timed, store=store))
    for path in write_report(found, out):
        print(f"wrote {path}", file=sys.stderr)
    print(json.dumps(plain(asdict(found))) if as_json else markdown(found))


def _named(option: str) -> tuple[str, str]:
    name, equals, spec = option.partition("=")
    return (name, spec) if equals else (Path(option).name, option)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--k: got {text!r}, expected numbers such as {KS}") from None
