"""Files of criteria: one list for all examples, or one list per query (`spct criteria write`).

A list for all is a TOML file with [[criteria]] tables, JSON lines of items, or a numbered text. A
file per query has rows with a query (and a reference) and their `criteria`, `rubric` or `rubrics`:
what `spct criteria write` makes, and the published sets as they are. A row that is `locked` names
the fingerprint of its list, and is refused where the list has changed since.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spct.core.plan import content_id
from spct.data.criteria import COLUMNS, TEXTS, Negative, Polarity, dump_items, read_criteria
from spct.data.faults import bad
from spct.data.files import read_objects
from spct.data.turns import query_of
from spct.errors import DataError
from spct.types import Criteria, Example, Message

QUERIES = ("query", "prompt", "question", "instruction")
REFERENCES = ("reference", "reference_answer", "ideal_answer")
MAX_TOLD = 8


@dataclass(frozen=True, slots=True)
class Listed:
    """The list of one query; `key` is made of query and reference."""

    query: tuple[Message, ...]
    reference: str | None
    criteria: Criteria
    locked: str | None = None

    @property
    def key(self) -> str:
        """What a writer's prompt and a look-up go by."""
        return list_key(self.query, self.reference)


def list_key(query: tuple[Message, ...], reference: str | None = None) -> str:
    """The id of a list: it does not depend on the responses."""
    return content_id(query, (), reference)


@dataclass(frozen=True, slots=True)
class CriteriaFile:
    """One list for all, or lists by query."""

    name: str
    common: Criteria | None
    lists: tuple[Listed, ...] = ()

    def of(self, example: Example) -> Criteria | None:
        """The list for an example: by query and reference, or by a query that has one list."""
        if self.common is not None:
            return self.common
        return self.by_key().get(list_key(example.query, example.reference)) or self.by_key().get(
            list_key(example.query)
        )

    def by_key(self) -> Mapping[str, Criteria]:
        """Every list by query and reference, and by the query alone where that is one list."""
        found: dict[str, Criteria] = {}
        alone: dict[str, set[str]] = {}
        for one in self.lists:
            found[one.key] = one.criteria
            alone.setdefault(list_key(one.query), set()).add(one.criteria.fingerprint)
        for one in self.lists:
            if len(alone[list_key(one.query)]) == 1:
                found.setdefault(list_key(one.query), one.criteria)
        return found

    @property
    def fingerprint(self) -> str:
        """A digest of all lists and their queries."""
        rows = [(one.key, one.criteria.fingerprint) for one in self.lists]
        told = [self.common.fingerprint] if self.common else [f"{a} {b}" for a, b in sorted(rows)]
        return content_id((), told)[:16]


def read_criteria_file(
    path: str | Path, negative: Negative | None = None, *, unlocked: bool = False
) -> CriteriaFile:
    """Read a file of criteria; all rows at fault are told in one `DataError`.

    `unlocked` reads locked lists as they are now, so that they can be locked again.
    """
    path, polarity = Path(path), Polarity(negative)
    try:
        if path.suffix == ".toml":
            return CriteriaFile(str(path), read_criteria(str(path), _toml(path), polarity))
        if path.suffix in (".txt", ".md"):
            return CriteriaFile(
                str(path), read_criteria(str(path), path.read_text("utf-8"), polarity)
            )
        rows = list(read_objects(path))
    except OSError as error:
        raise DataError(f"reading the criteria in {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"reading the criteria in {path}: {error}") from error
    if not rows:
        raise DataError(f"reading the criteria in {path}: got no rows, expected at least one")
    if all(any(text in row for text in TEXTS) and not _column(row) for _, row in rows):
        return CriteriaFile(str(path), read_criteria(str(path), [row for _, row in rows], polarity))
    lists, faults = [], []
    for place, row in rows:
        try:
            known = {**row, "locked": None} if unlocked else row
            lists.append(_listed(place, known, polarity))
        except DataError as error:
            faults.append(str(error))
    faults += list(_doubled(path, lists))
    if faults:
        more = [f"... and {len(faults) - MAX_TOLD} more"] if len(faults) > MAX_TOLD else []
        raise DataError("\n".join([*faults[:MAX_TOLD], *more]))
    return CriteriaFile(str(path), None, tuple(lists))


def _toml(path: Path) -> Any:
    table = tomllib.loads(path.read_text("utf-8"))
    if set(table) != {"criteria"}:
        raise DataError(
            f"reading the criteria in {path}: got the keys {', '.join(table) or 'none'}, expected "
            "[[criteria]] tables with name, text and weight"
        )
    return table["criteria"]


def _column(row: Mapping[str, Any]) -> str | None:
    return next((name for name in COLUMNS if row.get(name) is not None), None)


def _listed(place: str, row: Mapping[str, Any], polarity: Polarity) -> Listed:
    column = _column(row)
    asked = next((name for name in QUERIES if row.get(name) is not None), None)
    if column is None or asked is None:
        expected = f"a query ({', '.join(QUERIES)}) and its list ({', '.join(COLUMNS)})"
        raise bad(place, "keys", sorted(row), expected)
    value = row[asked]
    query = (Message("user", value),) if isinstance(value, str) else query_of(place, asked, value)
    reference = next((row[name] for name in REFERENCES if row.get(name) is not None), None)
    if reference is not None and not isinstance(reference, str):
        raise bad(place, "reference", reference, "a text")
    source = "written" if row.get("source") == "written" else "given"
    criteria = read_criteria(place, row[column], polarity, source)  # type: ignore[arg-type]
    locked = row.get("locked")
    if locked is not None and locked != criteria.fingerprint:
        fix = "undo the edit, or unlock it: spct criteria lock --again FILE"
        raise bad(place, "locked", locked, f"{criteria.fingerprint}, the list's fingerprint", fix)
    return Listed(query, reference, criteria, locked)


def _doubled(path: Path, lists: list[Listed]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for i, one in enumerate(lists, 1):
        if seen.setdefault(one.key, one.criteria.fingerprint) != one.criteria.fingerprint:
            asked = one.query[-1].content[:60]
            yield f"reading {path}: row {i} gives the query {asked!r} another list than before"


def dump_listed(one: Listed) -> dict[str, Any]:
    """A row of a file per query, as people edit it."""
    is_plain = len(one.query) == 1 and one.query[0].role == "user"
    turns = [{"role": turn.role, "content": turn.content} for turn in one.query]
    row: dict[str, Any] = {"query": one.query[0].content if is_plain else turns}
    row |= {} if one.reference is None else {"reference": one.reference}
    row |= {"criteria": dump_items(one.criteria), "source": one.criteria.source}
    return row | ({} if one.locked is None else {"locked": one.locked})
