"""Verdicts as a data set: a folder of Parquet files with one schema, whole or parted by a column.

Parted as Hive has it, FOLDER/subset=NAME/part-0.parquet, which pyarrow.dataset and DuckDB read as
one table. A data set that fails half-way leaves no file, for a part of one looks like a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from spct.errors import ConfigError, ExtraMissing, SpctError, StoreError, did_you_mean
from spct.runs.codec import Record
from spct.runs.table import row, schema

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

# Opens the store that a folder's name stands for, as fsspec's `url_to_fs` does.
Opens = Callable[[str], tuple[Any, str]]

ROW_GROUP = 1000
PER_FILE = 100_000


def write_rows(records: Iterator[Record], first: Sequence[str], file: Path | BinaryIO) -> int:
    """Write records as one Parquet file, with the columns `first` before a verdict's own."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    columns, n_rows = schema(first), 0
    with pq.ParquetWriter(file, columns, compression="zstd") as writer:
        while rows := [row(record) for record in islice(records, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=columns))
            n_rows += len(rows)
    return n_rows


def write_folder(
    records: Iterator[Record],
    first: Sequence[str],
    folder: str,
    by: str | None = None,
    per_file: int = PER_FILE,
    opened: Opens | None = None,
) -> int:
    """Write a data set, `per_file` verdicts in each file and a folder for each value of `by`.

    The folder must be new or empty: files of an earlier export beside these would count twice.
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("fsspec", "scale") from error
    if by is not None and by not in (known := ("subset", *first)):
        hint = did_you_mean(by, known)
        raise ConfigError(f"--partition {by!r}: expected one of {', '.join(known)}{hint}")
    try:
        store, path = (opened or url_to_fs)(folder)
        if store.exists(path) and store.find(path):
            raise StoreError(f"exporting to {folder}: there are files in it; name a new folder")
        store.makedirs(path, exist_ok=True)
        try:
            if by is not None:
                return _write_parted(records, first, store, path, by, per_file)
            return _write_files(records, first, store, path.rstrip("/"), per_file)
        except BaseException:
            with suppress(Exception):
                for file in store.find(path):
                    store.rm_file(file)
            raise
    except (SpctError, MemoryError):
        raise
    except Exception as error:  # every store has errors of its own
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise StoreError(f"exporting to {folder}: {said}") from error


def _write_files(
    records: Iterator[Record], first: Sequence[str], store: Any, path: str, per_file: int
) -> int:
    n_rows = 0
    for number in count():
        some = islice(records, per_file)
        if (one := next(some, None)) is None and number:
            break
        rows = chain([] if one is None else [one], some)
        with store.open(f"{path}/part-{number:05d}.parquet", "wb") as file:
            n_rows += write_rows(rows, first, file)
    return n_rows


def _write_parted(
    records: Iterator[Record],
    first: Sequence[str],
    store: Any,
    path: str,
    by: str,
    per_file: int,
) -> int:
    try:
        import pyarrow as pa
        import pyarrow.dataset as ds  # type: ignore[import-untyped]
        from pyarrow.fs import FSSpecHandler, PyFileSystem  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    columns, n_rows = schema((*first, *({by} - {*first}))), 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal n_rows
        while some := list(islice(records, ROW_GROUP)):
            n_rows += len(some)
            rows = [row({"subset": _subset(record), **record}) for record in some]
            yield pa.RecordBatch.from_pylist(rows, schema=columns)

    parquet = ds.ParquetFileFormat()
    ds.write_dataset(
        batches(),
        path,
        schema=columns,
        filesystem=PyFileSystem(FSSpecHandler(store)),
        format=parquet,
        file_options=parquet.make_write_options(compression="zstd"),
        partitioning=ds.partitioning(pa.schema([(by, pa.string())]), flavor="hive"),
        basename_template="part-{i}.parquet",
        max_rows_per_file=per_file,
        max_rows_per_group=min(ROW_GROUP, per_file),
        min_rows_per_group=min(ROW_GROUP, per_file),
        use_threads=False,  # the order of the input stays within each part
        existing_data_behavior="overwrite_or_ignore",  # there is none
    )
    return n_rows


def _subset(record: Record) -> str | None:
    subset: str | None = record.get("example", {}).get("subset")
    return subset
