"""`spct train`: the training stages. A stage reads files and writes a folder; reports are JSON.

A stage's settings are the table of its name in the config file; its keys may also stand at the top
of a file of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli import dry_run as dry
from spct.cli import dry_run_heads as dry_heads
from spct.cli.bad_rows import DropBad, dropping, read
from spct.cli.options import Sets, takes_settings
from spct.config import EngineConfig
from spct.engines.hub import start_of
from spct.errors import ConfigError
from spct.settings import resolve
from spct.train.adapters import whole_start
from spct.train.config import (
    CloudConfig,
    DecisionConfig,
    MetaConfig,
    PairwiseConfig,
    RlConfig,
    ScalarConfig,
    SftConfig,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train a judge, a meta RM or a scalar model."
)

Model = Annotated[str, typer.Option("--model", "-m", help="Model folder or name to start from.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder to write; the same command continues there.")
]
Data = Annotated[
    list[Path], typer.Option(help="Examples with gold, or TRL preference rows; repeat it.")
]
Dev = Annotated[list[Path] | None, typer.Option(help="Examples to measure accuracy on.")]
Template = Annotated[str, typer.Option(help="Format for several responses: a name or a file.")]
Single = Annotated[str, typer.Option(help="Format for single responses (0/1): name or file.")]


@app.command("rft")
@takes_settings
def train_rft(
    rows: Annotated[Path, typer.Argument(help="Chat rows (rows.jsonl of `spct data rft`).")],
    model: Model,
    out: Out,
    rft: SftConfig,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Tune a model on accepted judgements; the loss is on the completion alone."""
    from spct.train import sft
    from spct.train.model_readme import about

    if dry_run:
        return dry.rft(rows, model, out, rft, on)
    start = start_of(model)
    with dropping(str(rows), wanted=drop_bad) as drop:
        chats = sft.read_chat_rows(rows, drop)
    show(lambda: asdict(sft.train(start, chats, out, rft, about([rows]))))


@app.command("rl")
@takes_settings
def train_rl(
    examples: Annotated[Path, typer.Argument(help="Examples with gold.")],
    model: Model,
    out: Out,
    rl: RlConfig,
    dev: Annotated[Path | None, typer.Option(help="Examples to watch (with dev_steps).")] = None,
    template: Template = "pointwise",
    single_template: Single = "single",
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train with GRPO on the outcome rule: +1 for a correct judgement, -1 for any other."""
    from spct.engines.hf import HFEngine
    from spct.train import rl as stage
    from spct.train.dev import dev_set
    from spct.train.model_readme import about
    from spct.train.sampling import formats_from

    formats = formats_from(template, single_template)
    if dry_run:
        return dry.rl(examples, model, out, rl, on, formats, drop_bad)
    model = start_of(model)
    found = read(examples, drop_bad)
    watched = dev_set(read(dev, drop_bad), found) if dev is not None else None
    n_too_easy = 0
    if rl.drop_easy:
        # Set by accelerate and torchrun; sampling here would be done once by every process.
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "spct train rl on several processes with drop_easy = true: each would sample for "
                "itself; run `spct data rft-filter` once before, and set drop_easy = false"
            )
        engine = HFEngine(model, device="cpu" if rl.use_cpu else None, dtype="auto")
        found, n_too_easy = asyncio.run(stage.hard_examples(found, engine, formats, rl, out))
    rows, funnel = stage.rl_rows(found, formats, seed=rl.seed, passes=rl.passes)
    funnel.check(n_too_easy)
    told = about([examples, *([dev] if dev else [])], (formats.several, formats.single))

    def trained() -> dict[str, Any]:
        report = stage.train(model, rows, out, rl, formats, watched, about=told)
        return {**asdict(report), "n_too_easy": n_too_easy, "skipped": dict(funnel.skipped)}

    show(trained)


@app.command("meta")
@takes_settings
def train_meta(
    rows: Annotated[Path, typer.Argument(help="Labelled trajectories of `spct data meta`.")],
    model: Model,
    out: Out,
    meta: MetaConfig,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train the meta RM: a one-logit head with binary cross-entropy. An adapter is merged first."""
    from spct.train import meta_rm
    from spct.train.model_readme import about
    from spct.train.sft import read_labelled_rows

    if dry_run:
        return dry.meta(rows, model, out, meta, on)

    begun, labelled = start_of(model), read_labelled_rows(rows)
    start = whole_start(begun, out, meta)
    show(lambda: asdict(meta_rm.train(start, labelled, out, meta, about([rows]))))


@app.command()
def pipeline(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="TOML file with [files] and a table per stage.")
    ],
    sets: Sets = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run this stage alone, even if it is done; repeat it.")
    ] = None,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
) -> None:
    """Run the stages in a row; finished ones are skipped, a killed one continues."""
    from spct.train.pipeline import STAGES, Pipeline, PipelineConfig, run

    for name in only or []:
        if name not in STAGES:
            raise ConfigError(f"--only {name!r}: no such stage; there are {', '.join(STAGES)}")
    chosen, _ = resolve(PipelineConfig, file=config, sets=sets or ())
    if dry_run:
        planned = Pipeline(chosen, lambda path: read(path, drop_bad))
        return dry_heads.pipeline(planned, drop_bad)
    stages = [stage for stage in STAGES if stage in (only or [])]
    show(lambda: run(chosen, stages, lambda path: read(path, drop_bad)))


@app.command("bradley-terry")
@takes_settings
def train_bradley_terry(
    model: Model,
    data: Data,
    out: Out,
    bradley_terry: ScalarConfig,
    dev: Dev = None,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train a pointwise head on pairs (TRL RewardTrainer)."""
    from spct.train.scalar import conversation_pairs, train

    found = _pairs(data, drop_bad)
    if dry_run:
        return dry_heads.bradley_terry(found, model, out, bradley_terry, on)
    pairs = conversation_pairs(found)
    watched = conversation_pairs(_pairs(dev, drop_bad, "dev"))
    start = whole_start(model, out, bradley_terry)
    show(lambda: asdict(train(start, pairs, out, bradley_terry, dev=watched)))


@app.command("pairwise")
@takes_settings
def train_pairwise(
    model: Model,
    data: Data,
    out: Out,
    pairwise: PairwiseConfig,
    dev: Dev = None,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train a head that reads two responses at once (PairRM's way)."""
    from spct.train.pairwise import train

    pairs, watched = _pairs(data, drop_bad), _pairs(dev, drop_bad, "dev")
    if dry_run:
        return dry_heads.pairwise(pairs, model, out, pairwise, on)
    start = whole_start(model, out, pairwise)
    show(lambda: asdict(train(start, pairs, out, pairwise, dev=watched)))


@app.command("cloud")
@takes_settings
def train_cloud(
    model: Model,
    data: Data,
    critiques: Annotated[
        list[Path],
        typer.Option(help="Examples with meta.critiques: a text or null per response."),
    ],
    out: Out,
    cloud: CloudConfig,
    dev: Dev = None,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train a critic on given critiques, then a head on the critic's own (CLoud)."""
    from spct.models.engines import build_engine
    from spct.train.cloud import train

    critiqued, pairs = _examples(critiques, drop_bad), _pairs(data, drop_bad)
    if dry_run:
        return dry_heads.cloud(critiqued, pairs, model, out, cloud, on)
    watched = _pairs(dev, drop_bad, "dev")
    start = whole_start(model, out, cloud.critic)
    show(
        lambda: asdict(
            train(
                start,
                critiqued,
                pairs,
                out,
                cloud,
                lambda folder: build_engine(EngineConfig(kind="hf", model=str(folder))),
                dev=watched,
            )
        )
    )


@app.command("decision")
@takes_settings
def train_decision(
    model: Model,
    data: Data,
    out: Out,
    decision: DecisionConfig,
    questions: Annotated[
        Path | None, typer.Option(help="TOML file with the yes/no question that is asked.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Template that shows query and one response.")
    ] = None,
    wording: Annotated[Path | None, typer.Option(help="Template that puts the question.")] = None,
    drop_bad: DropBad = False,
    dry_run: dry.DryRunFlag = False,
    on: dry.On = None,
) -> None:
    """Train a readout: the log odds of yes over no say which response is better.

    Pairs, lists and single responses with gold 0 or 1; a temperature is fitted on held-out queries.
    """
    from spct.engines.readouts.asking import load_wording
    from spct.models.decision import asking
    from spct.train.decision import train

    asked = asking("yes_no", questions, state)
    examples, put = _examples(data, drop_bad), load_wording(wording)
    if dry_run:
        return dry_heads.decision(examples, model, out, decision, on, asked, put)
    start = whole_start(model, out, decision)
    show(lambda: asdict(train(start, examples, out, decision, asked, put)))


def show(report: Any | Callable[[], Any]) -> None:
    """Print a report, or what a training makes of itself; of several processes one does.

    Standard output is the report's alone: trackers, and libraries that look for one, greet on it.
    """
    with redirect_stdout(sys.stderr):
        found = report() if callable(report) else report
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(found, indent=2, default=str))


def _examples(paths: Sequence[Path] | None, drop_bad: bool) -> list[Any]:
    return [example for path in paths or () for example in read(path, drop_bad)]


def _pairs(paths: Sequence[Path] | None, drop_bad: bool, what: str = "training") -> list[Any]:
    """The pairs of files; standard error says what was skipped."""
    from spct.train.pairs import PairFunnel, pairs_of

    if not paths:
        return []
    funnel = PairFunnel()
    pairs = pairs_of(_examples(paths, drop_bad), funnel)
    print(f"{what}: {funnel}", file=sys.stderr)
    return pairs
