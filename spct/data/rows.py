"""Read Examples from a file: `read_examples` streams, `validate` looks at every row first.

`validate` is what a command calls before it spends anything: `read_examples` raises at the first
bad row, which in a long file may be an hour in. Selection goes in this order: ids, range, shuffle,
limit. Ids are unique: a given id that occurs twice is an error in our own rows, and gets `-2`,
`-3` ... in foreign ones, where it often names the prompt. Rows without an id are named by a hash
of their content, with `-2`, `-3` ... for the same content again (`prepare.dedupe` drops it).
"""

from __future__ import annotations

import itertools
import logging
import os
import random
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from spct.data.faults import RowError
from spct.data.fields import RawRow
from spct.data.files import checked_row, dataset_hash, read_rows
from spct.data.layouts.table import ALIASES, SCHEMAS
from spct.data.mapping import Given, as_mapping
from spct.data.parser import Parser, Refused
from spct.data.shown import Report, Survey
from spct.errors import ConfigError, DataError
from spct.types import Example

Source = str | os.PathLike[str]

log = logging.getLogger(__name__)


def read_examples(
    source: Source,
    *,
    schema: str = "auto",
    mapping: Given | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    range: tuple[int, int] | None = None,
    shuffle_seed: int | None = None,
    drop: Dropped | None = None,
    quiet: bool = False,
) -> Iterator[Example]:
    """Yield the examples of a file in order; raise `DataError` at the first bad row.

    `range` is half-open and counts examples from 0. A shuffle holds the whole selection in memory.
    With `drop`, bad rows are left out and counted there. What should be known of the reading, such
    as a column that is not shown to the judge, is logged once unless `quiet`.
    """
    _check_options(schema, limit, range)
    parser = Parser(schema, as_mapping(mapping), os.fspath(source))
    examples = _good(parser.parse(read_rows(source)), parser, drop, quiet)
    if ids is not None:
        examples = _with_ids(examples, ids, os.fspath(source))
    if range is not None:
        examples = itertools.islice(examples, *range)
    if shuffle_seed is not None:
        examples = _shuffled(examples, shuffle_seed)
    return itertools.islice(examples, limit)


def convert_rows(
    rows: Iterable[RawRow],
    *,
    schema: str = "auto",
    mapping: Given | None = None,
    name: str = "rows",
    drop: Dropped | None = None,
) -> Iterator[Example]:
    """Yield the examples of rows that are in memory, such as a Hugging Face dataset."""
    _check_options(schema, None, None)
    placed = (checked_row(f"{name}:{i}", row) for i, row in enumerate(rows, 1))
    parser = Parser(schema, as_mapping(mapping), name)
    return _good(parser.parse(placed), parser, drop, quiet=False)


def validate(
    source: Source, *, schema: str = "auto", mapping: Given | None = None, show: int = 1
) -> Report:
    """Read every row and report what is there and what is wrong with it; keeps no example.

    The first `show` examples are kept as they were read.
    """
    _check_options(schema, None, None)
    if source == "-":
        raise ConfigError("validating '-': standard input can be read once only; `spool_stdin` it")
    parser = Parser(schema, as_mapping(mapping), os.fspath(source))
    survey = Survey(os.fspath(source), show)
    for outcome in parser.parse(read_rows(source)):
        if isinstance(outcome, Refused):
            survey.refuse(outcome)
        else:
            survey.count(outcome, parser)
    return survey.report(parser, dataset_hash(source))


class Dropped:
    """The bad rows that were left out: how many of each kind, and the rows themselves for a file.

    `keep` gets each row as an object with its place, the problem and what was read of it.
    """

    def __init__(self, keep: Any = None) -> None:
        self.kinds: dict[str, int] = {}
        self.n = 0
        self._keep = keep

    def add(self, refused: Refused) -> None:
        """Count a row that was left out, and keep it."""
        self.n += 1
        error = refused.error
        kind = error.fault.kind if isinstance(error, RowError) else str(error)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self._keep is not None:
            place = refused.place.rpartition(":")[2]
            self._keep({"line": place, "problem": str(error), "row": refused.row})


def _good(
    outcomes: Iterable[Example | Refused], parser: Parser, drop: Dropped | None, quiet: bool
) -> Iterator[Example]:
    """The examples; a bad row is raised or dropped, a note is logged when it first comes up."""
    n_good = n_notes = 0
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            if drop is None or outcome.is_fatal:
                raise outcome.error
            drop.add(outcome)
            continue
        if not quiet and len(parser.notes) > n_notes:
            for note in list(parser.notes)[n_notes:]:
                log.warning("%s: %s", parser.name, note)
            n_notes = len(parser.notes)
        n_good += 1
        yield outcome
    if drop is not None and drop.n and not n_good:
        raise DataError(f"reading {parser.name}: no row is left: all {drop.n:,} are bad")


def _with_ids(examples: Iterable[Example], ids: Collection[str], name: str) -> Iterator[Example]:
    missing = set(ids)
    for example in examples:
        if example.id in missing:
            missing.remove(example.id)
            yield example
    if missing:
        raise DataError(f"selecting from {name}: got no examples with the ids {sorted(missing)}")


def _shuffled(examples: Iterable[Example], seed: int) -> Iterator[Example]:
    held = list(examples)
    random.Random(seed).shuffle(held)
    yield from held


def _check_options(schema: str, limit: int | None, span: tuple[int, int] | None) -> None:
    if schema != "auto" and schema not in SCHEMAS and schema not in ALIASES:
        raise ConfigError(f"--schema: got {schema!r}, expected auto or one of {', '.join(SCHEMAS)}")
    if limit is not None and limit < 0:
        raise ConfigError(f"--limit: got {limit}, expected 0 or more")
    if span is not None and not 0 <= span[0] <= span[1]:
        raise ConfigError(f"--range: got {span[0]}:{span[1]}, expected a:b with 0 <= a <= b")
