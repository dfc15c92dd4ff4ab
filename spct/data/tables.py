"""Rows of table files: Parquet, Arrow, CSV and TSV."""

from __future__ import annotations

import codecs
import csv
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

    The first line names the columns. An empty cell is an absent value; one that holds a JSON list
    or object is what it holds. Everything else is text, and a number where one is needed or where
    the column is named for one (score, rating, label, gold, ...).
    """
    csv.field_size_limit(MAX_CELL)
    text = codecs.getreader("utf-8-sig")(stream)
    table = csv.reader(text, delimiter=separator, strict=True)
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


def _value(column: str, cell: str) -> Any:
    if not cell:
        return None
    if cell[0] in "[{" and cell[-1] in "]}":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    if _OF_NUMBERS.search(column):
        try:
            return float(cell) if not cell.strip("+-").isdigit() else int(cell)
        except ValueError:
            return cell
    return Cell(cell)
