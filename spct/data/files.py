"""Files to rows: JSON lines, a JSON array, gzip, zstandard, Parquet, standard input.

Reading is lazy, so a file of any length streams. A bad row is a value here (`Row.value` is then a
`DataError` that names file, line and what was expected), because `validate` goes on after it while
`read_examples` raises it. A file that cannot be read any further ends with such a row.

Accepted without a word: a UTF-8 byte order mark, CRLF line ends, blank lines, no final newline.
Refused: other encodings, NUL, lone surrogates, NaN and infinities, a key that occurs twice in one
object, lines above `MAX_LINE` bytes.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import math
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any, BinaryIO

from spct.errors import ConfigError, DataError, ExtraMissing

MAX_LINE = 16 * 2**20  # bytes; a longer "line" is a binary file or an array without line ends
MAX_DEPTH = 64
MAX_BITS = 10_000  # of a whole number; Python prints no more than 4,300 digits

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One row and the place it comes from, such as `pairs.jsonl:3`; a bad row is its error."""

    place: str
    value: dict[str, Any] | DataError


def bad(place: str, field: str, got: object, expected: str, fix: str = "") -> DataError:
    """Return the error for one field of one row: where, what was got, what was expected."""
    told = f"reading {place}: {field}: got {_shown(got)}, expected {expected}"
    return DataError(f"{told}; {fix}" if fix else told)


def _shown(value: object) -> str:
    try:
        return _repr.repr(value)
    except ValueError:  # an int with more digits than Python prints
        return f"a {type(value).__name__} too long to show"


def read_rows(source: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a file, or of standard input for `-`, in order."""
    name = "<stdin>" if source == "-" else os.fspath(source)
    if name.endswith((".parquet", ".pq")):
        yield from _parquet_rows(name)
        return
    try:
        with _opened(source) as stream:
            yield from _text_rows(name, stream)
    except (OSError, EOFError, zlib.error) as err:
        fix = "expected a readable file of JSON lines"
        yield Row(name, DataError(f"reading {name}: got {err}, {fix}"))


def dataset_hash(source: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file's bytes; standard input must be spooled first."""
    if source == "-":
        raise ConfigError("hashing '-': standard input can be read once only; use `spool_stdin`")
    try:
        with open(source, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise DataError(f"hashing {os.fspath(source)}: {err}") from err


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
    suffix = Path(source).suffix
    if suffix == ".gz":
        with gzip.open(source, "rb") as unzipped:
            yield io.BufferedReader(unzipped)
    elif suffix == ".zst":
        try:
            import pyarrow  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError as err:
            raise ExtraMissing("pyarrow", "parquet") from err
        with pyarrow.input_stream(os.fspath(source), compression="zstd") as unpacked:
            yield io.BufferedReader(unpacked)
    else:
        with open(source, "rb") as plain:
            yield plain


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
        if not started and line.lstrip().startswith(b"["):
            yield from _array_rows(name, number, line + stream.read())
            return
        started = True
        if len(line) > MAX_LINE:
            yield Row(place, bad(place, "line", line[:40], f"at most {MAX_LINE} bytes a line"))
            return
        yield Row(place, _checked(place, line))


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
        yield Row(place, checked_object(place, value))
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


def _parquet_rows(name: str) -> Iterator[Row]:
    """Yield the rows of a Parquet file, batch by batch; the place is the row's number from 1."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise ExtraMissing("pyarrow", "parquet") from err
    number = 0
    try:
        with parquet.ParquetFile(name) as table:
            for batch in table.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    place = f"{name}:{number}"
                    yield Row(place, checked_object(place, value))
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as err:
        fix = "expected a readable Parquet file"  # also: a text that is no UTF-8, a date too far
        yield Row(name, DataError(f"reading {name}: got {err}, {fix}"))


class _DuplicateKey(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _DuplicateKey(f"the key {twice!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _checked(place: str, line: bytes) -> dict[str, Any] | DataError:
    """Parse one line; the error is returned, not raised."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as err:
        return bad(place, "encoding", line[max(0, err.start - 10) : err.end + 10], "UTF-8")
    try:
        return checked_object(place, _DECODER.decode(text))
    except (ValueError, RecursionError) as err:
        return _not_json(place, text.strip(), err)


def _not_json(place: str, text: str, err: Exception) -> DataError:
    if isinstance(err, _DuplicateKey):
        return bad(place, "JSON", text, "every key once", str(err))
    fix = err.msg if isinstance(err, json.JSONDecodeError) else str(err)
    return bad(place, "JSON", text, "one JSON object a line, or one JSON array of objects", fix)


def checked_object(place: str, value: object) -> dict[str, Any] | DataError:
    """Return a parsed row if it is an object whose texts and numbers can all be kept."""
    if not isinstance(value, dict):
        return bad(place, "row", value, "a JSON object")
    if problem := _problem(value, 0):
        return bad(place, "row", value, "a JSON object that can be stored", problem)
    return value


def _problem(value: Any, depth: int) -> str:
    """Return what keeps a value from being stored and sent as JSON text, or nothing."""
    if depth > MAX_DEPTH:
        return f"it nests deeper than {MAX_DEPTH} levels"
    if isinstance(value, str):
        return _text_problem(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value!r} is not finite"
    if isinstance(value, list):
        return next(filter(None, (_problem(item, depth + 1) for item in value)), "")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"the key {key!r} is not text"
            if problem := _text_problem(key) or _problem(item, depth + 1):
                return f"{key}: {problem}"
        return ""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"a whole number has more than {MAX_BITS} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return ""
    return f"a value is of type {type(value).__name__}; cast the column to text or numbers"


def _text_problem(text: str) -> str:
    if "\0" in text:
        return "a text contains the NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        return f"a text contains the lone surrogate {text[err.start]!a}"
    return ""


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of a file with its place; raise at the first bad one."""
    for row in read_rows(path):
        if isinstance(row.value, DataError):
            raise row.value
        yield row.place, row.value
