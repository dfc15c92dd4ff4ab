"""Preferences of a run: pairs for DPO, or the best response alone for rejection sampling.

A run's rewards say which response of each example is best and by how much; gold may say it instead,
or must agree. What cannot be decided (no verdict, a tie at the top, gold without a unique best)
gives no row and is counted: a pair made of a tie would teach the order of the file.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spct.errors import ConfigError, DataError, ExtraMissing
from spct.runs.codec import Record
from spct.runs.export import write_records
from spct.runs.folder import atomic_path, atomic_text
from spct.runs.rows import Sound
from spct.runs.table import valid
from spct.types import Example, Message, Verdict
from spct.votes.ballot import Rewards, best

By = Literal["judge", "gold", "both"]
Form = Literal["dpo", "sft"]
Against = Literal["worst", "all"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which verdicts become rows.

    `by` decides: the judge's rewards, the examples' gold, or both, which must name one response.
    `min_margin` is in the units of what decides (the judge's scale, or gold's), `min_agreement` a
    share of the judgements. `against`: the worst response, or a pair with every other one.
    """

    form: Form = "dpo"
    by: By = "judge"
    against: Against = "worst"
    min_margin: float = 0.0
    min_agreement: float = 0.0


@dataclass(slots=True)
class Counts:
    """How many verdicts were read, how many rows were written, and why there are not more."""

    verdicts: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """In one line."""
        why = "; ".join(f"{n} {reason}" for reason, n in self.left_out.most_common())
        return f"{self.rows} rows of {self.verdicts} verdicts" + (f"; left out: {why}" * bool(why))

    def checked(self, rows: Iterable[Record], what: str) -> Iterator[Record]:
        """The rows; `DataError` after the last verdict if there is none."""
        yield from rows
        if not self.rows:
            raise DataError(
                f"exporting preferences of {what}: none of its {self.verdicts} verdicts decides "
                f"({dict(self.left_out)}); expected one best response; lower --min-margin or "
                "--min-agreement, decide --by judge or --by gold, or judge with a larger k"
            )


def preferences(judged: Iterable[Sound], choice: Choice, counts: Counts) -> Iterator[Record]:
    """The rows of a run's verdicts, in their order; `counts` says what became of the others.

    `prompt`, `chosen`, `rejected` (or `completion`) are lists of messages, as TRL reads them;
    beside them stand `margin`, `agreement` and the example's `id`.
    """
    for sound in judged:
        counts.verdicts += 1
        found = _decided(sound.verdict, sound.example, choice)
        if isinstance(found, str) or sound.example is None:
            counts.left_out[str(found)] += 1
            continue
        for row in _rows(sound.example, sound.verdict, found, choice, counts):
            counts.rows += 1
            yield row


def _decided(verdict: Verdict, example: Example | None, choice: Choice) -> Rewards | str:
    """The values that decide, with one best; or why there are none."""
    if example is None:
        return "without their example in the run"
    if example.n < 2:
        return "of a single response"
    if choice.by != "gold" and verdict.rewards is None:
        return "without rewards"
    if choice.by != "judge":
        if example.gold is None:
            return "without gold"
        if len(best(example.gold)) != 1:
            return "whose gold has no unique best"
    if choice.by == "gold":
        values = example.gold
    else:
        values = verdict.rewards
        if len(best(verdict.rewards or ())) != 1:
            return "with a tie at the top"
        if choice.by == "both" and best(verdict.rewards or ()) != best(example.gold or ()):
            return "where judge and gold differ"
    if choice.min_agreement and (verdict.agreement or 0.0) < choice.min_agreement:
        return f"with an agreement below {choice.min_agreement:g}"
    return values or ()


def _rows(
    example: Example, verdict: Verdict, values: Rewards, choice: Choice, counts: Counts
) -> Iterator[Record]:
    (top,) = best(values)
    for other in _others(example, values, top, choice):
        margin = values[top] - values[other]
        if margin < choice.min_margin:
            counts.left_out[f"pairs with a margin below {choice.min_margin:g}"] += 1
            continue
        if choice.form == "dpo" and example.responses[top] == example.responses[other]:
            counts.left_out["pairs of equal texts"] += 1
            continue
        row: Record = {"id": example.id, "prompt": _turns(example.query)}
        chosen = _turns([Message("assistant", example.responses[top])])
        if choice.form == "sft":
            row["completion"] = chosen
        else:
            rejected = _turns([Message("assistant", example.responses[other])])
            row |= {"chosen": chosen, "rejected": rejected}
        yield row | {"margin": margin, "agreement": verdict.agreement}


def _others(example: Example, values: Rewards, top: int, choice: Choice) -> Sequence[int]:
    """The responses that the best one is held against; for SFT the second best."""
    others = [i for i in range(example.n) if i != top]
    if choice.form == "dpo" and choice.against == "all":
        return others
    edge = (max if choice.form == "sft" else min)(values[i] for i in others)
    equal = [i for i in others if values[i] == edge]
    return [random.Random(example.id).choice(equal)]  # never the first: that is a place in the file


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def write_preferences(rows: Iterator[Record], path: str | Path) -> int:
    """Write such rows as .jsonl or .parquet, or to standard output ("-")."""
    if str(path) == "-":
        return write_records(rows, sys.stdout)
    match Path(path).suffix:
        case ".jsonl":
            with atomic_text(Path(path)) as file:
                return write_records(rows, file)
        case ".parquet":
            try:
                import pyarrow as pa  # type: ignore[import-untyped]
                import pyarrow.parquet as pq  # type: ignore[import-untyped]
            except ImportError as error:
                raise ExtraMissing("pyarrow", "parquet") from error
            with atomic_path(Path(path)) as part:
                table = pa.Table.from_pylist([valid(row) for row in rows])
                pq.write_table(table, part, compression="zstd")
            return int(table.num_rows)
        case suffix:
            raise ConfigError(
                f"cannot export preferences to {str(path)!r}: unknown ending {suffix!r}; use "
                ".jsonl, .parquet, or - for JSONL on standard output"
            )
