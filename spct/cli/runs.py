"""`spct rescore` and `spct export`: what can be done with a run without an LM call."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli.options import takes_settings
from spct.config import Config, Origins, validated
from spct.errors import ConfigError, StoreError
from spct.models.judges import build_format, build_judge
from spct.runs.codec import dump_verdict, load_example, load_verdict, to_line
from spct.runs.engines import ReplayEngine
from spct.runs.export import export as write_export
from spct.runs.folder import atomic_text
from spct.runs.judging import Tally
from spct.runs.store import Store
from spct.types import Example

Run = Annotated[Path, typer.Argument(help="A run folder.", exists=False)]
To = Annotated[str, typer.Option("--to", help="File to write, .jsonl or .parquet; - is stdout.")]

# What a stored reply depends on: changing these would need new replies.
_BOUND = (
    "format",
    "template",
    "temperature",
    "top_p",
    "max_tokens",
    "top_logprobs",
    "seed",
    "orders",
)


def export(run: Run, to: To = "-") -> None:
    """Write every verdict of a run, with its judgements, as JSONL or Parquet.

    Example: spct export runs/20260101T000000Z_pairs_a1b2c3 --to verdicts.parquet
    """
    with closing(Store.read(run)) as store:
        n_rows = write_export(store, to)
        damaged = f", left out {store.n_damaged} damaged rows" if store.n_damaged else ""
    print(f"{n_rows} verdicts{damaged}", file=sys.stderr)


@takes_settings
def rescore(config: Config, origins: Origins, run: Run, to: To = "-") -> None:
    """Parse and vote the stored replies of a run again, with another parser, vote or smaller k.

    Nothing is asked of a model. What is not given stays as it was in the run.

    Example: spct rescore runs/20260101T000000Z_pairs_a1b2c3 --vote majority -k 4
    """
    with closing(Store.read(run)) as store:
        given = {key: value for key, value in origins.items() if value != "default"}
        replayed = _with_stored(run, config, set(given))
        engine = ReplayEngine(store, store.config["engine"])
        tally, lines = asyncio.run(_rescore_all(replayed, engine, _stored(store)))
    if to == "-":
        sys.stdout.writelines(lines)
    else:
        with atomic_text(Path(to)) as file:
            file.writelines(lines)
    print(tally.summary(), file=sys.stderr)


def _with_stored(run: Path, config: Config, given: set[str]) -> Config:
    """The run's own settings with those given now on top."""
    try:
        stored: dict[str, Any] = json.loads((run / "config.json").read_text("utf-8"))["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"cannot read {run / 'config.json'}: {error}") from error
    now = config.model_dump()
    for dotted in given:
        section, _, key = dotted.partition(".")
        if key in _BOUND and now[section][key] != stored[section][key]:
            raise ConfigError(
                f"{dotted} is {now[section][key]!r}, the run has {stored[section][key]!r}: "
                "other replies would be needed; sample a new run with it"
            )
        stored[section][key] = now[section][key]
    merged = validated(Config, stored, str(run / "config.json"))
    build_format(merged.judge)
    return merged


def _stored(store: Store) -> Iterator[tuple[Example, int]]:
    """Each example of a run with the number of judgements that were drawn of it."""
    for record in store.records():
        if "example" not in record:
            raise StoreError(f"the verdict of {record['id']!r} was stored without its example")
        yield load_example(record["example"]), load_verdict(record).k_drawn


async def _rescore_all(
    config: Config, engine: ReplayEngine, examples: Iterator[tuple[Example, int]]
) -> tuple[Tally, list[str]]:
    """Vote on what was drawn: a run that stopped early has fewer than k, and no vote adds any."""
    tally, lines = Tally(), []
    rm = build_judge(config, engine)
    for example, n_drawn in examples:
        verdict = await rm.judge_drawn(example, min(rm.k, n_drawn))
        tally.add(verdict)
        lines.append(to_line(dump_verdict(verdict)) + "\n")
    return tally, lines
