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
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spct.core.plan import content_id
from spct.core.seen import Seen
from spct.data.criteria import Negative, Polarity
from spct.data.dropped import Dropped, Refused
from spct.data.faults import bad
from spct.data.fields import RawRow, read_own
from spct.data.files import Row, checked_row, dataset_hash, read_rows
from spct.data.inputs import expand
from spct.data.selection import check_options, shuffled, with_ids
from spct.errors import ConfigError, DataError
from spct.types import Example

if TYPE_CHECKING:
    from spct.data.layouts.foreign import Foreign
    from spct.data.mapping import Given
    from spct.data.shown import Report, Survey

Source = str | os.PathLike[str]

REPEATED_ID = "an id that occurs again gets -2, -3 ..., as it may name the prompt"

log = logging.getLogger(__name__)


def read_examples(
    source: Source | Sequence[Source],
    *,
    schema: str = "auto",
    mapping: Given | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    range: tuple[int, int] | None = None,
    shuffle_seed: int | None = None,
    drop: Dropped | None = None,
    survey: Survey | None = None,
    negative: Negative | None = None,
) -> Iterator[Example]:
    """Yield the examples of files in order; raise `DataError` at the first bad row.

    A name may be a folder, a pattern or an address (`inputs.expand`); each file has its own layout.
    `negative` says what criteria below zero mean. `range` is half-open and counts from 0. A shuffle
    holds the whole selection in memory. With `drop`, bad rows are left out and counted there. What
    should be known of the reading, such as a column that is not shown to the judge, goes to the
    `survey`, or else is logged once.
    """
    check_options(schema, limit, range)
    files = expand([source] if isinstance(source, str | os.PathLike) else source)
    examples = _all_of(files, (schema, mapping, negative), drop, survey)
    name = files[0] if len(files) == 1 else f"{len(files)} files"
    if ids is not None:
        examples = with_ids(examples, ids, name)
    if range is not None:
        examples = itertools.islice(examples, *range)
    if shuffle_seed is not None:
        examples = shuffled(examples, shuffle_seed)
    return itertools.islice(examples, limit)


def _all_of(
    files: Sequence[str],
    how: tuple[str, Given | None, Negative | None],
    drop: Dropped | None,
    survey: Survey | None,
) -> Iterator[Example]:
    """The examples of each file by a parser of its own; ids are unique over all of them."""
    parser: Parser | None = None
    for file in files:
        parser = Parser(how[0], how[1], file, how[2], parser)
        yield from _good(parser.parse(read_rows(file)), parser, drop, survey)


def convert_rows(
    rows: Iterable[RawRow],
    *,
    schema: str = "auto",
    mapping: Given | None = None,
    name: str = "rows",
    drop: Dropped | None = None,
) -> Iterator[Example]:
    """Yield the examples of rows that are in memory, such as a Hugging Face dataset."""
    check_options(schema, None, None)
    placed = (checked_row(f"{name}:{i}", row) for i, row in enumerate(rows, 1))
    parser = Parser(schema, mapping, name)
    return _good(parser.parse(placed), parser, drop)


def validate(
    source: Source,
    *,
    schema: str = "auto",
    mapping: Given | None = None,
    show: int = 1,
    negative: Negative | None = None,
) -> Report:
    """Read every row and report what is there and what is wrong with it; keeps no example.

    The first `show` examples are kept as they were read.
    """
    from spct.data.shown import Survey

    check_options(schema, None, None)
    if source == "-":
        raise ConfigError("validating '-': standard input can be read once only; `spool_stdin` it")
    parser = Parser(schema, mapping, os.fspath(source), negative)
    survey = Survey(parser, show)
    for outcome in parser.parse(read_rows(source)):
        if isinstance(outcome, Refused):
            survey.refuse(outcome)
        else:
            survey.count(outcome)
    return survey.report(dataset_hash(source))


class Parser:
    """Turns rows into examples and remembers what the file has shown so far.

    A file has one layout. A row of another one is refused, since mixed files are merged by accident
    more often than on purpose, and their golds do not compare.
    """

    def __init__(
        self,
        schema: str,
        mapping: Given | None,
        name: str,
        negative: Negative | None = None,
        before: Parser | None = None,
    ) -> None:
        self.name = name
        self._polarity = Polarity(negative)
        self.n_rows = 0
        self.duplicates = 0
        self.last: tuple[str, Mapping[str, Any]] = (name, {})  # place and row of the last example
        self._schema = schema
        self._mapping = mapping or {}
        self._foreign: Foreign | None = None
        self._none: Counter[str] = Counter()  # the notes on our own rows, asked for at each row
        self._own_places: list[str] = []  # the first and the last of our own rows
        self._ids: Seen = before._ids if before else Seen()
        self._contents: Seen = before._contents if before else Seen()
        self._copies: dict[str, int] = before._copies if before else {}
        # Lines are counted on through all files: where each begins, and its name.
        self._base: int = before._reached if before else 0
        self._begun: list[tuple[int, str]] = [
            *(before._begun if before else ()),
            (self._base, name),
        ]
        self._reached: int = self._base
        if mapping or schema not in ("auto", "spct"):
            self._made_foreign()

    @property
    def schema(self) -> str | None:
        """The name of the layout, or None before the first row."""
        if self._foreign is not None:
            return self._foreign.name
        return "spct" if self.last[1] else None

    def parts(self) -> dict[str, str]:
        """The columns of the last example, and what each became: a part, or nothing."""
        row = self.last[1]
        if self._foreign is None or self._foreign.last is None:
            return {key: key for key in row if row[key] is not None}
        columns = self._foreign.last
        used: Mapping[str, str] = columns.used
        used = {columns.names.get(c, c): part for c, part in used.items()}
        return {**used, **dict.fromkeys(columns.left(), "")}

    @property
    def notes(self) -> Counter[str]:
        """What should be known of the reading, with the number of rows."""
        return self._none if self._foreign is None else self._foreign.notes

    @property
    def runs(self) -> list[list[str]]:
        """Rows on end of one layout: its name, the first place and the last."""
        return [] if self._foreign is None else self._foreign.runs

    def parse(self, rows: Iterable[Row]) -> Iterator[Example | Refused]:
        """Yield one example, or one error, for every row (or run of rows that share a prompt)."""
        for row in rows:
            self.n_rows += 1
            value = row.value
            if isinstance(value, DataError):
                yield from self._flushed()
                is_fatal = ":" not in row.place[len(self.name) :]
                yield Refused(row.place, value, row.raw or None, is_fatal)
            elif self._foreign is None and self._is_own(value):
                yield self._own(row, value)
            else:
                foreign = self._foreign or self._made_foreign()
                for place, made, raw in foreign.feed(row, value):
                    yield self._done(place, made, raw)
        yield from self._flushed()
        if not self.n_rows:
            empty = DataError(f"reading {self.name}: got no rows, expected at least one")
            yield Refused(self.name, empty, None, is_fatal=True)

    def _is_own(self, value: Mapping[str, Any]) -> bool:
        return self._schema == "spct" or ("query" in value and "responses" in value)

    def _own(self, row: Row, value: dict[str, Any]) -> Example | Refused:
        self._own_places[1:] = [row.place]
        try:
            example = read_own(row.place, value, row.damaged, self._polarity)
            self.last = row.place, value
            return self._with_id(row.place, example)
        except DataError as error:
            return Refused(row.place, error, value)

    def _made_foreign(self) -> Foreign:
        """The reader of foreign rows, which comes with all layouts; it takes over for good."""
        from spct.data.layouts.foreign import Foreign
        from spct.data.layouts.table import BY_NAME
        from spct.data.mapping import as_mapping

        self._foreign = Foreign(self._schema, as_mapping(self._mapping), self._polarity)
        for place in self._own_places:  # not the broken lines before, which are of no layout
            self._foreign.hold(place, BY_NAME["spct"])
        return self._foreign

    def _flushed(self) -> Iterator[Example | Refused]:
        for place, made, raw in () if self._foreign is None else self._foreign.finish():
            yield self._done(place, made, raw)

    def _done(self, place: str, made: Example | DataError, raw: Any) -> Example | Refused:
        if isinstance(made, DataError):
            return Refused(place, made, raw)
        assert self._foreign is not None and self._foreign.last is not None
        self.last = place, self._foreign.last.row
        try:
            return self._with_id(place, made)
        except DataError as error:
            return Refused(place, error, raw)

    def _with_id(self, place: str, example: Example) -> Example:
        """Give the example its id, and count what occurred before."""
        number = self._base + self.n_rows
        content = ""
        if not example.id:
            content = content_id(example.query, example.responses, example.reference)
        key = hash((example.query, example.responses, example.reference))
        is_copy = bool(self._contents.add(key, number))
        self.duplicates += is_copy
        id = example.id or content
        line = self._base + _line(place, self.n_rows)
        self._reached = max(self._reached, line)
        if before := self._ids.add(hash(id), line):
            if example.id and self.schema == "spct":
                base, name = max(pair for pair in self._begun if pair[0] < before)
                fix = f"{name}:{before - base} has it too"
                raise bad(place, "id", example.id, "an id that occurs once", fix)
            if example.id:
                self.notes[REPEATED_ID] += 1
            id = self._next(id, line)
        if id != example.id:  # made here and seen by nobody yet; a copy would check it all again
            object.__setattr__(example, "id", id)
        return example

    def _next(self, id: str, line: int) -> str:
        """The next free name of an id that occurred before."""
        n = self._copies.get(id, 1)
        while True:
            n += 1
            if not self._ids.add(hash(f"{id}-{n}"), line):
                self._copies[id] = n
                return f"{id}-{n}"


def _line(place: str, number: int) -> int:
    end = place.rpartition(":")[2]
    return int(end) if end.isdigit() else number


def _good(
    outcomes: Iterable[Example | Refused],
    parser: Parser,
    drop: Dropped | None,
    survey: Survey | None = None,
) -> Iterator[Example]:
    """The examples; a bad row is raised or dropped, a note is logged when it first comes up."""
    n_good = n_notes = 0
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            if drop is None or outcome.is_fatal:
                raise outcome.error
            drop.add(outcome)
            continue
        if survey is not None:
            survey.parser = parser
            survey.count(outcome)
        elif len(parser.notes) > n_notes:
            for note in list(parser.notes)[n_notes:]:
                log.warning("%s: %s", parser.name, note)
            n_notes = len(parser.notes)
        n_good += 1
        yield outcome
    if drop is not None and drop.n and not n_good:
        raise DataError(f"reading {parser.name}: no row is left: all {drop.n:,} are bad")
