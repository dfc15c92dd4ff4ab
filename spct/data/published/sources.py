"""Where a benchmark's rows come from: a local folder in the published layout, or the hub.

Both give the same thing, rows with a place and a path, so a loader does not know which it reads.
Places are relative to the folder: a report names a bad row, not somebody's disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from spct.data.columns import Columns
from spct.data.faults import bad
from spct.data.fields import need, text_of
from spct.data.files import checked_row, dataset_hash, read_rows
from spct.data.turns import query_of
from spct.errors import DataError, ExtraMissing, did_you_mean
from spct.types import Message

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".jsonl.zst", ".parquet")


class Hub(NamedTuple):
    """A data set on the hub, and the path that stands for it in the published layout."""

    repo: str
    split: str
    path: str
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a benchmark: `place` names it in messages, `path` is its file in the layout."""

    place: str
    path: str
    fields: Mapping[str, Any]

    def columns(self) -> Columns:
        """The row for the reader of its set."""
        return Columns(self.place, self.fields)

    def text(self, field: str) -> str:
        """A text that must be there."""
        return text_of(self.place, field, self.get(field))

    def get(self, field: str) -> Any:
        """A field that must be there."""
        return need(self.place, self.fields, field)

    def texts(self, field: str, count: int | None = None) -> list[str]:
        """A list of texts that must be there, of a given length if the benchmark fixes it."""
        value = self.get(field)
        expected = f"a list of {count or 'at least one'} texts"
        if not isinstance(value, list) or not value or (count and len(value) != count):
            raise self.bad(field, value, expected)
        return [text_of(self.place, f"{field}[{i}]", text) for i, text in enumerate(value)]

    def one_of(self, field: str, known: Sequence[Any]) -> Any:
        """A label that must be one of those known; any other is an error."""
        value = self.get(field)
        for label in known:
            if value == label and type(value) is type(label):
                return value
        hint = did_you_mean(str(value), [str(label) for label in known])
        raise self.bad(field, value, f"one of {list(known)}{hint}")

    def query(self, field: str) -> tuple[Message, ...]:
        """A text or a conversation up to a user turn."""
        return query_of(self.place, field, self.get(field))

    def bad(self, field: str, got: object, expected: str) -> DataError:
        """The error for one field of this row."""
        return bad(self.place, field, got, expected)


class Source(Protocol):
    """Gives the rows of the files that match glob patterns of the published layout."""

    def rows(self, *patterns: str) -> Iterator[Row]:
        """Yield rows in the order of the sorted paths; no file at all is an error."""
        ...

    def sha256(self, *patterns: str) -> str:
        """A hash of what `rows` reads."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A local folder in a benchmark's published layout; `title` names the benchmark in messages."""

    root: Path
    title: str

    def rows(self, *patterns: str) -> Iterator[Row]:
        """Yield the rows of the matching files."""
        for path in self._paths(patterns):
            relative = path.relative_to(self.root).as_posix()
            for row in read_rows(path):
                place = row.place.replace(os.fspath(path), relative, 1)
                if isinstance(row.value, DataError):
                    raise DataError(str(row.value).replace(os.fspath(path), relative))
                yield Row(place, relative, row.value)

    def sha256(self, *patterns: str) -> str:
        """Hash the names and contents of the matching files."""
        total = hashlib.sha256()
        for path in self._paths(patterns):
            total.update(
                f"{path.relative_to(self.root).as_posix()} {dataset_hash(path)}\n".encode()
            )
        return total.hexdigest()

    def _paths(self, patterns: Sequence[str]) -> list[Path]:
        found = {
            path
            for pattern in patterns
            for suffix in SUFFIXES
            for path in self.root.glob(pattern + suffix)
        }
        if not found:
            raise DataError(
                f"looking for {self.title} in {self.root}: got no file, expected "
                f"{' or '.join(patterns)} with one of the endings {', '.join(SUFFIXES)}; --data "
                "names the folder that holds the published layout (docs/evaluation.md shows each)"
            )
        return sorted(found)


@dataclass(frozen=True, slots=True)
class HubSource:
    """The data sets of a benchmark on the hub, read with `datasets`."""

    sets: Sequence[Hub]
    title: str

    def rows(self, *patterns: str) -> Iterator[Row]:
        """Yield the rows of every set; `patterns` are for folders."""
        for hub in self.sets:
            for number, fields in enumerate(self._load(hub), 1):
                place = f"{hub.repo}[{hub.split}]:{number}"
                row = checked_row(place, fields)
                if isinstance(row.value, DataError):
                    raise row.value
                yield Row(place, hub.path, row.value)

    def sha256(self, *patterns: str) -> str:
        """Hash the fingerprints that `datasets` gives its data."""
        prints = [f"{hub.repo} {self._load(hub)._fingerprint}" for hub in self.sets]
        return hashlib.sha256("\n".join(prints).encode()).hexdigest()

    def _load(self, hub: Hub) -> Any:
        try:
            import datasets  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError as error:
            raise ExtraMissing("datasets", "hub") from error
        try:
            return datasets.load_dataset(hub.repo, hub.config, split=hub.split)
        except Exception as error:  # its own, huggingface_hub's, requests' and the file system's
            raise DataError(
                f"loading {self.title} from the hub ({hub.repo}, split {hub.split}): "
                f"{error!r:.300}; without a network, give a local copy with --data DIR"
            ) from error
