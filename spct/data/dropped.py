"""Rows that cannot be read, as values: refused one by one, or left out and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spct.data.faults import kind_of
from spct.errors import DataError


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be read, why, and what was read of it."""

    place: str
    error: DataError
    row: Any
    is_fatal: bool = False  # the file cannot be read any further


class Dropped:
    """The bad rows that were left out: how many of each kind, and the rows themselves for a file.

    `keep` gets each row with its line, the problem and what was read of it.
    """

    def __init__(self, keep: Any = None) -> None:
        self.kinds: dict[str, int] = {}
        self.n = 0
        self._keep = keep

    def add(self, refused: Refused) -> None:
        """Count a row that was left out, and keep it."""
        error, self.n = refused.error, self.n + 1
        kind = kind_of(error)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self._keep is not None:
            line = refused.place.rpartition(":")[2]
            self._keep(
                {
                    "line": int(line) if line.isdigit() else line,
                    "problem": str(error),
                    "row": refused.row,
                }
            )
