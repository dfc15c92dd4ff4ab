"""The values of rows: which can be stored and sent on as JSON text, and which came up before.

An unrelated column never refuses a row. What has a plain form gets it (a date is ISO text, NaN is
null, as pandas writes both); what has none is taken out, and the column is named as damaged, so
that a reader which needs that very column refuses the row.
"""

from __future__ import annotations

import datetime
import math
from array import array
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


class Seen:
    """A set of 64-bit keys, with the number of the row that brought each of them first.

    Open addressing in two flat arrays, 24 to 48 bytes per key: a dict of texts takes ten times the
    memory, and a file may have millions of rows. Two different keys are taken for one with a chance
    of n * n / 2**65.
    """

    def __init__(self) -> None:
        self._keys, self._rows = _empty(2**16)
        self._mask = 2**16 - 1
        self._left = 2**15  # until half of the places are taken

    def add(self, key: int, row: int) -> int:
        """Return the row that brought the key first, or 0 if it is this one."""
        key = (key & 0xFFFF_FFFF_FFFF_FFFF) or 1  # 0 marks an empty place
        keys, mask = self._keys, self._mask
        at = (key ^ (key >> 32)) & mask
        while found := keys[at]:
            if found == key:
                return self._rows[at]
            at = (at + 1) & mask
        keys[at], self._rows[at] = key, row if row <= 0xFFFF_FFFF else 0xFFFF_FFFF
        self._left -= 1
        if not self._left:
            self._grow()
        return 0

    def _grow(self) -> None:
        old = zip(self._keys, self._rows, strict=True)
        size = 2 * len(self._keys)
        keys, rows = _empty(size)
        mask = size - 1
        for key, row in old:  # all of them differ, so that each takes the first empty place
            if key:
                at = (key ^ (key >> 32)) & mask
                while keys[at]:
                    at = (at + 1) & mask
                keys[at], rows[at] = key, row
        self._keys, self._rows, self._mask, self._left = keys, rows, mask, size // 4


def _empty(size: int) -> tuple[array[int], array[int]]:
    return array("Q", bytes(8 * size)), array("I", bytes(4 * size))
