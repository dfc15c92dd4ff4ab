"""Rows of table files: Parquet, Arrow, CSV and TSV."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from spct.data.faults import bad
from spct.data.values import Cell
from spct.errors import DataError, ExtraMissing

MAX_CELL = 16 * 2**20  # characters
_OF_NUMBERS = re.compile(
    r"score|rating|\brank|label|gold|margin|strength|helpful|correct", re.IGNORECASE
)
_OF_OBJECTS = ("meta", "criteria")  # in other columns an object may be an answer
Value = dict[str, Any] | DataError


def parquet_rows(name: str, source: str | BinaryIO) -> Iterator[tuple[str, Value]]:
    """Yield each row with its place, the row's number from 1, batch by batch."""
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    with parquet.ParquetFile(source) as table:
        yield from _batches(name, table.iter_batches(batch_size=1024))


def arrow_rows(name: str, source: str) -> Iterator[tuple[str, Value]]:
    """The same for an Arrow file, or a stream of Arrow as `datasets` writes it."""
    try:
        import pyarrow
        from pyarrow import ipc
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    with pyarrow.memory_map(source) as mapped:
        try:
            reader = ipc.open_stream(mapped)
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            table = ipc.open_file(mapped)
            reader = (table.get_batch(i) for i in range(table.num_record_batches))
        yield from _batches(name, (part for batch in reader for part in _cut(batch)))


def _cut(batch: Any) -> Iterator[Any]:
    for start in range(0, len(batch), 1024):
        yield batch.slice(start, 1024)


def _batches(name: str, batches: Any) -> Iterator[tuple[str, Value]]:
    number = 0
    for batch in batches:
        for value in batch.to_pylist():
            number += 1
            yield f"{name}:{number}", value


def csv_rows(name: str, stream: BinaryIO, separator: str) -> Iterator[tuple[str, Value]]:
    """Yield each row with its place, the line on which it ends.

    The first line names the columns; if it has no comma, tabs or semicolons separate. An empty cell
    is an absent value; one that holds a JSON list of texts, lists or objects is what it holds.
    Everything else is text, and a number where one is needed or where the column is named for one
    (score, rating, label, gold, ...).
    """
    csv.field_size_limit(MAX_CELL)
    lines = _lines(stream)
    first = next(lines, "")
    if separator not in first:
        separator = next((sign for sign in "\t;" if sign in first), separator)
    table = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True)
    names: list[str] | None = None
    try:
        for cells in table:
            place = f"{name}:{table.line_num}"
            if names is None:
                names = [cell.strip() for cell in cells]
                if len(set(names)) < len(names) or not all(names):
                    yield place, bad(place, "columns", names, "a different name for each column")
                    return
            elif len(cells) != len(names):
                if cells:
                    got = f"{len(cells)} cells"
                    yield place, bad(place, "row", got, f"{len(names)}, as the first line has")
            else:
                pairs = zip(names, cells, strict=True)
                yield place, {column: _value(column, cell) for column, cell in pairs}
    except UnicodeDecodeError as error:
        place = f"{name}:{table.line_num + 1}"
        yield place, bad(place, "encoding", error.object[error.start : error.end + 10], "UTF-8")
    except csv.Error as error:
        place = f"{name}:{table.line_num}"
        yield place, bad(place, "CSV", str(error), "a table whose quotes are closed")


def _lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of a text, which end in LF, CR or both; U+2028 and its like end none."""
    is_first = True
    while line := stream.readline():
        if is_first:
            line, is_first = line.removeprefix(codecs.BOM_UTF8), False
        text = line.decode("utf-8")
        yield from re.findall(r"[^\r]+\r?\n?|\r\n?", text) if "\r" in text else [text]


def _value(column: str, cell: str) -> Any:
    if not cell:
        return None
    is_number = _OF_NUMBERS.search(column) is not None
    if cell[0] == "[" or (cell[0] == "{" and column in _OF_OBJECTS):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            return Cell(cell)
        is_held = is_number or any(isinstance(item, str | list | dict) for item in value)
        return value if is_held else Cell(cell)  # an answer may be [1, 2]
    if is_number:
        try:
            return float(cell) if not cell.strip("+-").isdigit() else int(cell)
        except ValueError:
            return cell
    return Cell(cell)
