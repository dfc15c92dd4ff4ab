"""The values of rows: which can be stored and sent on as JSON text.

An unrelated column never refuses a row. What has a plain form gets it (a date is ISO text, NaN is
null, as pandas writes both); what has none is taken out, and the column is named as damaged, so
that a reader which needs that very column refuses the row.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

MAX_DEPTH = 64
MAX_BITS = 10_000  # of a whole number; Python prints no more than 4,300 digits

Damaged = Mapping[str, str]  # column -> what could not be kept in it
NOTHING: Damaged = MappingProxyType({})


class Cell(str):
    """A cell of a table of texts, which may stand for a number where one is needed."""

    __slots__ = ()


def storable(row: dict[Any, Any]) -> tuple[dict[str, Any], Damaged]:
    """The row with values that can be kept, and what was taken out of which column."""
    damaged: dict[str, str] | None = None
    kept: dict[str, Any] | None = None
    for column, value in row.items():
        if type(value) is str and type(column) is str:  # nearly all of nearly every row
            problem = _text_problem(value) or _text_problem(column)
        else:
            problem = _problem(value, 1) or _key_problem(column)
        if problem:
            kept = dict(row) if kept is None else kept
            name = _key(column)
            kept.pop(column)
            kept[name] = _cleaned(value, 1)
            if problem != _PLAIN:
                damaged = damaged or {}
                damaged[name] = problem
    return (row if kept is None else kept), damaged or NOTHING


_PLAIN = "it has a plain form"  # a date, a decimal, NaN: replaced without loss


def _problem(value: Any, depth: int) -> str:
    """Return what keeps a value from being stored as it is, or nothing."""
    if depth > MAX_DEPTH:
        return f"it nests deeper than {MAX_DEPTH} levels"
    if isinstance(value, str):
        return _text_problem(value)
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return f"a whole number has more than {MAX_BITS} bits" if _is_huge(value) else ""
    if isinstance(value, float):
        if math.isfinite(value):
            return ""
        return _PLAIN if math.isnan(value) else f"the number {value!r} is not finite"
    if isinstance(value, list | dict):
        return _worst(value, depth + 1)
    if isinstance(value, datetime.date | datetime.time | Decimal):
        return _PLAIN
    return f"a value is of type {type(value).__name__}"


def _worst(held: list[Any] | dict[Any, Any], depth: int) -> str:
    """The first real problem in a list or an object, else that something must be replaced."""
    if isinstance(held, dict):
        for key in held:
            if problem := _key_problem(key):
                return problem
    plain = ""
    for item in held.values() if isinstance(held, dict) else held:
        # most of what a row holds is text: no call of _problem for it
        problem = _text_problem(item) if type(item) is str else _problem(item, depth)
        if problem and problem != _PLAIN:
            return problem
        plain = plain or problem
    return plain


def _key_problem(key: object) -> str:
    return _text_problem(key) if isinstance(key, str) else f"the key {key!r} is not text"


def _text_problem(text: str) -> str:
    if text.isascii():
        return "a text contains the NUL character" if "\0" in text else ""
    if "\0" in text:
        return "a text contains the NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        return f"a text contains the lone surrogate {text[err.start]!a}"
    return ""


def _is_huge(value: int) -> bool:
    return value.bit_length() > MAX_BITS


def _key(key: object) -> str:
    return str(_cleaned(key, 1)) if isinstance(key, str) else str(key)


def _cleaned(value: Any, depth: int) -> Any:
    """The value without what cannot be kept."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return None if _is_huge(value) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_key(key): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        number = float(value)
        return number if math.isfinite(number) and Decimal(str(number)) == value else str(value)
    return None
