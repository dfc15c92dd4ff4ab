"""`spct data rft | rft-filter | meta`: what the training stages learn from."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from spct.cli.bad_rows import DropBad, RetryUnscored, read
from spct.cli.options import takes_settings
from spct.cli.train import Single, Template, show
from spct.config import EngineConfig
from spct.train.config import RftDataConfig, RlConfig

app = typer.Typer()

Examples = Annotated[Path, typer.Argument(help="Examples with gold.")]


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
) -> None:
    """Sample judgements, reject the wrong and the too easy, write chat rows and a funnel."""
    from spct.models.engines import build_engine
    from spct.train.rft import as_messages, build, write_rows
    from spct.train.sampling import formats_from
    from spct.train.sft import read_rows

    funnel = asyncio.run(
        build(
            read(examples, drop_bad),
            build_engine(engine),
            formats_from(template, single_template),
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
) -> None:
    """Drop the examples that `easy_samples` samples all get right; for RL on many processes."""
    from spct.models.engines import build_engine
    from spct.runs.codec import dump_example
    from spct.train.rft import write_rows
    from spct.train.rl import hard_examples
    from spct.train.sampling import formats_from

    found = read(examples, drop_bad)
    formats = formats_from(template, single_template)
    kept = asyncio.run(hard_examples(found, build_engine(engine), formats, rl))
    write_rows(map(dump_example, kept), out)
    show({"asked": len(found), "too_easy": len(found) - len(kept), "kept": len(kept)})


@app.command("meta")
def meta_data(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `spct data rft` or `sample`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="JSONL file to write.")],
) -> None:
    """Label the trajectories of runs by the outcome rule; the folder's name is the source."""
    from spct.train.meta_data import Drawn, build

    show(asdict(build([Drawn(folder.name, folder) for folder in runs], out)))
