"""Foreign rows to examples: renamed if a mapping says so, held to one layout, read by it.

Our own rows never come here (`data/rows.py`), so judging them needs none of the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spct.data.columns import Columns, Notes
from spct.data.criteria import COLUMNS, Polarity, looks_like_criteria, read_criteria
from spct.data.faults import bad
from spct.data.files import Row
from spct.data.layouts import table
from spct.data.layouts.mapped import gold_of_map, is_whole, read_mapped, renamed
from spct.data.layouts.singles import read_helpsteer2
from spct.data.layouts.table import Layout
from spct.data.mapping import Mapped
from spct.errors import DataError
from spct.types import Criteria, Example

MAX_RUNS = 200
Read = tuple[str, Example | DataError, Any]  # the place, what came of it, the row itself


class Foreign:
    """Reads the foreign rows of one file; rows that share an example are held until it is whole."""

    def __init__(
        self, schema: str, mapping: Mapping[str, Mapped], polarity: Polarity | None = None
    ) -> None:
        self._polarity = polarity or Polarity()
        self.notes: Notes = Counter()
        self.last: Columns | None = None  # the row of the last example, with what was used of it
        self.runs: list[list[str]] = []  # [layout, first place, last place] of rows on end
        self.layout: Layout | None = table.BY_NAME.get(table.ALIASES.get(schema, schema))
        self._is_named = self.layout is not None
        self._mapping = mapping
        self._is_whole = is_whole(mapping)
        self._held: list[Columns] = []  # rows of one prompt, where a layout spreads an example

    @property
    def name(self) -> str:
        """The name of the layout."""
        if self.layout is not None:
            return self.layout.name
        return "mapped" if self._is_whole else "auto"

    def feed(self, row: Row, value: dict[str, Any]) -> list[Read]:
        """Take one row, and return what is complete by now."""
        columns = self._columns(row, value)
        done: list[Read] = []
        if self._held and (isinstance(columns, DataError) or not self._continues(columns)):
            done = self.finish()
        if isinstance(columns, DataError):
            done.append((row.place, columns, value))
        elif self.name == "helpsteer2" and isinstance(columns.row.get("prompt"), str):
            self._held.append(columns)
        else:
            done.append(self._example([columns]))
        return done

    def finish(self) -> list[Read]:
        """What is left when the file ends, or something else follows."""
        held, self._held = self._held, []
        return [self._example(held)] if held else []

    def _continues(self, columns: Columns) -> bool:
        return bool(columns.row.get("prompt") == self._held[0].row["prompt"])

    def _columns(self, row: Row, value: dict[str, Any]) -> Columns | DataError:
        """Rename the columns and hold the row to the layout of the file."""
        columns = Columns(row.place, value, self.notes, row.damaged)
        try:
            if self._is_whole:
                return columns
            if self._mapping:
                columns = renamed(columns, self._mapping)
            if self._is_named:
                return columns
            layout = table.detect(columns)
        except DataError as error:
            return error
        return self.hold(row.place, layout) or columns

    def hold(self, place: str, layout: Layout) -> DataError | None:
        """Remember which rows are of which layout; a second layout is an error."""
        if self.runs and self.runs[-1][0] == layout.name:
            self.runs[-1][2] = place
        elif len(self.runs) < MAX_RUNS:
            self.runs.append([layout.name, place, place])
        if self.layout is None:
            self.layout = layout
        if layout is self.layout:
            return None
        expected = f"the layout {self.layout.name} of {self.runs[0][1]}"
        fix = "split the file, or name the layout with --schema"
        return bad(place, "layout", layout.name, expected, fix)

    def _example(self, rows: list[Columns]) -> Read:
        first = self.last = rows[0]
        value: Any = first.before.row if len(rows) == 1 else [row.row for row in rows]
        try:
            # taken first, so that no reader keeps the list in meta as well
            criteria = self._criteria(first)
            example = self._read(rows)
            made = example if criteria is None else replace(example, criteria=criteria)
            return first.place, made, value
        except DataError as error:
            return first.place, error, value

    def _criteria(self, row: Columns) -> Criteria | None:
        """The list that a row brings, in the column that --map names or one of the usual names."""
        mapped = self._mapping.get("criteria")
        names = (*mapped.columns, "criteria") if mapped else COLUMNS
        column = next(
            (c for c in names if c in row and (mapped or looks_like_criteria(row.row[c]))), None
        )
        if column is None:
            return None
        return read_criteria(row.place, row.take(column, "criteria"), self._polarity)

    def _read(self, rows: list[Columns]) -> Example:
        first = rows[0]
        if self._is_whole:
            return read_mapped(first, self._mapping)
        assert self.layout is not None
        if self.name == "helpsteer2" and "helpfulness" in first:
            example = read_helpsteer2(rows)
        else:
            example = self.layout.read(first)
        if "gold" in self._mapping:
            source = self._mapping["gold"]
            gold = gold_of_map(first.before, source, example.n)
            first.used |= dict.fromkeys(source.columns, "gold")
            example = replace(example, gold=gold)
        return example
