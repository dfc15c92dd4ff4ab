"""The rows of one file to examples: the layout that they share, their ids, and what came up.

A file has one layout. A row of another one is refused, since mixed files are merged by accident
more often than on purpose, and their golds do not compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spct.core.plan import content_id
from spct.data.columns import Columns, Notes
from spct.data.faults import bad
from spct.data.files import Row
from spct.data.layouts import table
from spct.data.layouts.mapped import gold_of_map, is_whole, read_mapped, renamed
from spct.data.layouts.singles import read_helpsteer2
from spct.data.layouts.table import Layout
from spct.data.mapping import Mapped
from spct.data.seen import Seen
from spct.errors import DataError
from spct.types import Example

REPEATED_ID = "an id that occurs again gets -2, -3 ..., as it may name the prompt"
MAX_RUNS = 200


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be read, why, and what was read of it."""

    place: str
    error: DataError
    row: Any
    is_fatal: bool = False  # the file cannot be read any further


class Parser:
    """Turns rows into examples and remembers what the file has shown so far."""

    def __init__(self, schema: str, mapping: Mapping[str, Mapped], name: str) -> None:
        self.name = name
        self.notes: Notes = Counter()
        self.n_rows = 0
        self.duplicates = 0
        self.last: Columns | None = None  # the row of the last example, with what was used of it
        self.runs: list[list[str]] = []  # [layout, first place, last place] of rows on end
        self._mapping = mapping
        self._is_whole = is_whole(mapping)
        named = table.BY_NAME.get(table.ALIASES.get(schema, schema))
        self._layout: Layout | None = named
        self._is_named = named is not None
        self._ids = Seen()
        self._contents = Seen()
        self._copies: dict[str, int] = {}

    @property
    def schema(self) -> str | None:
        """The name of the layout, or None before the first row."""
        if self._layout is not None:
            return self._layout.name
        return "mapped" if self._is_whole and self.n_rows else None

    def parse(self, rows: Iterable[Row]) -> Iterator[Example | Refused]:
        """Yield one example, or one error, for every row (or run of rows that share a prompt)."""
        run: list[Columns] = []  # rows of one prompt, where the layout spreads an example
        for row in rows:
            self.n_rows += 1
            columns = self._columns(row)
            if run and (isinstance(columns, Refused) or not _continues(run[0], columns)):
                yield self._example(run)
                run = []
            if isinstance(columns, Refused):
                yield columns
            elif self.schema == "helpsteer2" and isinstance(columns.row.get("prompt"), str):
                run.append(columns)
            else:
                yield self._example([columns])
        if run:
            yield self._example(run)
        if not self.n_rows:
            error = DataError(f"reading {self.name}: got no rows, expected at least one")
            yield Refused(self.name, error, None, is_fatal=True)

    def _columns(self, row: Row) -> Columns | Refused:
        """Rename the columns and hold the row to the layout of the file."""
        if isinstance(row.value, DataError):
            is_whole_file = ":" not in row.place[len(self.name) :]
            return Refused(row.place, row.value, row.raw or None, is_fatal=is_whole_file)
        columns = Columns(row.place, row.value, self.notes, row.damaged)
        try:
            if self._is_whole:
                return columns
            if self._mapping:
                columns = renamed(columns, self._mapping)
            if self._is_named:
                return columns
            layout = table.detect(columns)
        except DataError as err:
            return Refused(row.place, err, row.value)
        if not self.runs or self.runs[-1][0] != layout.name:
            if len(self.runs) < MAX_RUNS:
                self.runs.append([layout.name, row.place, row.place])
        else:
            self.runs[-1][2] = row.place
        if self._layout is None:
            self._layout = layout
        if layout is not self._layout:
            expected = f"the layout {self._layout.name} of {self.runs[0][1]}"
            fix = "split the file, or name the layout with --schema"
            return Refused(
                row.place, bad(row.place, "layout", layout.name, expected, fix), row.value
            )
        return columns

    def _example(self, rows: list[Columns]) -> Example | Refused:
        first = rows[0]
        try:
            return self._with_id(first, self._read(rows))
        except DataError as err:
            value = first.row if len(rows) == 1 else [row.row for row in rows]
            return Refused(first.place, err, value)

    def _read(self, rows: list[Columns]) -> Example:
        first = self.last = rows[0]
        if self._is_whole:
            return read_mapped(first, self._mapping)
        assert self._layout is not None
        if self._layout.name == "helpsteer2" and "helpfulness" in first:
            example = read_helpsteer2(rows)
        else:
            example = self._layout.read(first)
        if "gold" in self._mapping:
            source = self._mapping["gold"]
            gold = gold_of_map(first.before, source, example.n)
            first.used |= dict.fromkeys(source.columns, "gold")
            example = replace(example, gold=gold)
        return example

    def _with_id(self, row: Columns, example: Example) -> Example:
        """Give the example its id, and count what occurred before."""
        number = self.n_rows
        content = ""
        if not example.id:
            content = content_id(example.query, example.responses, example.reference)
        key = hash((example.query, example.responses, example.reference))
        is_copy = bool(self._contents.add(key, number))
        self.duplicates += is_copy
        id = example.id or content
        line = _line(row.place, number)
        if before := self._ids.add(hash(id), line):
            if example.id and self.schema == "spct":
                place = f"{self.name}:{before}"
                fix = f"{place} has it too"
                raise bad(row.place, "id", example.id, "an id that occurs once", fix)
            if example.id:
                row.note(REPEATED_ID)
            id = self._next(id, line)
        return replace(example, id=id) if id != example.id else example

    def _next(self, id: str, line: int) -> str:
        """The next free name of an id that occurred before."""
        n = self._copies.get(id, 1)
        while True:
            n += 1
            if not self._ids.add(hash(f"{id}-{n}"), line):
                self._copies[id] = n
                return f"{id}-{n}"


def _continues(first: Columns, row: Columns) -> bool:
    return bool(row.row.get("prompt") == first.row["prompt"])


def _line(place: str, number: int) -> int:
    end = place.rpartition(":")[2]
    return int(end) if end.isdigit() else number
