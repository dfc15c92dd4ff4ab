"""Rows with one response: with a flag (KTO), with ratings (HelpSteer 2), or with nothing beside it.

A flag is true or false. A number is never taken for one: 1 may be the good label, the bad one, or
the lowest mark of a scale, so the user says it with --map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from spct.data.columns import Columns
from spct.data.faults import named
from spct.data.layouts.queries import MAIN, query_of_row, with_context
from spct.data.turns import response_of, split_last, turns_of
from spct.types import Example, Message

RESPONSES = (
    "completion",
    "response",
    "output",
    "generation",
    "model_output",
    "llm_response",
    "chatgpt_response",
    "prediction",
    "system_output",
    "answer",
    "solution",
)
FLAGS = ("label", "kto_tag", "is_correct", "correct", "desirable", "is_desirable", "accepted")
_RATINGS = ("score", "rating", "reward", "overall_score")
_CONVERSATIONS = ("messages", "conversations", "conversation")
_JUDGE_PROMPT = re.compile(
    r"\[(?:The )?(?:Start|Begin(?:ning)?) of (?:the )?(?:Assistant|Response|Answer|Conversation)"
    r"|<\|The Start of Assistant|act as an impartial judge|###\s*Response to evaluate"
    r"|\[BEGIN DATA\]|output your final verdict",
    re.IGNORECASE,
)


def response_column(row: Columns | dict[str, Any]) -> str | None:
    """The column of the one response."""
    return next((c for c in RESPONSES if c in row), None)


def has_single(row: dict[str, Any]) -> bool:
    """Whether a row holds a query and one response, in two columns or in one conversation."""
    column = response_column(row)
    if column is not None:
        return any(c in row for c in MAIN if c != column)
    return any(isinstance(row.get(c), list) and row[c] for c in _CONVERSATIONS)


def read_single(row: Columns) -> Example:
    """One response; gold is 1 or 0 where a flag says so."""
    column = response_column(row)
    query: tuple[Message, ...]
    if column is not None:
        value = row.take(column, "responses")
        if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
            raise _unranked(row, column, len(value))
        response = response_of(row.place, column, value)
        query = query_of_row(row)
        _note_another(row, column)
    else:
        query, response = _conversation(row)
    if any(_JUDGE_PROMPT.search(turn.content) for turn in query):
        row.note("the query is a finished judge prompt, so it is the judge's answer that is judged")
    gold = _flag(row)
    if gold is None:
        rating = next((c for c in _RATINGS if isinstance(row.row.get(c), int | float)), None)
        if rating:
            row.note(
                f"the number in {rating!r} is no gold of a single response (that is 0 or 1) and "
                f"stays in meta; if it is one: --map gold={rating}:1,0"
            )
        else:
            row.note("a single response without a label: the row has no gold")
    return row.example(query, (response,), gold)


def _unranked(row: Columns, column: str, n: int) -> Exception:
    """The error for several answers in one column, where nothing says which is the better one."""
    ways = [f"--map responses={column} if none is"]
    if n == 2:
        ways.append(f"--map chosen={column}.0 --map rejected={column}.1 if the first is")
    fix = f"say which of them is better: {', or '.join(ways)}"
    return row.bad(column, row.row[column], "one response, or a score or rank for each", fix)


def _note_another(row: Columns, column: str) -> None:
    """Name what looks like a second response, since a judge sees only one."""
    for other, value in row.left().items():
        is_like = other.startswith((f"{column}_", f"{column}2")) and other not in MAIN
        if is_like and isinstance(value, str) and len(value.split()) > 3:
            row.note(
                f"the column {other!r} looks like another response, but it is kept in meta; to "
                f"judge both: --map responses={column},{other}"
            )


def _conversation(row: Columns) -> tuple[tuple[Message, ...], str]:
    column = row.first(_CONVERSATIONS)
    if column is None:
        expected = "a response in a column of its own, or a conversation that ends with it"
        raise row.bad("response", named(row.row), expected)
    turns = turns_of(row.place, column, row.take(column, "query"))
    if turns[-1].role != "assistant":
        raise prompts_only(row, column)
    query, response = split_last(row.place, column, turns)
    return with_context(row, column, query), response


def prompts_only(row: Columns, column: str, way: str = "") -> Exception:
    """The error for a question that nobody answered."""
    fix = "these are prompts without responses; there is nothing to judge until a model answers"
    fix += way
    return row.bad("responses", sorted(row.row), f"a response to the query in {column!r}", fix)


def judge_prompt(row: Columns) -> Exception:
    """The error for a text that already asks a judge, with the responses inside it."""
    got = f"a finished judge prompt (columns {', '.join(sorted(row.row))[:120]})"
    fix = "use the file that it was made from, with the query and the responses in columns"
    return row.told("query", got, "what was asked, without a judge's instructions around it", fix)


def is_judge_prompt(value: object) -> bool:
    """Whether a text, or one of some messages, asks a judge."""
    if isinstance(value, list):
        return any(is_judge_prompt(item.get("content")) for item in value if isinstance(item, dict))
    return isinstance(value, str) and bool(_JUDGE_PROMPT.search(value))


def _flag(row: Columns) -> tuple[float] | None:
    """Gold of a flag; words and numbers say nothing by themselves."""
    for column in FLAGS:
        if column not in row:
            continue
        value = row.row[column]
        if isinstance(value, str) and value.strip().casefold() in ("true", "false"):
            value = value.strip().casefold() == "true"  # a table knows no other way to write it
        if isinstance(value, bool):
            row.take(column, "gold")
            return (float(value),)
        if column in ("label", "kto_tag"):
            way = f"--map gold={column}:GOOD,BAD"
            if isinstance(value, int | float):
                expected = "true or false"
                fix = f"numbers are never guessed; name the good value first, such as {way}"
                raise row.bad(column, value, expected, fix.replace("GOOD,BAD", "1,0"))
            row.note(f"the words in {column!r} are no gold and stay in meta; if they are: {way}")
    return None


def read_helpsteer2(rows: Sequence[Columns]) -> Example:
    """Consecutive rows of one prompt: their responses, rated by `helpfulness`."""
    first = rows[0]
    if len(rows) < 2:
        fix = "rows of one prompt must follow each other"
        expected = "two or more rows with this prompt"
        raise first.bad("prompt", first.row.get("prompt"), expected, fix)
    responses = [row.text("response", "responses") for row in rows]
    gold = [row.number("helpfulness", "gold") for row in rows]
    query = query_of_row(first)
    for row in rows[1:]:
        row.used["prompt"] = "query"
    ratings = [row.left() for row in rows]
    for column in first.left():
        if column not in ("id", "subset"):
            first.used[column] = "meta"
    return first.example(query, responses, gold, meta={"ratings": ratings})
