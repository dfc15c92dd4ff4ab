"""Rows of no layout: what they may be, and the map that may read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spct.data.columns import Columns
from spct.data.containers import of_object
from spct.data.faults import RowError, named
from spct.data.layouts.queries import SYSTEM
from spct.data.layouts.singles import is_judge_prompt, judge_prompt, prompts_only

_QUERIES = ("quer", "prompt", "question", "instruct", "problem", "input", "message", "conversation")
_ANSWERS = ("respon", "answer", "output", "complet", "reply", "candidate", "solution", "generat")
_NO_ANSWERS = ("expected", "reference", "gold", "correct", "ground", "params")
_GOLD = ("winner", "label", "prefer", "score", "rating", "gold", "verdict", "rank", "correct")

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
    texts = [c for c, v in columns.items() if _is_said(v)]
    if columns and not texts:
        got = f"a table of numbers with the columns {named(columns)}"
        fix = "scores alone cannot be judged: give the file with the texts that were scored"
        return row.told("columns", got, "a query and the responses to judge", fix)
    query = row.first(main)
    others = [c for c in texts if c != query and c not in SYSTEM]
    if query is not None and not any(_is_answer(c) for c in others):
        holders = [c for c in others if c not in _NO_RESPONSES and _is_long(columns[c])]
        way = f" or, if they lie in {named(holders)}: {likely_map(columns, holders)}"
        return prompts_only(row, query, way if holders else "")
    fix = f"say which is which: {likely_map(columns)}"
    if row.nulls:  # in the other rows they may have been there
        fix = f"null in this row: {named(row.nulls)}; {fix}"
    expected = "the columns of a known layout (docs/data.md)"
    return row.told("keys", named(columns) or "none", expected, fix)


def _is_long(value: object) -> bool:
    return isinstance(value, dict | list) or len(str(value).split()) > 3


def likely_map(row: dict[str, Any], holders: Sequence[str] = ()) -> str:
    """The map that most likely reads such rows, as options to copy."""
    texts = sorted((c for c, v in row.items() if _is_said(v)), key=lambda c: -len(str(row[c])))
    plain = [c for c in texts if not _is_answer(c) and not _like(c, _GOLD)]
    query = _best(texts, _QUERIES) or next(iter(plain), "COLUMN")
    answers = [c for c in texts if c != query and (_is_answer(c) or c in holders)][:8]
    told = ",".join(sorted(answers)) or "COLUMN,COLUMN"
    way = f"--map query={query} --map {'responses' if ',' in told else 'response'}={told}"
    gold = next((c for c in row if _like(c, _GOLD) and c not in (query, *answers)), None)
    return f"{way} --map gold={gold}" if gold else way


def _is_answer(column: str) -> bool:
    """Whether a model may have said it: not a known good answer, nor a request."""
    return _like(column, _ANSWERS) and not _like(column, _NO_ANSWERS)


def _best(columns: Sequence[str], stems: Sequence[str]) -> str | None:
    return next((c for stem in stems for c in columns if stem in c.lower()), None)


def _like(column: str, stems: Sequence[str]) -> bool:
    return any(stem in column.lower() for stem in stems)


def _is_said(value: object) -> bool:
    """Whether a value may be something that somebody said."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str | dict)
    return isinstance(value, dict) or (isinstance(value, str) and bool(value.strip()))
