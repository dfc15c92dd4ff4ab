"""Files to rows: JSON lines, a JSON array, tables (`tables.py`), gzip, zstandard, standard input.

Reading is lazy, so a file of any length streams. A bad row is a value here (`Row.value` is then a
`DataError` that names file, line and what was expected), because `validate` goes on after it while
`read_examples` raises it. A file that cannot be read any further ends with such a row.

Accepted without a word: a UTF-8 byte order mark, CRLF line ends, blank lines, no final newline.
Refused: other encodings, a key that occurs twice in one object, lines above `MAX_LINE` bytes, and
files that hold no rows at all (`data/containers.py`). What cannot be stored inside a column (NUL,
lone surrogates, infinities, bytes) damages that column, and refuses the rows that need it.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from spct.data.containers import is_open_object, not_rows, one_object
from spct.data.dropped import Dropped, Refused
from spct.data.faults import RowError, bad
from spct.data.inputs import (
    fetched,
    filesystem,
    is_address,
    remote,
    told,
    unpacked_name,
    within,
)
from spct.data.tables import arrow_rows, csv_rows, parquet_rows
from spct.data.values import NOTHING, Damaged, storable
from spct.errors import ConfigError, DataError, ExtraMissing, SpctError
from spct.strict_json import unique

MAX_LINE = 16 * 2**20  # bytes; a longer "line" is a binary file or an array without line ends


class Row(NamedTuple):  # one a line: in half the time of a frozen dataclass
    """One row and the place it comes from, such as `pairs.jsonl:3`; a bad row is its error."""

    place: str
    value: dict[str, Any] | DataError
    damaged: Damaged = NOTHING
    raw: str = ""  # of a bad line: its text


def read_rows(source: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a file, of an address, or of standard input for `-`, in order."""
    name = "<stdin>" if source == "-" else os.fspath(source)
    try:
        yield from _rows(name)
    except SpctError:
        raise
    except Exception as error:  # every format and every object store has errors of its own
        if not (is_address(name) or isinstance(error, _UNREADABLE) or _is_arrow(error)):
            raise
        kind = _KINDS.get(Path(unpacked_name(name)).suffix, "file of JSON lines")
        yield Row(name, DataError(f"reading {name}: got {told(error)}, expected a readable {kind}"))


_KINDS = {".parquet": "Parquet file", ".pq": "Parquet file", ".arrow": "Arrow file"}
_KINDS |= {".feather": "Arrow file", ".csv": "table", ".tsv": "table"}
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, OverflowError)


def _is_arrow(error: Exception) -> bool:
    return type(error).__module__.startswith("pyarrow")


def _rows(name: str) -> Iterator[Row]:
    """The rows by the ending of the name."""
    inner = unpacked_name(name)
    if name == inner and inner.endswith((".parquet", ".pq", ".arrow", ".feather")):
        read = parquet_rows if inner.endswith((".parquet", ".pq")) else arrow_rows
        copy = fetched(name) if is_address(name) else None
        try:
            for place, value in read(name, str(copy or name)):
                yield checked_row(place, value)
        finally:
            if copy is not None:
                copy.unlink()
        return
    with _opened("-" if name == "<stdin>" else name) as stream:
        if inner.endswith((".csv", ".tsv")):
            for place, value in csv_rows(name, stream, "," if inner.endswith("csv") else "\t"):
                yield (
                    Row(place, value) if isinstance(value, DataError) else checked_row(place, value)
                )
        else:
            yield from _text_rows(name, stream)


def dataset_hash(source: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file's bytes; standard input must be spooled first."""
    if source == "-":
        raise ConfigError("hashing '-': standard input can be read once only; use `spool_stdin`")
    name = os.fspath(source)
    try:
        with _raw(name) as stream:
            found = hashlib.sha256()
            while part := stream.read(2**20):
                found.update(part)
            return found.hexdigest()
    except OSError as err:
        raise DataError(f"hashing {name}: {err}") from err


def stamp(name: str) -> str:
    """What tells a file's content from another: its hash, or the tag that its store keeps of it."""
    if is_address(name):
        store, path = filesystem(name)
        try:
            known = within(name, store.info, path)
        except DataError:
            raise
        except Exception as error:  # every store has errors of its own
            raise DataError(f"opening {name}: {told(error)}") from error
        if tag := known.get("ETag") or known.get("etag"):
            return f"{tag} {known.get('size')}"
    return dataset_hash(name)


@contextmanager
def _raw(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file or an address as they are."""
    if is_address(name):
        with remote(name) as there:
            yield there
    else:
        with open(name, "rb") as plain:
            yield plain


def spool_stdin() -> Path:
    """Copy standard input to a temporary file, so that it can be validated and then read.

    The caller deletes the file.
    """
    with tempfile.NamedTemporaryFile(prefix="spct-stdin-", suffix=".jsonl", delete=False) as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
    return Path(spool.name)


@contextmanager
def _opened(source: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a source for reading bytes, decompressed by its suffix."""
    if source == "-":
        yield sys.stdin.buffer
        return
    with _raw(os.fspath(source)) as raw:
        suffix = Path(source).suffix
        if suffix == ".gz":
            with gzip.open(raw, "rb") as unzipped:
                yield io.BufferedReader(unzipped)
        elif suffix == ".zst":
            try:
                import pyarrow  # type: ignore[import-untyped, import-not-found, unused-ignore]
            except ImportError as err:
                raise ExtraMissing("pyarrow", "parquet") from err
            file = pyarrow.PythonFile(raw, mode="r")
            with pyarrow.CompressedInputStream(file, "zstd") as unpacked:
                yield io.BufferedReader(unpacked)
        else:
            yield raw


def _text_rows(name: str, stream: BinaryIO) -> Iterator[Row]:
    """Yield JSON lines, or the items of one JSON array if the first character is a bracket."""
    number = 0
    started = False
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        place = f"{name}:{number}"
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if not started:
            started = True
            if line.lstrip().startswith(b"["):
                yield from _array_rows(name, number, line + stream.read())
                return
            fault = None
            if not line.startswith(b'{"'):
                fault = not_rows(name, line)
            if fault is None and not line.rstrip().endswith(b"}") and is_open_object(line):
                rest = stream.read()
                fault, stream = one_object(name, line + rest), io.BytesIO(rest)
            if fault:
                yield Row(place, RowError(place, fault))
                return
        if len(line) > MAX_LINE:
            yield Row(place, bad(place, "line", line[:40], f"at most {MAX_LINE} bytes per line"))
            return
        yield _checked(place, line)


def _array_rows(name: str, number: int, data: bytes) -> Iterator[Row]:
    """Yield the items of a JSON array that starts on the given line; the text is held whole."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as err:
        place = f"{name}:{number}"
        yield Row(
            place, bad(place, "encoding", data[max(0, err.start - 10) : err.end + 10], "UTF-8")
        )
        return
    at = text.index("[") + 1
    counted = 0  # where lines have been counted up to
    ends = True  # whether a closing bracket may stand here: not after a comma
    while True:
        at = _after_space(text, at)
        number, counted = number + text.count("\n", counted, at), at
        place = f"{name}:{number}"
        if ends and text[at : at + 1] == "]":
            break
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as err:
            yield Row(place, _not_json(place, text[at : at + 80], err))
            return
        yield checked_row(place, value)
        at = _after_space(text, at)
        ends = text[at : at + 1] != ","
        if not ends:
            at += 1
        elif text[at : at + 1] != "]":
            rest = text[at : at + 80]
            yield Row(place, bad(place, "JSON array", rest, "a comma or the closing bracket"))
            return
    if rest := text[at + 1 :].strip():
        yield Row(place, bad(place, "JSON array", rest, "nothing after the closing bracket"))


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in " \t\r\n":
        at += 1
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else unique(pairs)


# Rows may hold NaN and infinities, which pandas writes; `storable` sees to them.
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _checked(place: str, line: bytes) -> Row:
    """Parse one line; the error is returned, not raised."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as err:
        got = line[max(0, err.start - 10) : err.end + 10]
        return Row(place, bad(place, "encoding", got, "UTF-8"), raw=repr(line)[:MAX_LINE])
    try:
        return checked_row(place, _DECODER.decode(text))
    except (ValueError, RecursionError) as err:
        return Row(place, _not_json(place, text.strip(), err), raw=text.strip())


def _not_json(place: str, text: str, err: Exception) -> DataError:
    if isinstance(err, json.JSONDecodeError):
        expected = "one JSON object per line, or one JSON array of objects"
        return bad(place, "JSON", text, expected, err.msg)
    if "occurs twice" in str(err):
        return bad(place, "JSON", text, "every key once", str(err))
    return bad(place, "JSON", text, "JSON that can be read", f"{err}"[:200])


def checked_row(place: str, value: object) -> Row:
    """A parsed value as a row, if it is an object."""
    if not isinstance(value, dict):
        return Row(place, bad(place, "row", value, "a JSON object"), raw=repr(value)[:MAX_LINE])
    return Row(place, *storable(value))


Check = Callable[[str, dict[str, Any]], None]


def read_objects(
    path: Path, check: Check | None = None, drop: Dropped | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of a file with its place; raise at the first bad one, or count it in `drop`.

    `check` raises `DataError` for a row, at its place, that lacks what it should have.
    """
    for row in read_rows(path):
        try:
            if isinstance(row.value, DataError):
                raise row.value
            if check is not None:
                check(row.place, row.value)
        except DataError as error:
            if drop is None:
                raise
            drop.add(Refused(row.place, error, row.raw or row.value))
            continue
        yield row.place, row.value
