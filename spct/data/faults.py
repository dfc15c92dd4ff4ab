"""What is wrong with one row: where, what was got, what was expected, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from reprlib import Repr
from typing import NamedTuple

from spct.errors import DataError

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 80
MAX_NAMES = 20


class Fault(NamedTuple):
    """The parts of a message; rows with equal `kind` share one fault."""

    field: str
    got: str
    expected: str
    fix: str = ""

    @property
    def kind(self) -> str:
        """The fault without what differs from row to row: values in quotes and numbers."""
        said = f"{self.field}: expected {self.expected}"
        return re.sub(r"'[^']*'|\d+", "_", said)

    def __str__(self) -> str:
        told = f"{self.field}: got {self.got}, expected {self.expected}"
        return f"{told}; {self.fix}" if self.fix else told


class RowError(DataError):
    """A row that cannot be read, by its place such as `pairs.jsonl:3`."""

    def __init__(self, place: str, fault: Fault) -> None:
        super().__init__(f"reading {place}: {fault}")
        self.place = place
        self.fault = fault


def kind_of(error: DataError) -> str:
    """What rows with one fault share."""
    return error.fault.kind if isinstance(error, RowError) else str(error)


def bad(place: str, field: str, got: object, expected: str, fix: str = "") -> RowError:
    """Return the error for one field of one row: where, what was got, what was expected."""
    return RowError(place, Fault(field, shown(got), expected, fix))


def shown(value: object) -> str:
    """A value in one short line."""
    try:
        return _repr.repr(value)
    except ValueError:  # an int with more digits than Python prints
        return f"a {type(value).__name__} too long to show"


def named(columns: Iterable[str]) -> str:
    """Columns by name, cut short where there are many."""
    columns = list(columns)
    told = ", ".join(f"{name:.60}" for name in columns[:MAX_NAMES])
    more = len(columns) - MAX_NAMES
    return f"{told} and {more:,} more" if more > 0 else told


@contextmanager
def misread(place: str) -> Iterator[None]:
    """Give the place to the error of a reader that knows none: "field: got X, expected Y; fix"."""
    try:
        yield
    except DataError as error:
        field, _, said = str(error).partition(": ")
        got, _, rest = said.removeprefix("got ").partition(", expected ")
        expected, _, fix = rest.partition("; ")
        raise RowError(place, Fault(field, got, expected, fix)) from error
