"""Cells and tables of Markdown, for every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spct.measure.intervals import Interval


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with an empty line after it."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def safe(text: str) -> str:
    """Names and ids come from data: nothing in them may drive a terminal or become HTML."""
    shown = (c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return "".join(shown).replace("<", "&lt;")


def percent(share: float | None) -> str:
    """A share; a dash for none."""
    return "-" if share is None else f"{100 * share:.1f}%"


def number(x: float | None, digits: int) -> str:
    """A number; a dash for none."""
    return "-" if x is None else f"{x:.{digits}f}"


def interval(
    value: Interval | Mapping[str, Any] | None,
    *,
    scale: float = 100,
    digits: int = 1,
    signed: bool = False,
) -> str:
    """A point with its interval, in percent or points unless `scale` says otherwise."""
    if value is None:
        return "-"
    found = value if isinstance(value, Interval) else Interval(**value)
    if found.point is None or found.point != found.point:
        return "-"
    sign = "+" if signed else ""
    point, *ends = ("" if x is None else f"{scale * x:{sign}.{digits}f}" for x in found)
    return f"{point} [{ends[0]}, {ends[1]}]" if all(ends) else point
