"""`spct rescore` and `spct export`: what can be done with a run without an LM call."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli.options import folder_anywhere, takes_settings
from spct.config import Config
from spct.core.cells import read_again
from spct.core.settle import require_logprobs, settle, with_probability
from spct.data.inputs import writable
from spct.errors import ConfigError, StoreError
from spct.measure.rules import credit, is_gold_tie
from spct.models.judges import build_format, build_vote, check_meta
from spct.models.prices import price_of
from spct.protocols import Scorer
from spct.runs.codec import dump_verdict, to_line
from spct.runs.export import export_parts, parts_of
from spct.runs.folder import CONFIG_NAME, atomic_text, read_config
from spct.runs.identity import unlike_totals
from spct.runs.judging import Tally
from spct.runs.preferences import (
    Against,
    By,
    Choice,
    Counts,
    Form,
    preferences,
    write_preferences,
)  # fmt: skip
from spct.runs.store import Store
from spct.settings import Origins, validated
from spct.text.format import Format
from spct.types import Example, Trajectory, Verdict
from spct.votes.guided import with_meta_scores
from spct.votes.vote import Vote

Run = Annotated[Path, typer.Argument(help="A run folder.", exists=False)]
Runs = Annotated[Path, typer.Argument(help="A run folder, of bench too.", exists=False)]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="File to write: .jsonl, .parquet, .csv, FOLDER/ of Parquet; - is stdout.",
        callback=folder_anywhere,
    ),
]
Partition = Annotated[
    str | None, typer.Option(help="With FOLDER/: a folder in it for each value, as of subset.")
]
Lines = Annotated[
    str | None, typer.Option("--to", help="Write the new verdicts as JSONL too; - is stdout.")
]

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
    "criteria",
    "general_criteria",
    "negative",
    "chunk",
)
_SHOWN = 10  # so many examples whose best response changed are listed


def export(
    run: Runs,
    to: To = "-",
    partition: Partition = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Preferences instead: prompt, chosen, rejected, margin.")
    ] = False,
    form: Annotated[
        Form, typer.Option(help="With --pairs: dpo, or sft with the best response alone.")
    ] = "dpo",
    by: Annotated[
        By, typer.Option(help="With --pairs: who decides; both: only where they agree.")
    ] = "judge",
    against: Annotated[
        Against, typer.Option(help="With --pairs: the worst response, or each other one.")
    ] = "worst",
    min_margin: Annotated[
        float, typer.Option(min=0, help="With --pairs: of the rewards (of gold with --by gold).")
    ] = 0.0,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="With --pairs: share of judgements that agree.")
    ] = 0.0,
) -> None:
    """Write every verdict of a run: with its judgements as JSONL or Parquet, or flat as CSV.

    A CSV row has the winner, the rewards, how much the judgements agree, and, where the example has
    gold, what the verdict earns (1 is right, a tie at the top its share, no rewards 0). The folder
    of a benchmark run gives the verdicts of all its models, benchmarks and modes. Where people gave
    verdicts of their own in spct view, CSV and JSONL have them, and how often they agree is told.
    With --pairs the rows are those of TRL's DPO and reward trainers, or with --form sft those of
    its SFT.

    Example: spct export runs/20260101T000000Z_pairs_a1b2c3 --to verdicts.csv

    Example: spct export runs/20260101T000000Z_pairs_a1b2c3 --pairs --min-margin 1 --to dpo.jsonl
    """
    choice, counts = Choice(form, by, against, min_margin, min_agreement), Counts()
    if not pairs and choice != Choice():
        raise ConfigError(
            "--form, --by, --against, --min-margin and --min-agreement choose pairs; give --pairs"
        )
    with ExitStack() as stack:
        parts = [
            (part, stack.enter_context(closing(Store.read(folder))))
            for part, folder in parts_of(run)
        ]
        if pairs:
            rows = (
                {**part, **row}
                for part, store in parts
                for row in preferences(store.judged(), choice, counts)
            )
            write_preferences(counts.checked(rows, str(run)), to)
            told = str(counts)
        else:
            n_rows = export_parts(parts, to, _correct, _marks, partition, writable)
            told = f"{n_rows} verdicts{_people([store for _, store in parts])}"
        n_damaged = sum(store.n_damaged for _, store in parts)
    damaged = f", left out {n_damaged} damaged rows" if n_damaged else ""
    print(f"{told}{damaged}", file=sys.stderr)


def _marks(folder: Path) -> dict[str, dict[str, Any]]:
    from spct.view.marks import Marks

    return Marks(folder).by_id()


def _people(stores: list[Store]) -> str:
    """How often people agree with the judge, for the last line; nothing where nobody marked."""
    from spct.view.marks import agreement

    pairs: list[tuple[object, int | None]] = []
    for store in stores:
        for id, mark in _marks(store.folder).items():
            found = store.sound(id)
            if found is not None and found.verdict.rewards is not None:
                pairs.append((mark["mark"], found.verdict.winner))
    all_marks = agreement(pairs)
    if all_marks is None:
        return ""
    kappa = "" if all_marks["kappa"] is None else f", kappa {all_marks['kappa']:.2f}"
    return f"; people agree in {all_marks['agreement']:.0%} of {all_marks['n']}{kappa}"


def _correct(verdict: Verdict, example: Example) -> float | None:
    """What the verdict earns, as in every report; None without gold or with nothing to choose."""
    if example.gold is None or example.n < 2 or is_gold_tie(example):
        return None
    return credit(verdict.rewards, example.gold)


@takes_settings
def rescore(config: Config, origins: Origins, run: Run, to: Lines = None) -> None:
    """Parse and vote the stored replies of a run again, with another parser, vote or smaller k.

    Nothing is asked of a model. What is not given stays as it was in the run. Prints what changed.

    Example: spct rescore runs/20260101T000000Z_pairs_a1b2c3 --vote majority -k 4
    """
    with closing(Store.read(run)) as store:
        given = {key for key, origin in origins.items() if origin != "default"}
        settings = _with_stored(run, config, given)
        reader, price = _Reader(settings), price_of(settings.engine)
        tally, changes, lines = Tally(), Changes(reader.unlike(store.config)), []
        for judged in store.judged():
            after = reader.verdict(judged.verdict, judged.example)
            tally.add(after)
            changes.add(judged.verdict, after)
            if to is not None:
                lines.append(to_line(dump_verdict(after)) + "\n")
    if to == "-":
        sys.stdout.writelines(lines)
    elif to is not None:
        with atomic_text(Path(to)) as file:
            file.writelines(lines)
    print(changes.summary(), file=sys.stderr if to == "-" else sys.stdout)
    print(tally.summary(), file=sys.stderr)
    if price is not None:
        print(price.bill(tally.usage), file=sys.stderr)
    tally.check()


class Changes:
    """What other verdicts come out of the same replies."""

    def __init__(self, unlike: str | None = None) -> None:
        self.unlike = unlike  # why rewards before and after are not compared
        self.n = self.n_rewards = self.n_gained = self.n_lost = 0
        self.other_best: list[str] = []

    def add(self, before: Verdict, after: Verdict) -> None:
        """Count one example."""
        self.n += 1
        self.n_lost += before.rewards is not None and after.rewards is None
        self.n_gained += before.rewards is None and after.rewards is not None
        if before.rewards is not None and after.rewards is not None:
            self.n_rewards += before.rewards != after.rewards
            if before.best != after.best:
                places = (_best(verdict) for verdict in (before, after))
                self.other_best.append(f"  {after.example_id!r}: {' -> '.join(places)}")

    def summary(self) -> str:
        """A line with the counts, and one for each of the first examples with another best."""
        more = len(self.other_best) - _SHOWN
        other_rewards = f"{self.n_rewards} with other rewards"
        if self.unlike is not None:
            other_rewards = "rewards on another scale"
        return "\n".join(
            [
                f"{self.n} verdicts: {len(self.other_best)} with another best response, "
                f"{other_rewards}, {self.n_gained} gained rewards, {self.n_lost} lost them",
                *([] if self.unlike is None else [f"  rewards not compared: {self.unlike}"]),
                *self.other_best[:_SHOWN],
                *([f"  and {more} more; --to writes all"] if more > 0 else []),
            ]
        )


def _best(verdict: Verdict) -> str:
    return " = ".join(str(i + 1) for i in verdict.best)


class _Reader:
    """Reads stored replies again, by the parser and the vote of its settings."""

    def __init__(self, config: Config) -> None:
        judge = config.judge
        self.fmt: Format = build_format(judge)
        self.vote: Vote = build_vote(judge)
        self.k, self.parse = judge.k, judge.parse
        self.meta: Scorer | None = None
        if self.vote.needs == "meta":
            if judge.meta is None:
                raise ConfigError(f"the vote {self.vote.name!r} needs a meta RM: name it (--meta)")
            from spct.models.load import load_scorer

            self.meta = load_scorer(judge.meta)
            check_meta(judge, self.meta)

    def unlike(self, stored: Mapping[str, Any]) -> str | None:
        """Why rewards read now are not compared with those of the stored identity."""
        if "aggregate" not in stored:
            return None
        return unlike_totals(stored, {**stored, "aggregate": self.vote.name})

    def verdict(self, before: Verdict, example: Example | None) -> Verdict:
        """Vote on what was drawn: a run that stopped early has fewer than k, no vote adds any."""
        drawn = [self._read(t) for t in before.trajectories[: self.k]]
        if self.meta is not None and any(t.judgement and t.meta_score is None for t in drawn):
            if example is None:
                name = before.example_id
                raise StoreError(f"the verdict of {name!r} was stored without its example")
            drawn = asyncio.run(with_meta_scores(self.meta, example, drawn))
        if self.vote.needs == "logprobs":
            require_logprobs(drawn, "the engine of the run")
            drawn = [with_probability(t) for t in drawn]
        return settle(before.example_id, drawn, self.vote, self.k)

    def _read(self, t: Trajectory) -> Trajectory:
        if t.parts:
            return read_again(t, self.fmt, self.vote, self.parse)
        if not t.prompt.messages:  # never asked: its criteria could not be had
            return t
        outcome = self.fmt.read(t.completion, t.prompt.order, parse=self.parse)
        return replace(t, outcome=outcome)


def _with_stored(run: Path, config: Config, given: set[str]) -> Config:
    """The run's own settings with those given now on top."""
    file = run / CONFIG_NAME
    stored: Any = (read_config(file) or {}).get("settings")
    if not isinstance(stored, dict) or not all(isinstance(part, dict) for part in stored.values()):
        raise StoreError(
            f"cannot read the settings of the run in {file}; `spct sample` writes them"
        )
    if "reward_model" in stored:
        name = stored["reward_model"].get("name")
        raise ConfigError(
            f"the run in {run} was judged by --reward-model {name!r}, which settings do not "
            "describe: sample again with it (replies that are stored cost nothing), or with other "
            "settings in its .toml file"
        )
    stored = {section: dict(values) for section, values in stored.items()}
    judge = stored.setdefault("judge", {})
    if judge.get("vote") == "sum":  # of spct 0.1.0: rewards are means now, which rank alike
        judge["vote"] = "mean"
    now = config.model_dump()
    for dotted in given:
        section, _, key = dotted.partition(".")
        before = stored.get(section, {}).get(key)
        if key in _BOUND and now[section][key] != before:
            raise ConfigError(
                f"{dotted} is {now[section][key]!r}, the run has {before!r}: "
                "other replies would be needed; sample a new run with it"
            )
        stored.setdefault(section, {})[key] = now[section][key]
    return validated(Config, stored, str(file))
