"""`spct data rft | rft-filter | meta`: what the training stages learn from."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from spct.cli.bad_rows import DropBad, RetryUnscored, read
from spct.cli.dry_run import sampling
from spct.cli.options import takes_settings
from spct.cli.train import Single, Template, show
from spct.config import EngineConfig
from spct.errors import DataError
from spct.train.config import RftDataConfig, RlConfig

app = typer.Typer()

Examples = Annotated[Path, typer.Argument(help="Examples with gold.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be asked; ask nothing.")]


@app.command("rft")
@takes_settings
def rft_data(
    examples: Examples,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run folder; the same command continues there.")
    ],
    engine: EngineConfig,
    rft_data: RftDataConfig,
    general: Annotated[Path | None, typer.Option(help="General chat rows to mix in.")] = None,
    layout: Annotated[
        Literal["prompt_completion", "messages"],
        typer.Option(
            help="Of the rows: prompt_completion for TRL and OpenRLHF, messages for verl."
        ),
    ] = "prompt_completion",
    template: Template = "pointwise",
    single_template: Single = "single",
    drop_bad: DropBad = False,
    retry_unscored: RetryUnscored = False,
    dry_run: DryRun = False,
) -> None:
    """Sample judgements, reject the wrong and the too easy, write chat rows and a funnel."""
    from spct.models.engines import build_engine
    from spct.train.rft import as_messages, build, write_rows
    from spct.train.sampling import formats_from
    from spct.train.sft import read_rows

    formats = formats_from(template, single_template)
    if dry_run:
        n, hinted = rft_data.n_samples, rft_data.hinted
        return sampling(examples, n, hinted, rft_data.max_tokens, formats, drop_bad)
    funnel = asyncio.run(
        build(
            read(examples, drop_bad),
            build_engine(engine),
            formats,
            rft_data,
            out,
            read_rows(general) if general else (),
            retry_unscored=retry_unscored,
        )
    )
    # verl reads conversations; the rows of TRL stay beside them, as the funnel counts those.
    if layout == "messages":
        path = out / "rows.jsonl"
        write_rows(map(as_messages, read_rows(path)), out / "messages.jsonl")
    show(funnel.record())


@app.command("rft-filter")
@takes_settings
def rft_filter(
    examples: Examples,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="JSONL file of the examples that are not too easy.")
    ],
    engine: EngineConfig,
    rl: RlConfig,
    template: Template = "pointwise",
    single_template: Single = "single",
    drop_bad: DropBad = False,
    dry_run: DryRun = False,
) -> None:
    """Drop the examples that `easy_samples` samples all get right; for RL on many processes."""
    from spct.models.engines import build_engine
    from spct.runs.codec import dump_example
    from spct.train.outcome import gold_problem
    from spct.train.rft import write_rows
    from spct.train.rl import hard_examples
    from spct.train.sampling import formats_from

    formats = formats_from(template, single_template)
    if dry_run:
        most = rl.max_completion_tokens
        return sampling(examples, rl.easy_samples, False, most, formats, drop_bad)
    found = read(examples, drop_bad)
    hard, too_easy = asyncio.run(hard_examples(found, build_engine(engine), formats, rl, out))
    problems = [gold_problem(e.gold, e.n) for e in hard]
    kept = [e for e, problem in zip(hard, problems, strict=True) if problem is None]
    write_rows(map(dump_example, kept), out)
    counts = {"asked": len(found), "too_easy": too_easy, "kept": len(kept)}
    show({**counts, "skipped": dict(Counter(filter(None, problems)))})


@app.command("export-rl")
def export_rl(
    examples: Examples,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .jsonl or .parquet (verl's).")
    ],
    trainer: Annotated[
        Literal["trl", "verl", "openrlhf"], typer.Option("--for", help="Whose fields to write.")
    ],
    passes: Annotated[int, typer.Option(min=1, help="Orders of each example's responses.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the orders.")] = 0,
    template: Template = "pointwise",
    single_template: Single = "single",
    drop_bad: DropBad = False,
) -> None:
    """Write the prompts of RL for a trainer of your own, with what its reward function needs.

    Every trainer's reward calls the rule of `spct train rl`; its flags are told on standard error.
    Prompts that are too easy are not left out here: spct data rft-filter does that.

    Example: spct data export-rl rl.jsonl --for verl --out rl.parquet
    """
    from spct.integrations import outcome
    from spct.train.export_rl import rows_for, write
    from spct.train.rl import rl_rows
    from spct.train.sampling import formats_from

    formats = formats_from(template, single_template)
    rows, funnel = rl_rows(read(examples, drop_bad), formats, seed=seed, passes=passes)
    if not rows:
        raise DataError(f"{examples}: no example has gold that can decide ({dict(funnel.skipped)})")
    write(rows_for(trainer, rows, formats), out)
    show({"prompts": funnel.prompts, "skipped": dict(funnel.skipped)})
    flags = {
        "trl": f"--dataset_name {out} --reward_funcs spct.integrations.outcome.trl_reward",
        "verl": f"data.train_files={out} reward.custom_reward_function.path={outcome.__file__}",
        "openrlhf": f"--data.prompt_dataset {out} --data.input_key input --data.label_key label "
        f"--data.apply_chat_template --reward.remote_url {outcome.__file__}",
    }
    print(f"{trainer}: {flags[trainer]}", file=sys.stderr)


@app.command("meta")
def meta_data(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `spct data rft` or `sample`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="JSONL file to write.")],
    dry_run: DryRun = False,
) -> None:
    """Label the trajectories of runs by the outcome rule; the folder's name is the source."""
    from spct.train.meta_data import Drawn, build

    if dry_run:
        for folder in runs:
            print(f"run     {folder}: {'' if folder.is_dir() else 'not '}there")
        return
    show(asdict(build([Drawn(folder.name, folder) for folder in runs], out)))
