"""`spct bench best-of-n`: gold against the judge's reward over n, of the verdicts of a run."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def best_of_n(
    run: Annotated[Path, typer.Argument(help="A run folder: lists with gold that were judged.")],
    n: Annotated[
        list[int] | None,
        typer.Option("-n", help="Responses to pick from; repeat it. Default: 1, 2, 4, ..."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Save the figure under this name (.png and .svg).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """See over-optimisation before RL: what gold says of the judge's pick out of n responses.

    Needs a run over lists of several responses with gold; asks nothing of a model. Columns: KL =
    log n - (n - 1) / n, the judge's reward, gold, gold's gain over picking at random, the best that
    a pick could reach and the share of it, and the length of what is picked.

    Example: spct bench best-of-n runs/20260101T000000Z_lists_a1b2c3 --figure best_of_n
    """
    from spct.measure.best_of_n import figure as drawn
    from spct.measure.best_of_n import lists_of, markdown, measure
    from spct.measure.figures import save_figure
    from spct.runs.export import parts_of
    from spct.runs.store import Store

    with ExitStack() as stack:
        stores = [stack.enter_context(closing(Store.read(path))) for _, path in parts_of(run)]
        lists, ns = lists_of((sound for store in stores for sound in store.judged()), n)
    report = measure(lists, ns)
    if figure is not None:
        save_figure(drawn(report), figure)
    if as_json:
        told = {**asdict(report), "over_optimised": report.over_optimised}
        print(json.dumps(told, indent=1))
    else:
        print(markdown(report), end="")
