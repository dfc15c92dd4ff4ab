"""`spct judge`: the main job, on a file or on one query."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console

from spct.cli import source
from spct.cli.card import safe, show_verdict
from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.config import Config
from spct.core.plan import plan
from spct.errors import ConfigError
from spct.models.judges import build_format, build_judge, is_untrained, with_defaults
from spct.runs.codec import dump_verdict, to_line
from spct.runs.judging import Tally, judge_into
from spct.types import Example, RewardModel, Verdict

FORCED = (
    "note: the plain default model judges, and a grammar forces the output format, because it was "
    "not trained to judge; do not rely on what it says (--model and --base-url choose another)"
)


@takes_settings
def judge(
    config: Config,
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
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every judgement.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show prompt and cost only.")] = False,
    max_unscored: source.MaxUnscored = 1.0,
) -> None:
    """Judge examples: principles, critiques, scores, k votes and a verdict for each.

    With OPENAI_BASE_URL (and OPENAI_API_KEY) set, the endpoint judges; else the embedded judge.

    Examples: spct judge examples/comparisons.jsonl -k 4
    or: spct judge --query "2+2?" --response 4 --response 5 --json
    """
    config = with_defaults(config)
    if query is not None:
        if file is not None:
            raise ConfigError("give either a file or --query, not both")
        examples = [source.one_example(query, response or [], reference)]
    else:
        if response or reference is not None:
            raise ConfigError("--response and --reference go with --query")
        seed = config.judge.seed if shuffle else None
        examples = source.source_of(file, schema, mapping, limit, span, ids, seed).read()
    if dry_run:
        _show_plan(config, examples)
        return
    rm = build_judge(config)
    if rm.grammar is not None and is_untrained(config.engine):
        print(FORCED, file=sys.stderr)
    job = Job()
    tally = job.run(_judge_all(rm, examples, job, as_json, full))
    print(tally.summary(), file=sys.stderr)
    tally.check(max_unscored)


async def _judge_all(
    model: RewardModel, examples: Sequence[Example], job: Job, as_json: bool, full: bool
) -> Tally:
    """Judge with bounded concurrency, print in the order of the input."""
    console = Console()
    waiting = deque(examples)
    done: dict[str, Verdict] = {}

    def show(example: Example, verdict: Verdict) -> None:
        done[example.id] = verdict
        while waiting and waiting[0].id in done:
            first = waiting.popleft()
            if as_json:
                print(to_line(dump_verdict(done.pop(first.id))), flush=True)
            else:
                show_verdict(console, first, done.pop(first.id), full=full)

    try:
        await model.open()
        return await judge_into(model, job.gate(examples), on_verdict=show)
    finally:
        await model.aclose()


def _show_plan(config: Config, examples: Iterable[Example]) -> None:
    """The first prompt, and how many calls, samples and tokens the whole would take."""
    fmt, judge = build_format(config.judge), config.judge
    n_examples = n_calls = characters = 0
    for example in examples:
        calls = plan(example, fmt, judge.k, orders=judge.orders, seed=judge.seed)
        if not n_examples:
            print("\n".join(safe(m.content) for m in calls[0].prompt.messages))
        n_examples, n_calls = n_examples + 1, n_calls + len(calls)
        characters += sum(len(m.content) for call in calls for m in call.prompt.messages)
    print(
        f"{n_examples} examples, {n_calls} calls, {n_examples * judge.k} judgements; about "
        f"{characters // 4} tokens to read and at most {n_examples * judge.k * judge.max_tokens} "
        "to write",
        file=sys.stderr,
    )
