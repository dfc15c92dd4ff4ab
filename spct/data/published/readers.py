"""The one reader of each public set: where its texts lie and what its labels mean.

`spct data local` cleans what these give, `spct bench` presents it as the benchmark says, and a
file of such rows is read as it is. A verdict that the set does not give is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from spct.data.columns import Columns
from spct.data.layouts.words import FIRST, SECOND, TIE
from spct.data.turns import query_of
from spct.types import Example, Message


class Read(NamedTuple):
    """What a row of a public set says."""

    query: tuple[Message, ...]
    responses: tuple[str, ...]
    gold: tuple[float, ...] | None
    subset: str | None = None


def as_rows(read: Callable[[Columns], Read]) -> Callable[[Columns], Example]:
    """A reader of rows, of the reader of a set."""

    def example(row: Columns) -> Example:
        found = read(row)
        if found.gold is None:
            row.note("no verdict: the row has no gold")
        return row.example(found.query, found.responses, found.gold, subset=found.subset)

    return example


def _two(row: Columns, first: str, second: str) -> tuple[str, str]:
    return row.text(first, "responses"), row.text(second, "responses")


def _asked(row: Columns, column: str) -> tuple[Message, ...]:
    """A question as it stands: these sets have no dialogues."""
    return (Message("user", row.text(column, "query")),)


def judgebench(row: Columns) -> Read:
    """JudgeBench: exactly one of the pair is correct."""
    gold = row.one_of("label", {"A>B": FIRST, "B>A": SECOND})
    subset = row.text("source", "subset") if "source" in row else None
    return Read(_asked(row, "question"), _two(row, "response_A", "response_B"), gold, subset)


def llmbar(row: Columns) -> Read:
    """LLMBar: the label counts the outputs from 1."""
    gold = row.one_of("label", {1: FIRST, 2: SECOND})
    return Read(_asked(row, "input"), _two(row, "output_1", "output_2"), gold)


def autoj(row: Columns) -> Read:
    """Auto-J: the label counts from 0, and 2 is a tie."""
    gold = row.one_of("label", {0: FIRST, 1: SECOND, 2: TIE})
    responses = _two(row, "response 1", "response 2")
    return Read(_asked(row, "prompt"), responses, gold, row.text("scenario", "subset"))


def pandalm(row: Columns) -> Read:
    """PandaLM: the verdict that two of three annotators share (1, 2, or 0 for a tie), if any.

    Six published responses are JSON booleans: the texts True and False that somebody parsed.
    """
    labels = {1: FIRST, 2: SECOND, 0: TIE}
    votes = [row.one_of(f"annotator{i}", labels) for i in (1, 2, 3)]
    gold, count = Counter(votes).most_common(1)[0]
    responses = []
    for column in ("response1", "response2"):
        value = row.take(column, "responses")
        responses.append(str(value) if isinstance(value, bool) else row.text(column, "responses"))
    instruction = row.text("instruction", "query")
    given = row.text("input", "query") if "input" in row else ""
    query = f"{instruction}\n\n{given}" if given.strip() else instruction
    verdict = gold if count > 1 else None
    return Read((Message("user", query),), tuple(responses), verdict)


def rewardbench2(row: Columns) -> Read:
    """RewardBench 2: right responses before wrong ones; in Ties several are right."""
    chosen, rejected = texts(row, "chosen"), texts(row, "rejected")
    gold = (1.0,) * len(chosen) + (0.0,) * len(rejected)
    subset = row.text("subset", "subset") if "subset" in row else None
    query = query_of(row.place, "prompt", row.take("prompt", "query"))
    return Read(query, (*chosen, *rejected), gold, subset)


def rmb(row: Columns) -> Read:
    """RMB's best-of-n lists: the best answer before the others."""
    best, losers = row.take("bon_best", "responses"), row.take("loser_list", "responses")
    if not isinstance(losers, list) or not losers:
        raise row.bad("loser_list", losers, "a list of at least one answer")
    answers = [_answer(row, "bon_best", best)]
    answers += [_answer(row, f"loser_list[{i}]", loser) for i, loser in enumerate(losers)]
    return Read(rmb_query(row), tuple(answers), (1.0, *[0.0] * len(losers)))


def rmb_pair(row: Columns) -> Read:
    """RMB's pairs; the worse answer is under `reject`."""
    answers = tuple(_answer(row, c, row.take(c, "responses")) for c in ("chosen", "reject"))
    return Read(rmb_query(row), answers, FIRST)


def rmb_query(row: Columns) -> tuple[Message, ...]:
    """RMB's conversations; their turns carry a language, and a few are empty."""
    return query_of(row.place, "conversation_input", row.take("conversation_input", "query"))


def _answer(row: Columns, field: str, value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("answer"), str):
        raise row.bad(field, value, "an object with the text 'answer'")
    return str(value["answer"])


def texts(row: Columns, column: str, count: int | None = None) -> Sequence[str]:
    """A list of texts that must be there, of a given length if the set fixes it."""
    value = row.take(column, "responses")
    if not isinstance(value, list) or not value or (count and len(value) != count):
        raise row.bad(column, value, f"a list of {count or 'at least one'} texts")
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise row.bad(f"{column}[{i}]", text, "a text")
    return value
