"""`spct train bradley-terry | pairwise | cloud`: train the scalar reward models."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from spct.config import Settings, read_toml, validated
from spct.errors import ConfigError
from spct.train.pairs import Pair, PairFunnel, pairs_of

Model = Annotated[str, typer.Option(help="The backbone: a folder with safetensors and tokenizer.")]
Data = Annotated[
    list[Path], typer.Option(help="Examples with gold, or TRL preference rows; repeatable.")
]
Out = Annotated[Path, typer.Option(help="The model's folder; the same command continues there.")]
Dev = Annotated[list[Path] | None, typer.Option(help="Examples to measure accuracy on.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, such as lora_rank=16; repeatable.")
]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train scalar and semi-scalar reward models.",
)


@app.command("bradley-terry")
def bradley_terry(
    model: Model, data: Data, out: Out, dev: Dev = None, config: Config = None, set: Set = None
) -> None:
    """Train a pointwise head on pairs (TRL RewardTrainer)."""
    from spct.train.scalar import ScalarConfig, conversation_pairs, train

    settings = _settings(ScalarConfig, config, set)
    pairs, dev_pairs = _pairs(data, "training"), _pairs(dev, "dev")
    report = train(
        model, conversation_pairs(pairs), out, settings, dev=conversation_pairs(dev_pairs)
    )
    print(report)


@app.command()
def pairwise(
    model: Model, data: Data, out: Out, dev: Dev = None, config: Config = None, set: Set = None
) -> None:
    """Train a head that reads two responses at once (PairRM's way)."""
    from spct.train.pairwise import PairwiseConfig, train

    settings = _settings(PairwiseConfig, config, set)
    print(train(model, _pairs(data, "training"), out, settings, dev=_pairs(dev, "dev")))


@app.command()
def cloud(
    model: Model,
    data: Data,
    critiques: Annotated[
        list[Path], typer.Option(help="Examples with meta.critiques, a text or null a response.")
    ],
    out: Out,
    dev: Dev = None,
    config: Config = None,
    set: Set = None,
) -> None:
    """Train a critic on given critiques, then a head on the critic's own (CLoud)."""
    from spct.config import EngineConfig
    from spct.models.assemble import build_engine
    from spct.train.cloud import CloudConfig, train

    settings = _settings(CloudConfig, config, set)
    report = train(
        model,
        _examples(critiques),
        _pairs(data, "training"),
        out,
        settings,
        lambda folder: build_engine(EngineConfig(kind="hf", model=str(folder))),
        dev=_pairs(dev, "dev"),
    )
    print(report)


S = TypeVar("S", bound=Settings)


def _settings(kind: type[S], file: Path | None, flags: Sequence[str] | None) -> S:
    """Flags over the file over the defaults; a dotted flag reaches into a table."""
    values: dict[str, Any] = {} if file is None else read_toml(file)
    for flag in flags or ():
        name, equals, text = flag.partition("=")
        if not equals:
            raise ConfigError(f"--set: got {flag!r}, expected KEY=VALUE such as lora_rank=16")
        level = values
        *tables, key = name.strip().split(".")
        for table in tables:
            level = level.setdefault(table, {})
            if not isinstance(level, dict):
                raise ConfigError(f"--set {flag}: {table!r} is a value, expected a table")
        level[key] = _value(text)
    return validated(kind, values, "settings" if file is None else str(file))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, such as cosine


def _examples(paths: Sequence[Path] | None) -> list[Any]:
    from spct.data.rows import read_examples

    return [example for path in paths or () for example in read_examples(path)]


def _pairs(paths: Sequence[Path] | None, what: str) -> list[Pair]:
    """The pairs of files; what was skipped is told on standard error."""
    if not paths:
        return []
    funnel = PairFunnel()
    pairs = pairs_of(_examples(paths), funnel)
    print(f"{what}: {funnel}", file=sys.stderr)
    return pairs
