"""Rejective fine-tuning, the data side: which sampled judgements become training rows.

The rule (paper, section 3.2): sample N judgements of each example; reject the wrong ones; drop the
example when all N are right, because it teaches nothing. One more sample may be told the best
response: that one is dropped only when it is wrong, and the hint never enters the training prompt.
The paper does not say what happens to equal trajectories or to an example with many right ones:
equal ones are kept once, and at most `max_kept_per_example` are kept.

`reject` is pure. `build` draws through any engine into a run folder, so a killed run continues, and
writes `rows.jsonl` (chat-format prompt and completion), and `funnel.json`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spct.errors import ConfigError, DataError, TrainError
from spct.protocols import Engine
from spct.runs.folder import atomic_text
from spct.runs.store import Store
from spct.train.config import RftDataConfig
from spct.train.fitting import Row
from spct.train.outcome import correct, gold_problem
from spct.train.sampling import Draw, Formats, draw_into
from spct.types import Example, SamplingParams, Trajectory

# Outcomes of an example (asked, too_easy) and of a trajectory (the rest).
Outcome = Literal[
    "asked",
    "too_easy",
    "unscored",
    "wrong",
    "switched_off",
    "duplicate",
    "over_limit",
    "kept",
    "hinted_unscored",
    "hinted_wrong",
    "hinted_kept",
]


@dataclass(slots=True)
class Funnel:
    """How many examples and trajectories met each outcome, by number of responses and source.

    `skipped` counts the examples whose gold cannot decide, by what is wrong with it.
    """

    counts: Counter[tuple[Outcome, int, str]] = field(default_factory=Counter)
    skipped: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    general: int = 0

    def add(self, outcome: Outcome, example: Example, count: int = 1) -> None:
        """Count an outcome of one example."""
        self.counts[outcome, example.n, example.subset or "-"] += count

    def takes(self, example: Example) -> bool:
        """Whether an example's gold can decide; what is wrong with it is counted."""
        problem = gold_problem(example.gold, example.n)
        if problem is not None:
            self.skipped[problem, example.n, example.subset or "-"] += 1
        return problem is None

    def total(self, outcome: Outcome) -> int:
        """Count over all n and sources."""
        return sum(c for (o, _, _), c in self.counts.items() if o == outcome)

    def check(self) -> None:
        """Raise `TrainError` if no judgement is left to tune on."""
        if not (self.total("kept") or self.total("hinted_kept")):
            found = self.record()
            raise TrainError(
                f"choosing judgements to tune on: none is left (outcomes {found['totals']}, "
                f"skipped {found['skipped']}); expected right ones of examples that are not "
                "always right; docs/training.md says what each count asks for"
            )

    def record(self) -> dict[str, object]:
        """The funnel as JSON: totals, and a row for each n and source."""
        totals: Counter[str] = Counter()
        problems: Counter[str] = Counter()
        rows: dict[tuple[int, str], dict[str, Any]] = {}
        for (outcome, n, source), count in sorted(self.counts.items()):
            totals[outcome] += count
            rows.setdefault((n, source), {})[outcome] = count
        for (problem, n, source), count in sorted(self.skipped.items()):
            problems[problem] += count
            rows.setdefault((n, source), {}).setdefault("skipped", {})[problem] = count
        by = [{"n": n, "source": source, **row} for (n, source), row in sorted(rows.items())]
        return {
            "totals": dict(totals),
            "skipped": dict(problems),
            "general": self.general,
            "by_n_and_source": by,
        }


def is_too_easy(example: Example, trajectories: Sequence[Trajectory], n_samples: int) -> bool:
    """Whether all `n_samples` non-hinted samples were drawn and every one is correct."""
    plain = [t for t in trajectories if t.prompt.hint is None]
    return len(plain) >= n_samples > 0 and all(_is_correct(example, t) for t in plain)


def _is_correct(example: Example, trajectory: Trajectory) -> bool:
    scores = trajectory.judgement.scores if trajectory.judgement else None
    return correct(scores, example.gold or ())


def reject(
    example: Example, trajectories: Sequence[Trajectory], config: RftDataConfig, funnel: Funnel
) -> list[Trajectory]:
    """The trajectories to train on, in sample order; the funnel counts the others."""
    funnel.add("asked", example)
    too_easy = is_too_easy(example, trajectories, config.n_samples)
    if too_easy:
        funnel.add("too_easy", example)
    kept: list[Trajectory] = []
    seen: set[tuple[tuple[int, ...], str]] = set()
    for trajectory in sorted(trajectories, key=lambda t: t.index):
        outcome = _fate(example, trajectory, config, too_easy=too_easy)
        if outcome is None:  # of an example that is too easy, counted above
            continue
        key = (trajectory.prompt.order, trajectory.completion.text)
        if outcome in ("kept", "hinted_kept"):
            if key in seen:
                outcome = "duplicate"
            elif len(kept) >= config.max_kept_per_example:
                outcome = "over_limit"
            else:
                seen.add(key)
                kept.append(trajectory)
        funnel.add(outcome, example)
    return kept


def _fate(
    example: Example, trajectory: Trajectory, config: RftDataConfig, *, too_easy: bool
) -> Outcome | None:
    hinted = trajectory.prompt.hint is not None
    if trajectory.judgement is None:
        return "hinted_unscored" if hinted else "unscored"
    if not _is_correct(example, trajectory):
        return "hinted_wrong" if hinted else "wrong"
    if hinted:
        return "hinted_kept"
    if too_easy:
        return None
    return "kept" if config.non_hinted else "switched_off"


def training_row(example: Example, trajectory: Trajectory, formats: Formats) -> Row:
    """A chat-format row; the prompt is rendered anew without the hint."""
    prompt = formats.of(example).render(example, trajectory.prompt.order)
    return {
        "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "completion": [{"role": "assistant", "content": trajectory.completion.text}],
        "example_id": example.id,
        "source": example.subset or "-",
        "hinted": trajectory.prompt.hint is not None,
    }


def as_messages(row: Row) -> Row:
    """The row with one `messages` list, as verl and OpenRLHF read it."""
    rest = {k: v for k, v in row.items() if k not in ("prompt", "completion")}
    return {"messages": row["prompt"] + row["completion"], **rest}


def general_rows(rows: Sequence[Mapping[str, object]], count: int, seed: int) -> list[Row]:
    """Draw `count` general instruction rows without repeating one; refuse to run out."""
    if count > len(rows):
        raise ConfigError(
            f"mixing in general rows: {count} are asked for (general_ratio x judgement rows), the "
            f"file has {len(rows)}; lower general_ratio or give more rows"
        )
    picked = random.Random(seed).sample(list(rows), count)
    return [{**_general_row(row), "source": "general", "hinted": False} for row in picked]


def _general_row(row: Mapping[str, object]) -> Row:
    if "prompt" in row and "completion" in row:
        return {"prompt": row["prompt"], "completion": row["completion"], "example_id": None}
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        raise DataError(
            f"mixing in a general row: got the keys {sorted(row)}; expected `prompt` and "
            "`completion`, or `messages` that end with the assistant"
        )
    return {"prompt": messages[:-1], "completion": messages[-1:], "example_id": None}


async def build(
    examples: Iterable[Example],
    engine: Engine,
    formats: Formats,
    config: RftDataConfig,
    out: Path,
    general: Sequence[Mapping[str, object]] = (),
    *,
    retry_unscored: bool = False,
) -> Funnel:
    """Draw, reject and write the training rows to `out/rows.jsonl`; continues a killed run."""
    what = Draw(
        config.n_samples,
        config.hinted,
        SamplingParams(temperature=config.temperature, max_tokens=config.max_tokens),
        config.seed,
    )
    given = list(examples)
    await engine.open()  # an endpoint that serves one model names it
    with Store.open(out, what.identity(engine, formats)) as store:
        n, again = config.concurrency, retry_unscored
        await draw_into(store, given, engine, formats, what, n, retry_unscored=again)
        funnel = Funnel()
        usable = [example for example in given if funnel.takes(example)]
        rows = [
            training_row(example, trajectory, formats)
            for example, trajectories in stored(store, usable)
            for trajectory in reject(example, trajectories, config, funnel)
        ]
    funnel.general = round(config.general_ratio * len(rows))
    rows += general_rows(general, funnel.general, config.seed)
    random.Random(config.seed).shuffle(rows)
    write_rows(rows, out / "rows.jsonl")
    with atomic_text(out / "funnel.json") as file:
        file.write(json.dumps(funnel.record(), indent=2) + "\n")
    funnel.check()
    return funnel


def stored(
    store: Store, examples: Iterable[Example] | None = None
) -> Iterator[tuple[Example, tuple[Trajectory, ...]]]:
    """The examples of a run with their trajectories, in the run's order.

    With `examples`, only those, and with their labels: gold may have changed since the run drew,
    what the model was shown may not (`DataError`).
    """
    given = None if examples is None else {e.id: e for e in examples}
    for judged in store.judged():
        drawn = judged.example
        if drawn is None:
            name = judged.verdict.example_id
            raise DataError(
                f"{str(store.folder)!r} holds no example beside its verdict on {name!r}"
            )
        now = drawn if given is None else given.get(drawn.id)
        if now is None:  # not given any more
            continue
        if _shown(now) != _shown(drawn):
            raise DataError(
                f"continuing {str(store.folder)!r}: the example {drawn.id!r} has other texts now "
                "than when it was drawn; give it another id, or draw into a new folder"
            )
        yield now, judged.verdict.trajectories


def _shown(example: Example) -> tuple[object, ...]:
    return example.query, example.responses, example.reference


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write JSON lines; the file appears under its name only when complete."""
    with atomic_text(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
