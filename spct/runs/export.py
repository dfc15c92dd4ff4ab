"""Verdicts of a run as JSONL, Parquet or flat CSV, one row each, in the order of the input.

Equal runs export equal bytes: nothing of the clock or the machine is in a row. A file appears under
its name only when it is complete. Parquet and CSV have no place for a lone surrogate, which becomes
its escape there. A benchmark run is a folder of runs, and their names come first in each row.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from spct.errors import ConfigError, StoreError
from spct.runs.codec import Record, to_line
from spct.runs.database import DB_NAME
from spct.runs.dataset import Opens, write_folder, write_rows
from spct.runs.folder import atomic_path, atomic_text
from spct.runs.store import Store
from spct.runs.table import valid
from spct.types import Example, Verdict

Part = dict[str, str]  # model, benchmark and mode; empty for a run that has no parts
Correct = Callable[[Verdict, Example], float | None]
Mark = dict[str, Any]  # a person's verdict: `mark` and `note` (spct.view.marks)
Marks = Callable[[Path], dict[str, Mark]]  # those of a run's folder, by example

_PART = ("model", "benchmark", "mode")
_COLUMNS = (
    *("id", "subset", "n", "winner", "best", "correct", "rewards", "gold", "agreement"),
    *("k_asked", "k_drawn", "k_counted", "unscored", "prompt_tokens", "completion_tokens", "calls"),
)


def parts_of(run: Path) -> list[tuple[Part, Path]]:
    """The stores of a run folder: its own, or those of the parts of a benchmark run."""
    if (run / DB_NAME).is_file():
        return [({}, run)]
    files = sorted(run.glob("parts/*/*/*/" + DB_NAME))
    if not files:
        raise StoreError(f"no run in {run}: expected the file {run / DB_NAME}")
    folders = [file.parent for file in files]
    return [(dict(zip(_PART, f.parts[-3:], strict=True)), f) for f in folders]


def export(store: Store, path: str | Path, correct: Correct | None = None) -> int:
    """Write every verdict of one run; see `export_parts`."""
    return export_parts([({}, store)], path, correct)


def export_parts(
    parts: Sequence[tuple[Part, Store]],
    path: str | Path,
    correct: Correct | None = None,
    marks: Marks = lambda folder: {},
    by: str | None = None,
    opened: Opens | None = None,
) -> int:
    """Write every verdict to `path`, and count them.

    Its ending says how: .jsonl, .parquet or .csv, a slash is a folder of Parquet files (or the
    address of one; `by` parts it by a column), "-" is JSONL on standard output. `correct` says what
    a verdict earns, for CSV; `marks` are verdicts of people, for CSV and JSONL, where there are
    any. Rows found damaged are left out; `store.n_damaged` counts them.
    """
    if str(path).endswith("/"):
        return write_folder(_records(parts), _names(parts), str(path), by, opened=opened)
    if by is not None:
        raise ConfigError("--partition makes a folder: end --to with a slash, such as verdicts/")
    if str(path) == "-":
        return _write_lines(parts, sys.stdout, marks)
    path = Path(path)
    match path.suffix:
        case ".jsonl":
            with atomic_text(path) as file:
                return _write_lines(parts, file, marks)
        case ".parquet":
            with atomic_path(path) as part:
                return write_rows(_records(parts), _names(parts), part)
        case ".csv":
            with atomic_text(path) as file:
                return _write_csv(parts, file, correct, marks)
        case suffix:
            raise ConfigError(
                f"cannot export to {str(path)!r}: unknown ending {suffix!r}; use .jsonl, .parquet,"
                " .csv, FOLDER/ for a Parquet data set, or - for JSONL on standard output"
            )


def _records(parts: Sequence[tuple[Part, Store]]) -> Iterator[Record]:
    return ({**part, **record} for part, store in parts for record in store.records())


def _write_lines(parts: Sequence[tuple[Part, Store]], file: TextIO, marks: Marks) -> int:
    def records() -> Iterator[Record]:
        for part, store in parts:
            said = marks(store.folder)
            for record in store.records():
                human = {"human": said[record["id"]]} if record["id"] in said else {}
                yield {**part, **record, **human}

    return write_records(records(), file)


def write_records(records: Iterable[Record], file: TextIO) -> int:
    """Write records as JSON lines, and count them."""
    n_rows = 0
    for record in records:
        file.write(to_line(record) + "\n")
        n_rows += 1
    return n_rows


def _write_csv(
    parts: Sequence[tuple[Part, Store]],
    file: TextIO,
    correct: Correct | None,
    marks: Marks,
) -> int:
    said = [marks(store.folder) for _, store in parts]
    names = _names(parts)
    people = ["human", "note"] if any(said) else []
    writer = csv.DictWriter(file, [*names, *_COLUMNS, *people], lineterminator="\n")
    writer.writeheader()
    n_rows = 0
    for (part, store), by_id in zip(parts, said, strict=True):
        for judged in store.judged():
            cells = _flat(judged.verdict, judged.example, correct)
            if people and (mark := by_id.get(judged.verdict.example_id)):
                cells |= {"human": mark["mark"], "note": mark["note"]}
            writer.writerow(valid({**part, **cells}))
            n_rows += 1
    return n_rows


def _flat(verdict: Verdict, example: Example | None, correct: Correct | None) -> Record:
    """One verdict as one line of a table; several values in a cell are parted by blanks."""
    earned = correct(verdict, example) if correct and example else None
    return {
        "id": verdict.example_id,
        "subset": example.subset if example else None,
        "n": example.n if example else len(verdict.rewards or ()) or None,
        "winner": verdict.winner,
        "best": _cells(verdict.best),
        "correct": earned,
        "rewards": _cells(verdict.rewards or ()),
        "gold": _cells((example.gold or ()) if example else ()),
        "agreement": verdict.agreement,
        "k_asked": verdict.k_asked,
        "k_drawn": verdict.k_drawn,
        "k_counted": verdict.k_counted,
        "unscored": _cells([f"{reason}:{n}" for reason, n in sorted(verdict.unscored.items())]),
        "prompt_tokens": verdict.usage.prompt_tokens,
        "completion_tokens": verdict.usage.completion_tokens,
        "calls": verdict.usage.calls,
    }


def _cells(values: Sequence[object]) -> str:
    return " ".join(map(str, values))


def _names(parts: Sequence[tuple[Part, Store]]) -> tuple[str, ...]:
    """The columns that say which part of a benchmark run a row belongs to."""
    return _PART if any(part for part, _ in parts) else ()
