"""Rows of no layout: what they may be, and the map that may read them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from spct.data.columns import Columns
from spct.data.containers import of_object
from spct.data.faults import RowError, named
from spct.data.layouts.queries import SYSTEM
from spct.data.layouts.singles import is_judge_prompt, judge_prompt, prompts_only

_QUERIES = ("quer", "prompt", "question", "instruct", "problem", "input", "message", "conversation")
_ANSWERS = (
    *("respon", "answer", "output", "complet", "reply", "candidate", "solution", "generat"),
    "summar",
)
_NO_ANSWERS = ("expected", "reference", "gold", "correct", "ground", "params")
_GOLD = ("winner", "label", "prefer", "score", "rating", "gold", "verdict", "rank", "correct")

_MAX_FIELDS, _MAX_DEPTH = 200, 4
_NO_TEXT = re.compile(
    r"(?:^|[_.-])(?:id|uid|uuid|model|source|type|lang|language|name|role|hash|sha256|url|policy|"
    r"split|date|tstamp|status|category|tokens?|len|length)$",
    re.IGNORECASE,
)

# What reinforcement learning keeps beside a prompt: nothing that a model has said.
_NO_RESPONSES = ("reward_model", "extra_info", "ground_truth", "metadata", "meta", "info", "tools")


def refusal(row: Columns, main: Sequence[str]) -> Exception:
    """The error for a row that no layout reads: its own sentence for each known kind."""
    columns = row.row
    if fault := of_object(row.place.rpartition(":")[0], columns):
        return RowError(row.place, fault)
    if any(is_judge_prompt(value) for value in columns.values()):
        return judge_prompt(row)
    for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if one in columns and other not in columns:
            return row.bad(other, named(sorted(columns)), f"the column {other!r} beside {one!r}")
    if error := _of_tree(row):
        return error
    texts = [c for c, v in columns.items() if _is_said(c, v)]
    if columns and not any(_is_worded(c, columns[c]) for c in texts):
        names = " and names" * any(isinstance(v, str) for v in columns.values())
        got = f"a table of numbers{names} with the columns {named(columns)}"
        fix = "scores alone cannot be judged: give the file with the texts that were scored"
        return row.told("columns", got, "a query and the responses to judge", fix)
    query = row.first(main)
    others = [c for c in texts if c != query and c not in SYSTEM]
    if query is not None and not any(_is_answer(c) for c in others):
        holders = [c for c in others if c not in _NO_RESPONSES and _is_long(columns[c])]
        way = likely_map(columns, holders)
        told = f" or, if they lie in {named(holders)}: {way}"
        return prompts_only(row, query, told if holders and "COLUMN" not in way else "")
    fix = f"say which is which: {likely_map(columns)}"
    if row.nulls:  # in the other rows they may have been there
        fix = f"null in this row: {named(row.nulls)}; {fix}"
    expected = "the columns of a known layout (docs/data.md)"
    return row.told("keys", named(columns) or "none", expected, fix)


def _of_tree(row: Columns) -> Exception | None:
    """The error for conversations that branch: a tree in one row, or one message of it."""
    trees = [v for v in (row.row, *row.row.values()) if isinstance(v, dict) and "replies" in v]
    is_one = isinstance(row.row.get("role"), str) and bool(row.row.keys() & {"text", "content"})
    if not trees and not is_one:
        return None
    got = "a tree of messages" if trees else f"one message per row (columns {named(row.row)})"
    fix = "write a row for each message with several replies: the turns up to it, and its replies"
    return row.told("messages", got, "a query and the responses to judge in each row", fix)


def _is_long(value: object) -> bool:
    return isinstance(value, dict | list) or len(str(value).split()) > 3


def likely_map(row: dict[str, Any], holders: Sequence[str] = ()) -> str:
    """The map that most likely reads such rows, as options to copy."""
    fields = dict(_fields(row, ""))
    said = [c for c, v in fields.items() if _is_said(c, v)]
    texts = sorted(said, key=lambda c: -len(str(fields[c])))
    plain = [c for c in texts if not _is_answer(c) and not _like(c, _GOLD)]
    query = _best(plain or texts, _QUERIES) or next(iter(plain), "COLUMN")
    answers = [c for c in texts if c != query and _holds(c, holders)][:8]
    told = ",".join(c for c in fields if c in answers) or "COLUMN,COLUMN"
    ways = {"query": query, "responses" if "," in told else "response": told}
    gold = (c for c, v in fields.items() if _like(c, _GOLD) and _is_short(v))
    if found := next((c for c in gold if c not in (query, *answers)), None):
        ways["gold"] = found
    return " ".join(f"--map {shlex.quote(f'{field}={way}')}" for field, way in ways.items())


def _holds(field: str, holders: Sequence[str]) -> bool:
    return _is_answer(field) or field.partition(".")[0] in holders


def _fields(row: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The columns, and what lies in those that are objects, by the paths that a map takes."""
    for name, value in list(row.items())[:_MAX_FIELDS]:
        is_only = isinstance(value, list) and len(value) == 1
        inside, at = (value[0], f"{name}.0.") if is_only else (value, f"{name}.")
        is_object = isinstance(inside, dict) and not inside.keys() & {"role", "from"}
        if is_object and path.count(".") < _MAX_DEPTH:
            yield from _fields(inside, path + at)
        else:
            yield path + name, value


def _is_answer(column: str) -> bool:
    """Whether a model may have said it: not a known good answer, nor a request."""
    return _like(column, _ANSWERS) and not _like(column, _NO_ANSWERS)


def _best(columns: Sequence[str], stems: Sequence[str]) -> str | None:
    return next((c for stem in stems for c in columns if stem in c.lower()), None)


def _like(column: str, stems: Sequence[str]) -> bool:
    return any(stem in column.lower() for stem in stems)


def _is_short(value: object) -> bool:
    """Whether a value may be a verdict: a number, a list of them, a word or two."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, int | float) for v in value)
    return isinstance(value, int | float) or (isinstance(value, str) and len(value.split()) <= 3)


def _is_said(column: str, value: object) -> bool:
    """Whether a value may be something that somebody said: no number, and nothing's name."""
    if _NO_TEXT.search(column):
        return False
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str | dict)
    return isinstance(value, dict) or (isinstance(value, str) and bool(value.strip()))


def _is_worded(column: str, value: object) -> bool:
    """Whether a text has several words, or a name by which it may be a question or an answer."""
    is_word = isinstance(value, str) and len(value.split()) < 2
    return not is_word or _like(column, (*_QUERIES, *_ANSWERS, "text"))
