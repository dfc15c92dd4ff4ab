"""The training commands: `spct rft data`, `rft train`, `rl`, `meta data`, `meta train`, `pipeline`.

Settings come from a TOML file (`--config`, one stage's keys at the top level) and from repeated
`--set key=value`, which wins. Reports go to standard output as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from spct.config import EngineConfig, Settings, read_toml, validated
from spct.errors import ConfigError

rft = typer.Typer(no_args_is_help=True, help="Rejective fine-tuning: build the data, then train.")
meta = typer.Typer(no_args_is_help=True, help="The meta RM: build its data, then train it.")

S = TypeVar("S", bound=Settings)
File = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of this stage.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file.")]
Out = Annotated[Path, typer.Option(help="Folder to write; a killed run continues there.")]
Template = Annotated[str, typer.Option(help="Format for several responses: a name or a file.")]
Model = Annotated[str | None, typer.Option(help="Model of the engine that samples.")]
Adapter = Annotated[str | None, typer.Option(help="LoRA adapter on that model.")]
Kind = Annotated[str, typer.Option("--engine", help="Engine that samples.")]
BaseUrl = Annotated[str | None, typer.Option(help="Of a compatible endpoint.")]
Single = Annotated[str, typer.Option(help="Format for single responses (0/1): name or file.")]


def settings(kind: type[S], file: Path | None, given: list[str] | None) -> S:
    """The settings of a stage: the file, then `--set`."""
    values = read_toml(file) if file is not None else {}
    for item in given or []:
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item!r}: expected key=value")
        values[key.strip()] = _value(text.strip())
    return validated(kind, values, str(file or "--set"))


def sampler(
    kind: str, model: str | None, adapter: str | None, base_url: str | None
) -> EngineConfig:
    """The engine that samples, from its flags."""
    flags = {"kind": kind, "model": model, "adapter": adapter, "base_url": base_url}
    return validated(EngineConfig, flags, "the engine's flags")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _show(report: Any) -> None:
    print(json.dumps(report, indent=2, default=str))


@rft.command("data")
def rft_data(
    examples: Annotated[Path, typer.Argument(help="Examples with gold.")],
    out: Out,
    model: Model = None,
    adapter: Adapter = None,
    engine: Kind = "auto",
    base_url: BaseUrl = None,
    general: Annotated[Path | None, typer.Option(help="General chat rows to mix in.")] = None,
    layout: Annotated[
        str, typer.Option(help="prompt_completion (TRL, OpenRLHF) or messages (verl).")
    ] = "prompt_completion",
    template: Template = "pointwise",
    single_template: Single = "single",
    config: File = None,
    set: Set = None,
) -> None:
    """Sample judgements, reject the wrong and the too easy, write chat rows and a funnel."""
    from spct.data.rows import read_examples
    from spct.models.assemble import build_engine
    from spct.train.config import RftDataConfig
    from spct.train.rft import as_messages, build, write_rows
    from spct.train.sampling import formats_from
    from spct.train.sft import read_rows

    if layout not in ("prompt_completion", "messages"):
        raise ConfigError(f"--layout {layout!r}: expected prompt_completion or messages")
    chosen = sampler(engine, model, adapter, base_url)
    funnel = asyncio.run(
        build(
            read_examples(examples),
            build_engine(chosen),
            formats_from(template, single_template),
            settings(RftDataConfig, config, set),
            out,
            read_rows(general) if general else (),
        )
    )
    if layout == "messages":
        path = out / "rows.jsonl"
        write_rows(map(as_messages, read_rows(path)), out / "messages.jsonl")
    _show(funnel.record())


@rft.command("filter")
def rft_filter(
    examples: Annotated[Path, typer.Argument(help="Examples with gold.")],
    out: Annotated[Path, typer.Option(help="JSONL file of the examples that are not too easy.")],
    model: Model = None,
    adapter: Adapter = None,
    engine: Kind = "auto",
    base_url: BaseUrl = None,
    template: Template = "pointwise",
    single_template: Single = "single",
    config: File = None,
    set: Set = None,
) -> None:
    """Drop the examples that `easy_samples` samples all get right; for RL on many processes."""
    from spct.data.rows import read_examples
    from spct.models.assemble import build_engine
    from spct.runs.codec import dump_example
    from spct.train.config import RlConfig
    from spct.train.rft import write_rows
    from spct.train.rl import hard_examples
    from spct.train.sampling import formats_from

    chosen = sampler(engine, model, adapter, base_url)
    found = list(read_examples(examples))
    formats = formats_from(template, single_template)
    kept = asyncio.run(
        hard_examples(found, build_engine(chosen), formats, settings(RlConfig, config, set))
    )
    write_rows(map(dump_example, kept), out)
    _show({"asked": len(found), "too_easy": len(found) - len(kept), "kept": len(kept)})


@rft.command("train")
def rft_train(
    rows: Annotated[Path, typer.Argument(help="Chat rows (rows.jsonl of `spct rft data`).")],
    model: Annotated[str, typer.Option(help="Model folder or name to tune.")],
    out: Out,
    config: File = None,
    set: Set = None,
) -> None:
    """Tune a model on accepted judgements; the loss is on the completion alone."""
    from spct.train import sft
    from spct.train.config import SftConfig

    _show(asdict(sft.train(model, sft.read_rows(rows), out, settings(SftConfig, config, set))))


def rl(
    examples: Annotated[Path, typer.Argument(help="Examples with gold.")],
    model: Annotated[str, typer.Option(help="Model folder or name to train.")],
    out: Out,
    dev: Annotated[Path | None, typer.Option(help="Examples to watch (with dev_steps).")] = None,
    template: Template = "pointwise",
    single_template: Single = "single",
    config: File = None,
    set: Set = None,
) -> None:
    """Train with GRPO on the outcome rule: +1 for a correct judgement, -1 for any other."""
    from spct.data.rows import read_examples
    from spct.train import rl as stage
    from spct.train.config import RlConfig
    from spct.train.dev import dev_set
    from spct.train.local import LocalEngine
    from spct.train.sampling import formats_from

    chosen = settings(RlConfig, config, set)
    formats = formats_from(template, single_template)
    found = list(read_examples(examples))
    watched = dev_set(read_examples(dev), found) if dev is not None else None
    asked = len(found)
    if chosen.drop_easy:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "spct rl on several processes with drop_easy = true: each would sample for itself; "
                "run `spct rft filter` once before, and set drop_easy = false"
            )
        engine = LocalEngine(model, device="cpu" if chosen.use_cpu else "auto")
        found = asyncio.run(stage.hard_examples(found, engine, formats, chosen))
    rows, funnel = stage.rl_rows(found, formats, seed=chosen.seed, passes=chosen.passes)
    report = stage.train(model, rows, out, chosen, formats, watched)
    _show({**asdict(report), "n_too_easy": asked - len(found), "skipped": dict(funnel.skipped)})


@meta.command("data")
def meta_data(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `spct rft data` or `sample`.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
) -> None:
    """Label the trajectories of runs by the outcome rule; the folder's name is the source."""
    from spct.runs.store import Store
    from spct.train.meta_rm import MetaFunnel, meta_rows
    from spct.train.rft import stored, write_rows

    funnel, rows = MetaFunnel(), []
    for folder in runs:
        with Store.read(folder) as store:
            pairs = ((example, t) for example, ts in stored(store) for t in ts)
            rows += meta_rows(pairs, folder.name, funnel)
    write_rows(rows, out)
    _show(asdict(funnel))


@meta.command("train")
def meta_train(
    rows: Annotated[Path, typer.Argument(help="Labelled trajectories of `spct meta data`.")],
    model: Annotated[
        str, typer.Option(help="Model folder or name to put the head on; an adapter is merged.")
    ],
    out: Out,
    config: File = None,
    set: Set = None,
) -> None:
    """Train the one-logit head with binary cross-entropy."""
    from spct.train import meta_rm
    from spct.train.adapters import merged_folder
    from spct.train.config import MetaConfig
    from spct.train.sft import read_rows

    start = merged_folder(model, out / "base")
    _show(asdict(meta_rm.train(start, read_rows(rows), out, settings(MetaConfig, config, set))))


def pipeline(
    config: Annotated[Path, typer.Argument(help="TOML file with [files] and a table a stage.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Run this stage alone, even if it is done; repeatable.")
    ] = None,
) -> None:
    """Run the stages in a row; finished ones are skipped, a killed one continues."""
    from spct.train.pipeline import STAGES, PipelineConfig, run

    for name in only or []:
        if name not in STAGES:
            raise ConfigError(f"--only {name!r}: no such stage; there are {', '.join(STAGES)}")
    chosen = validated(PipelineConfig, read_toml(config), str(config))
    _show(run(chosen, [stage for stage in STAGES if stage in (only or [])]))
