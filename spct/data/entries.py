"""What the readers of the local sets share: typed access to one row, and the rules for leaving out.

Nothing is left out without being counted: a reader adds the reason to its tally.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spct.data.columns import Columns
from spct.data.faults import bad
from spct.data.fields import need, text_of
from spct.data.files import read_objects
from spct.types import Example, Message

Meaning = TypeVar("Meaning")
Candidate = tuple[str, float, Mapping[str, Any]]  # response, gold, evidence
Tally = Counter[str]  # why rows or responses were left out -> how many


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a set and its place; a field of another type is a `DataError`."""

    place: str
    row: Mapping[str, Any]

    def columns(self) -> Columns:
        """The row for the reader of its set."""
        return Columns(self.place, self.row)

    def get(self, field: str) -> Any:
        """Return a field that must be there, whatever its type."""
        return need(self.place, self.row, field)

    def raw(self, field: str) -> str:
        """Return a text as it stands, for offsets into it."""
        return text_of(self.place, field, self.get(field))

    def text(self, field: str) -> str:
        """Return a text without the white space around it; a null is an empty text."""
        value = self.get(field)
        return "" if value is None else text_of(self.place, field, value).strip()

    def items(self, field: str) -> list[Any]:
        """Return a list."""
        value = self.get(field)
        if not isinstance(value, list):
            raise bad(self.place, field, value, "a list")
        return value

    def one_of(self, field: str, meanings: Mapping[Any, Meaning]) -> Meaning:
        """Return what a label means; any other label is an error."""
        value = self.get(field)
        for label, meaning in meanings.items():
            if value == label and type(value) is type(label):
                return meaning
        raise bad(self.place, field, value, f"one of {list(meanings)}")


def entries(path: Path) -> Iterator[Entry]:
    """Yield the rows of one file of a set."""
    for place, row in read_objects(path):
        yield Entry(place, row)


def short_hash(text: str) -> str:
    """Return a stable name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def listed(
    id: str,
    query: str | tuple[Message, ...],
    candidates: Sequence[Candidate],
    tally: Tally,
    *,
    subset: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Example | None:
    """Build an example from (response, gold, evidence) triples, cleaned, or None if none is left.

    Empty responses go, copies of a response go, and a response that has two different golds goes
    with all its copies.
    """
    turns = (Message("user", query.strip()),) if isinstance(query, str) else query
    if not turns or not turns[-1].content.strip():
        tally["no query"] += 1
        return None
    golds: dict[str, set[float]] = {}
    for response, gold, _ in candidates:
        golds.setdefault(response.strip(), set()).add(gold)
    kept: dict[str, tuple[float, Mapping[str, Any]]] = {}
    for response, gold, evidence in candidates:
        text = response.strip()
        if not text:
            tally["empty response"] += 1
        elif len(golds[text]) > 1:
            tally["equal responses, different gold"] += 1
        elif text in kept:
            tally["equal responses"] += 1
        else:
            kept[text] = gold, evidence
    if not kept:
        tally["no response left"] += 1
        return None
    evidence_N = [dict(evidence) for _, evidence in kept.values()]
    return Example(
        id=id,
        query=turns,
        responses=tuple(kept),
        gold=tuple(gold for gold, _ in kept.values()),
        subset=subset,
        meta={**(meta or {}), **({"evidence": evidence_N} if any(evidence_N) else {})},
    )


def paired(
    id: str,
    query: str | tuple[Message, ...],
    candidates: Sequence[Candidate],
    tally: Tally,
    *,
    subset: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Example | None:
    """Build an example from two (response, gold, evidence) triples, or None for equal responses.

    An empty response stays: somebody judged a model that answered nothing.
    """
    turns = (Message("user", query.strip()),) if isinstance(query, str) else query
    if not turns or not turns[-1].content.strip():
        tally["no query"] += 1
        return None
    first, second = (response.strip() for response, _, _ in candidates)
    if first == second:
        tally["equal responses"] += 1
        return None
    evidence_N = [dict(evidence) for _, _, evidence in candidates]
    return Example(
        id=id,
        query=turns,
        responses=(first, second),
        gold=tuple(gold for _, gold, _ in candidates),
        subset=subset,
        meta={**(meta or {}), **({"evidence": evidence_N} if any(evidence_N) else {})},
    )
