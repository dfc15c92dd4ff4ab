"""`spct bench` and `spct compare-runs`: what a person types; the work is in the modules beside."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ProgressStyle(StrEnum):
    """How to show that something happens."""

    plain = "plain"
    none = "none"


def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Reward models: length, first, random (baselines), default (as `spct judge`), "
            "scripted, a TOML config, or the folder of a trained model."
        ),
    ],
    benchmarks: Annotated[
        list[str],
        typer.Option("--benchmark", "-b", help="A benchmark's name or a file of examples."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder with the published files; else SPCT_DATA, the hub.")
    ] = None,
    ks: Annotated[str, typer.Option("--samples", "-k", help="Rows to report.")] = "1,2,4,8",
    greedy: Annotated[bool, typer.Option(help="Also judge once at temperature 0.")] = True,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="Units of each benchmark, N or NAME=N, drawn by the first seed."),
    ] = None,
    probes: Annotated[
        int, typer.Option(min=0, help="Attack and bias probes: items for each family.")
    ] = 0,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed; several give one row each.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    output: Annotated[
        Path | None, typer.Option("--output-dir", help="The run's folder; continued if it exists.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set stored judgements aside.")] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Continue although settings changed.")
    ] = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(help="BENCHMARK=SCORE: exit with 6 if a model's last row is below it."),
    ] = None,
    max_unscored: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 3 above this share of judgements.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    progress: Annotated[ProgressStyle, typer.Option(help="On standard error.")] = (
        ProgressStyle.plain
    ),
) -> None:
    """Judge benchmarks with reward models; writes one run folder with one report.

    Prints the report. The same command continues after any stop and repeats no LM call.

    Example: spct bench length first random -b llmbar-natural -b judgebench --output-dir runs/base
    """
    from spct.measure.command import Request, run_bench

    run_bench(
        Request(
            models=tuple(models),
            benchmarks=tuple(benchmarks),
            data=data,
            ks=ks,
            greedy=greedy,
            limits=tuple(limit or ()),
            probes=probes,
            seeds=tuple(seeds or (0,)),
            resamples=resamples,
            output=output,
            fresh=fresh,
            accept_drift=accept_drift,
            fail_under=tuple(fail_under or ()),
            max_unscored=max_unscored,
            as_json=as_json,
            quiet=progress is ProgressStyle.none,
        )
    )


def compare_runs(
    a: Annotated[Path, typer.Argument(help="A run folder of spct bench.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    model_a: Annotated[str | None, typer.Option(help="Only this model of A.")] = None,
    model_b: Annotated[str | None, typer.Option(help="Only this model of B.")] = None,
    row_a: Annotated[str | None, typer.Option(help="Only this row of A, such as greedy.")] = None,
    row_b: Annotated[str | None, typer.Option(help="Only this row of B.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every flip.")] = False,
) -> None:
    """Compare two benchmark runs item by item: flips, paired bootstrap, McNemar, settings.

    A and B may be one folder, to compare two models or rows of it.

    Example: spct compare-runs runs/base runs/tuned
    """
    import json

    from spct.measure.json_files import plain
    from spct.measure.paired import Choice, compare, comparison_markdown, read_run

    chosen = Choice(model_a, row_a), Choice(model_b, row_b)
    found = compare(read_run(a), read_run(b), *chosen, resamples=resamples, seed=seed)
    if as_json:
        print(json.dumps(plain(found), indent=1, ensure_ascii=False))
    else:
        print(comparison_markdown(found))
