"""`spct compare`: reward models side by side on the same examples."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli.bad_rows import DropBad, RetryUnscored
from spct.cli.options import takes_settings
from spct.cli.progress import Style, watched
from spct.cli.source import Source
from spct.errors import ConfigError
from spct.measure.config import CompareConfig


@takes_settings
def compare(
    data: Annotated[str, typer.Argument(help="Examples with gold (any schema that spct reads).")],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="NAME=SPEC, repeated: a trained folder, a .toml file, default or scripted.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The run folder: replies, table, figure and JSON.")
    ],
    compare: CompareConfig,
    drop_bad: DropBad = False,
    retry_unscored: RetryUnscored = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    progress: Annotated[Style, typer.Option(help="On standard error.")] = "auto",
) -> None:
    """Show which reward models gain from more samples, and what they cost, on the same examples.

    The same command continues: no reply that `OUT/replies` holds is drawn again. What each model
    said stands in `OUT/verdicts` and, to read, in `OUT/report.html`.

    Example: spct compare pairs.jsonl -m default -m head=runs/bt -k 1,2,4,8 --out runs/compared
    """
    from spct.measure.compare import Comparison, check_scored
    from spct.measure.compare import compare as measure
    from spct.measure.compare_report import markdown, write_report
    from spct.measure.json_files import plain
    from spct.models.load import load_reward_model
    from spct.models.prices import prices_named
    from spct.runs.store import Store
    from spct.view.export import write_page

    k = max(compare.samples)
    models = {name: load_reward_model(spec, k=k) for name, spec in map(_named, model)}
    if len(models) < len(model):
        raise ConfigError(f"--model: names must differ, got {model}")
    # how the file is read, said before anything is paid
    chosen = Source((data,), limit=compare.limit, drop_bad=drop_bad, negative=compare.negative)
    examples = chosen.read(told=True)
    prices = prices_named(dict(map(_named, model)))
    how: dict[str, Any] = {"verdicts": out / "verdicts", "retry_unscored": retry_unscored}
    how["watch"] = lambda part, tally, left: watched(tally, left, progress, part=part)

    async def measured(store: Store) -> Comparison:
        try:
            ks, n_timed = compare.samples, compare.timed
            return await measure(examples, models, ks=ks, n_timed=n_timed, store=store, **how)
        finally:
            for one in models.values():  # in the loop in which their connections were opened
                await one.aclose()

    with Store.open(out / "replies", {"command": "compare"}) as store:
        found = asyncio.run(measured(store))
    for path in [*write_report(found, out, prices), write_page(out)]:
        print(f"wrote {path}", file=sys.stderr)
    print(json.dumps(plain(asdict(found))) if as_json else markdown(found, prices))
    check_scored(found)


def _named(option: str) -> tuple[str, str]:
    name, equals, spec = option.partition("=")
    return (name, spec) if equals else (Path(option).name, option)
