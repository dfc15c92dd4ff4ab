"""`spct bench` and `spct compare-runs`: what a person types; the work is in spct/measure."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer

from spct.cli.bad_rows import RetryUnscored
from spct.cli.options import takes_settings
from spct.cli.progress import Style, watched
from spct.cli.source import Source
from spct.measure.config import BenchConfig
from spct.runs.judging import Tally


@takes_settings
def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Reward models: length, first, random (baselines), default (as `spct judge`), "
            "scripted, a TOML config, or the folder of a trained model."
        ),
    ],
    bench: BenchConfig,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run folder; continued if it exists.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set stored judgements aside.")] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Continue although settings changed.")
    ] = False,
    retry_unscored: RetryUnscored = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    progress: Annotated[Style, typer.Option(help="On standard error.")] = "auto",
) -> None:
    """Judge benchmarks with reward models; writes one run folder with one report.

    Prints the report. The same command continues after any stop and repeats no LM call.

    Example: spct bench length first random -b llmbar-natural -b judgebench --out runs/base
    """
    from spct.measure.command import check, run_bench
    from spct.measure.json_files import plain
    from spct.measure.markdown import markdown
    from spct.measure.runner import seconds_of
    from spct.view.export import write_page

    quiet = progress == "none"
    for name in bench.benchmarks:
        if Path(name).is_file():  # how a file of the user's is read, before anything is paid
            chosen = Source((name,), drop_bad=bench.drop_bad, negative=bench.negative)
            chosen.read(told=not quiet)

    def watch(part: str, tally: Tally, left: int) -> AbstractAsyncContextManager[None]:
        return watched(tally, left, progress, part=part)

    folder, found = run_bench(
        models,
        bench,
        out,
        fresh=fresh,
        accept_drift=accept_drift,
        retry_unscored=retry_unscored,
        watch=watch,
    )
    report = plain(found)
    write_page(folder)
    if not quiet:
        seconds = sum(entry["seconds"] for entry in seconds_of(folder).values())
        print(
            f"{folder}: report.md, report.json, report.html, figures; judged for {seconds:.1f} s",
            file=sys.stderr,
        )
    print(json.dumps(report, ensure_ascii=False) if as_json else markdown(report))
    check(report, bench)


def compare_runs(
    a: Annotated[Path, typer.Argument(help="A run folder of spct bench.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    model_a: Annotated[str | None, typer.Option(help="Only this model of A.")] = None,
    model_b: Annotated[str | None, typer.Option(help="Only this model of B.")] = None,
    row_a: Annotated[str | None, typer.Option(help="Only this row of A, such as Voting@8.")] = None,
    row_b: Annotated[str | None, typer.Option(help="Only this row of B.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every flip.")] = False,
) -> None:
    """Compare two benchmark runs item by item: flips, paired bootstrap, McNemar, settings.

    A and B may be one folder, to compare two models or rows of it.

    Example: spct compare-runs runs/base runs/tuned
    """
    from spct.measure.json_files import plain
    from spct.measure.paired import Choice, compare, comparison_markdown, read_run

    chosen = Choice(model_a, row_a), Choice(model_b, row_b)
    found = compare(read_run(a), read_run(b), *chosen, resamples=resamples, seed=seed)
    if as_json:
        print(json.dumps(plain(found), indent=1, ensure_ascii=False))
    else:
        print(comparison_markdown(found))
