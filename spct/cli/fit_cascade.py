"""`spct fit-cascade`: where a decision is enough, and where a judge is asked: by replay of runs."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from spct.errors import DataError
from spct.models.load import load_reward_model
from spct.protocols import RewardModel
from spct.runs.store import Store
from spct.types import Example, Verdict

FirstRun = Annotated[Path, typer.Argument(help="A run of the model that decides first.")]
SecondRun = Annotated[Path, typer.Argument(help="A run of the judge on the same examples.")]
First = Annotated[str, typer.Option(help="The first model, as of --reward-model.")]
Second = Annotated[str, typer.Option(help="The judge, as of --reward-model.")]
To = Annotated[Path, typer.Option("--to", help="The model file to write (TOML).")]
Budget = Annotated[
    float | None, typer.Option(help="Tokens per example at most; without it accuracy decides.")
]


def fit_cascade(
    first_run: FirstRun,
    second_run: SecondRun,
    first: First,
    second: Second,
    to: To = Path("cascade.toml"),
    budget: Budget = None,
) -> None:
    """Fit a cascade on two stored runs, and compare it with plain votes of the same cost.

    Nothing is asked of a model. The file that is written is a reward model like any other:
    `--reward-model cascade.toml`, `spct serve cascade.toml`.

    Example: spct fit-cascade runs/decider runs/judge --first decider.toml --second judge.toml
    """
    from spct.measure.cascade import fit_cascade as fit
    from spct.measure.cascade import items_of

    examples, decided = _read(first_run)
    judged = _read(second_run)[1]
    k = max((len(v.trajectories) for v in judged.values()), default=1)
    ks = [2**i for i in range(k.bit_length())]
    models = [load_reward_model(spec) for spec in (first, second)]
    try:
        items = items_of(examples, decided, judged, ks, models[1].settle)
        report = fit(items, ks, models[0].traits.scale, budget)
    finally:
        asyncio.run(_close(models))
    found = report.fit
    to.write_text(
        f"# {report.conclusion()}\n"
        "[cascade]\n"
        f"first = {json.dumps(first)}\n"
        f"second = {json.dumps(second)}\n"
        f"threshold = {found.threshold!r}\n"
        f"slope_first = {found.first!r}\n"
        f"slope_second = {found.second!r}\n"
        f"slopes_both = [{found.both[0]!r}, {found.both[1]!r}]\n",
        "utf-8",
    )
    print(report.markdown())
    print(f"\n{to}: use it with --reward-model {to}")


def _read(run: Path) -> tuple[list[Example], dict[str, Verdict]]:
    """A run's examples and verdicts."""
    with closing(Store.read(run)) as store:
        held = list(store.judged())
    examples = [one.example for one in held if one.example is not None]
    if len(examples) < len(held):
        raise DataError(f"the run in {run} holds no examples beside its verdicts; sample it again")
    return examples, {one.verdict.example_id: one.verdict for one in held}


async def _close(models: list[RewardModel]) -> None:
    for model in models:
        await model.aclose()
