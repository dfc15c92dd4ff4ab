"""Verdicts of a run as JSONL or Parquet, one row each, in the order of the input.

Equal runs export equal bytes: nothing of the clock or the machine is in a row. A file appears under
its name only when it is complete. Parquet has no place for a lone surrogate, which becomes its
escape there.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from spct.errors import ConfigError, ExtraMissing
from spct.runs.codec import Record, to_line
from spct.runs.folder import atomic_path, atomic_text
from spct.runs.store import Store

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_ROW_GROUP = 1000


def export(store: Store, path: str | Path) -> int:
    """Write every verdict to `path` (.jsonl, .parquet, or "-" for standard output) and count them.

    Rows found damaged are left out; `store.n_damaged` counts them.
    """
    if str(path) == "-":
        return _write_lines(store, sys.stdout)
    path = Path(path)
    match path.suffix:
        case ".jsonl":
            with atomic_text(path) as file:
                return _write_lines(store, file)
        case ".parquet":
            with atomic_path(path) as part:
                return _write_parquet(store, part)
        case suffix:
            raise ConfigError(
                f"cannot export to {str(path)!r}: unknown ending {suffix!r}; use .jsonl, .parquet,"
                " or - for JSONL on standard output"
            )


def _write_lines(store: Store, file: TextIO) -> int:
    n_rows = 0
    for record in store.records():
        file.write(to_line(record) + "\n")
        n_rows += 1
    return n_rows


def _write_parquet(store: Store, path: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    schema, n_rows = _schema(), 0
    records = store.records()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := [_row(record) for record in islice(records, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            n_rows += len(rows)
    return n_rows


def _row(record: Record) -> Record:
    """Return a record in the shape of `_schema`: what has free keys becomes pairs or JSON."""
    row: Record = _valid(record)
    row["unscored"] = list(row["unscored"].items())
    for trajectory in row["trajectories"]:
        for token in trajectory.get("logprobs") or ():
            token["top"] = list(token["top"].items())
    if "example" in row:
        row["example"]["meta"] = to_line(row["example"]["meta"])
    return row


def _valid(value: Any) -> Any:
    """Copy JSON values with every lone surrogate replaced by its escape."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case list():
            return [_valid(item) for item in value]
        case dict():
            return {_valid(key): _valid(item) for key, item in value.items()}
        case _:
            return value


def _schema() -> pa.Schema:
    """Name every column's type, so that a run without a single score has them all the same."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    wholes, reals = pa.list_(whole), pa.list_(real)

    def rows(**fields: pa.DataType) -> pa.DataType:
        return pa.list_(pa.struct(list(fields.items())))

    usage = pa.struct([(name, whole) for name in ("prompt_tokens", "completion_tokens", "calls")])
    messages = rows(role=text, content=text)
    trajectories = rows(
        index=whole,
        seed=whole,
        order=wholes,
        hint=whole,
        prompt=whole,
        principles=rows(name=text, weight=text, text=text),
        critique=text,
        scores=reals,
        expected=reals,
        unscored=pa.struct([("reason", text), ("detail", text)]),
        text=text,
        finish_reason=text,
        usage=usage,
        error=text,
        token_ids=wholes,
        logprobs=rows(token=text, logprob=real, top=pa.map_(text, real)),
        meta_score=real,
        fingerprint=text,
    )
    example = pa.struct(
        [
            ("id", text),
            ("query", messages),
            ("responses", pa.list_(text)),
            ("gold", reals),
            ("reference", text),
            ("subset", text),
            ("meta", text),
        ]
    )
    return pa.schema(
        [
            ("id", text),
            ("rewards", reals),
            ("winner", whole),
            ("best", wholes),
            ("k_asked", whole),
            ("k_drawn", whole),
            ("k_counted", whole),
            ("agreement", real),
            ("usage", usage),
            ("unscored", pa.map_(text, whole)),
            ("prompts", rows(order=wholes, hint=whole, messages=messages)),
            ("trajectories", trajectories),
            ("example", example),
        ]
    )
