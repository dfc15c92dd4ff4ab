"""`spct judge`: the main job, on a file or on one query."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from spct.cli import source
from spct.cli.bad_rows import DropBad
from spct.cli.beside import Beside
from spct.cli.card import Grades, show_verdict
from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.cli.progress import Style, opened, watched
from spct.cli.reward_model import Named, load_named
from spct.config import Config
from spct.core.plan import plan
from spct.errors import ConfigError, printable
from spct.models.judges import build_format, build_judge, is_untrained, with_defaults
from spct.models.prices import price_of
from spct.protocols import RewardModel
from spct.runs.codec import dump_example, dump_verdict, to_line
from spct.runs.judging import Tally, judge_into
from spct.settings import Origins
from spct.types import Example, Usage, Verdict

# Votes whose rewards are means of scores, and so stand on the judge's scale.
MEANS = frozenset({"mean", "expected", "meta_top", "meta_weighted"})
FORCED = (
    "note: the plain default model judges, and a grammar forces the output format, because it was "
    "not trained to judge; do not rely on what it says (--model and --base-url choose another)"
)


@takes_settings
def judge(
    config: Config,
    origins: Origins,
    file: source.File = None,
    query: Annotated[str | None, typer.Option(help="Judge this query's responses.")] = None,
    response: Annotated[list[str] | None, typer.Option(help="A response; repeat it.")] = None,
    reference: Annotated[
        str | None, typer.Option(rich_help_panel=source.PANEL, help="A known good answer to show.")
    ] = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    limit: source.Limit = None,
    span: source.Range = None,
    ids: source.Ids = None,
    shuffle: source.Shuffle = False,
    reward_model: Named = None,
    drop_bad: DropBad = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every judgement.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show prompt and cost only.")] = False,
    progress: Annotated[
        Style, typer.Option(rich_help_panel="Limits", help="On standard error.")
    ] = "auto",
    max_unscored: source.MaxUnscored = 1.0,
) -> None:
    """Judge examples: principles, critiques, scores, k votes and a verdict for each.

    With OPENAI_BASE_URL (and OPENAI_API_KEY) set, the endpoint judges; else the embedded judge.

    Examples: spct judge examples/comparisons.jsonl -k 4
    or: spct judge --query "2+2?" --response 4 --response 5 --json
    """
    if dry_run and reward_model is not None:
        raise ConfigError("--dry-run shows the prompts of the settings, not of --reward-model")
    config = with_defaults(config)
    examples = _asked_here(query, response or [], reference, file)
    if not examples:
        seed = config.judge.seed if shuffle else None
        chosen = source.source_of(file, schema, mapping, limit, span, ids, seed, drop_bad)
        examples = chosen.read(
            told=config.engine.kind != "scripted", negative=config.judge.negative
        )
    if dry_run:
        _show_plan(config, examples)
        return
    rm = load_named(reward_model, config, origins) if reward_model else build_judge(config)
    beside = None if as_json or reward_model else Beside.of(config, len(examples))
    job = Job()
    shown, grades = _Shown(examples, as_json, full, beside), Grades()
    tally = job.run(_judge_all(job, config, rm, examples, shown, grades, progress))
    print(tally.summary(), file=sys.stderr)
    if price := price_of(config.engine):
        print(price.bill(tally.usage), file=sys.stderr)
    if grades.credits:
        print(grades.line(), file=sys.stderr)
    if beside is not None:
        print(beside.line(), file=sys.stderr)
    tally.check(max_unscored)


def _asked_here(
    query: str | None, responses: list[str], reference: str | None, file: list[str] | None
) -> list[Example]:
    """The example that stands on the command line, if there is one."""
    if query is None:
        if responses or reference is not None:
            raise ConfigError("--response and --reference go with --query")
        return []
    if file:
        raise ConfigError("give either a file or --query, not both")
    return [source.one_example(query, responses, reference)]


class _Shown:
    """Prints verdicts in the order of the examples, whichever is done first."""

    def __init__(
        self, examples: Sequence[Example], as_json: bool, full: bool, beside: Beside | None
    ) -> None:
        self.beside = beside
        self.top: float | None = None
        self._waiting = deque(examples)
        self._done: dict[str, Verdict] = {}
        self.is_card, self._full = not as_json, full
        self._console = Console()

    def add(self, verdict: Verdict) -> None:
        """Print this verdict and those that waited for it, or keep it."""
        self._done[verdict.example_id] = verdict
        while self._waiting and self._waiting[0].id in self._done:
            first = self._waiting.popleft()
            verdict = self._done.pop(first.id)
            if self.is_card:
                show_verdict(
                    self._console, first, verdict, full=self._full, top=self.top,
                    other=None if self.beside is None else self.beside.found.get(first.id),
                )  # fmt: skip
            else:
                print(to_line(dump_verdict(verdict) | _asked(first)), flush=True)


async def _judge_all(
    job: Job,
    config: Config,
    model: RewardModel,
    examples: Sequence[Example],
    shown: _Shown,
    grades: Grades,
    progress: Style,
) -> Tally:
    """Judge with bounded concurrency."""
    tally = Tally()

    def show(example: Example, verdict: Verdict) -> None:
        grades.add(example, verdict)
        shown.add(verdict)

    try:
        if shown.beside is not None:
            await shown.beside.read(job.gate(examples))
        await opened(model, config.engine, progress)
        recipe = model.identity()  # known now: it names the model that an endpoint serves
        if recipe.get("grammar") is not None and is_untrained(config.engine):
            print(FORCED, file=sys.stderr)
        scale = model.traits.scale if recipe.get("vote") in MEANS else None
        shown.top = grades.top = scale and scale[1]
        # On a terminal the verdicts themselves show how far it is.
        seen = progress == "auto" and (shown.is_card or sys.stdout.isatty())
        async with watched(tally, len(examples), "none" if seen else progress):
            return await judge_into(model, job.gate(examples), on_verdict=show, tally=tally)
    finally:
        await model.aclose()


def _asked(example: Example) -> dict[str, Any]:
    """What was judged, for readers of --json: query, responses and gold."""
    record = dump_example(example)
    return {key: record[key] for key in ("query", "responses", "gold")}


def _show_plan(config: Config, examples: Iterable[Example]) -> None:
    """The first prompt, and how many calls, samples and tokens the whole would take."""
    fmt, judge = build_format(config.judge), config.judge
    n_examples = n_calls = characters = 0
    for example in examples:
        calls = plan(example, fmt, judge.k, orders=judge.orders, seed=judge.seed)
        if not n_examples:
            print("\n".join(printable(m.content) for m in calls[0].prompt.messages))
        n_examples, n_calls = n_examples + 1, n_calls + len(calls)
        characters += sum(len(m.content) for call in calls for m in call.prompt.messages)
    print(
        f"{n_examples} examples, {n_calls} calls, {n_examples * judge.k} judgements; about "
        f"{characters // 4} tokens to read and at most {n_examples * judge.k * judge.max_tokens} "
        "to write",
        file=sys.stderr,
    )
    if price := price_of(config.engine):
        most = Usage(characters // 4, n_examples * judge.k * judge.max_tokens)
        print(price.forecast(most), file=sys.stderr)
