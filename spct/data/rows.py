"""Read Examples from a file: `read_examples` streams, `validate` looks at every row first.

`validate` is what a command calls before it spends anything: `read_examples` raises at the first
bad row, which in a long file may be an hour in. Selection goes in this order: ids, range, shuffle,
limit. Ids are unique: a given id that occurs twice is an error, and rows without an id are named by
a hash of their content, with `-2`, `-3` ... for the same content again (`prepare.dedupe` drops it).
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spct.core.plan import content_id
from spct.data.fields import RawRow
from spct.data.files import Row, bad, checked_object, dataset_hash, read_rows
from spct.data.schemas import SCHEMAS, Schema, check_mapping, convert, detect, mapped
from spct.errors import ConfigError, DataError
from spct.types import Example

Source = str | os.PathLike[str]

MAX_PROBLEMS = 100  # messages that a report keeps; it counts all


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds. `problems` are the first `MAX_PROBLEMS` messages of `n_problems`.

    `duplicates` counts examples whose query, responses and reference occurred before.
    """

    source: str
    schema: Schema | None
    rows: int
    examples: int
    with_gold: int
    duplicates: int
    n_problems: int
    problems: tuple[str, ...]
    sha256: str

    @property
    def ok(self) -> bool:
        """Whether every row can be read."""
        return self.n_problems == 0


def read_examples(
    source: Source,
    *,
    schema: Schema | str = "auto",
    mapping: Mapping[str, str] | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    range: tuple[int, int] | None = None,
    shuffle_seed: int | None = None,
) -> Iterator[Example]:
    """Yield the examples of a file in order; raise `DataError` at the first bad row.

    `range` is half-open and counts examples from 0. A shuffle holds the whole selection in memory.
    """
    _check_options(schema, limit, range)
    examples = _raising(_Parser(schema, mapping or {}, os.fspath(source)).parse(read_rows(source)))
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
    schema: Schema | str = "auto",
    mapping: Mapping[str, str] | None = None,
    name: str = "rows",
) -> Iterator[Example]:
    """Yield the examples of rows that are in memory, such as a Hugging Face dataset."""
    _check_options(schema, None, None)
    numbered = ((f"{name}:{i}", row) for i, row in enumerate(rows, 1))
    placed = (Row(place, checked_object(place, row)) for place, row in numbered)
    return _raising(_Parser(schema, mapping or {}, name).parse(placed))


def validate(
    source: Source, *, schema: Schema | str = "auto", mapping: Mapping[str, str] | None = None
) -> Report:
    """Read every row and report what is there and what is wrong with it; keeps no example."""
    _check_options(schema, None, None)
    if source == "-":
        raise ConfigError("validating '-': standard input can be read once only; `spool_stdin` it")
    parser = _Parser(schema, mapping or {}, os.fspath(source))
    examples = with_gold = n_problems = 0
    problems: list[str] = []
    for outcome in parser.parse(read_rows(source)):
        if isinstance(outcome, DataError):
            n_problems += 1
            if n_problems <= MAX_PROBLEMS:
                problems.append(str(outcome))
        else:
            examples += 1
            with_gold += outcome.gold is not None
    return Report(
        source=os.fspath(source),
        schema=parser.schema,
        rows=parser.n_rows,
        examples=examples,
        with_gold=with_gold,
        duplicates=parser.duplicates,
        n_problems=n_problems,
        problems=tuple(problems),
        sha256=dataset_hash(source),
    )


class _Parser:
    """Turns rows into examples and remembers what the file has shown so far."""

    def __init__(self, schema: Schema | str, mapping: Mapping[str, str], name: str) -> None:
        check_mapping(mapping)
        self.schema = next((known for known in SCHEMAS if known == schema), None)
        self.n_rows = 0
        self.duplicates = 0
        self._name = name
        self._mapping = mapping
        self._schema_from = "--schema"
        self._place_of: dict[str, str] = {}
        self._n_of_content: dict[str, int] = {}

    def parse(self, rows: Iterable[Row]) -> Iterator[Example | DataError]:
        """Yield one example, or one error, for every row (or run of rows that share a prompt)."""
        run: list[dict[str, Any]] = []  # rows of one prompt, where the schema spreads an example
        place = ""
        for row in rows:
            self.n_rows += 1
            fields = self._fields(row)
            if run and (isinstance(fields, DataError) or fields.get("prompt") != run[0]["prompt"]):
                yield self._example(place, run)
                run = []
            if isinstance(fields, DataError):
                yield fields
            elif self.schema == "helpsteer2" and isinstance(fields.get("prompt"), str):
                place = place if run else row.place
                run.append(fields)
            else:
                yield self._example(row.place, [fields])
        if run:
            yield self._example(place, run)
        if not self.n_rows:
            yield DataError(f"reading {self._name}: got no rows, expected at least one")

    def _fields(self, row: Row) -> dict[str, Any] | DataError:
        """Rename the columns and hold the row to the schema of the file."""
        if isinstance(row.value, DataError):
            return row.value
        try:
            fields = mapped(row.place, row.value, self._mapping) if self._mapping else row.value
            if self._schema_from == "--schema" and self.schema:
                return fields
            schema = detect(row.place, fields)
        except DataError as err:
            return err
        if self.schema is None:
            self.schema, self._schema_from = schema, row.place
        if schema != self.schema:
            expected = f"the schema {self.schema} of {self._schema_from}"
            return bad(row.place, "schema", schema, expected, "split the file or use --schema")
        return fields

    def _example(self, place: str, rows: list[dict[str, Any]]) -> Example | DataError:
        assert self.schema is not None
        try:
            example = convert(self.schema, place, rows)
        except DataError as err:
            return err
        content = content_id(example.query, example.responses, example.reference)
        copies = self._n_of_content[content] = self._n_of_content.get(content, 0) + 1
        self.duplicates += copies > 1
        if not example.id:
            example = replace(example, id=content if copies == 1 else f"{content}-{copies}")
        if first := self._place_of.get(example.id):
            return bad(place, "id", example.id, "an id that occurs once", f"{first} has it too")
        self._place_of[example.id] = place
        return example


def _raising(outcomes: Iterable[Example | DataError]) -> Iterator[Example]:
    for outcome in outcomes:
        if isinstance(outcome, DataError):
            raise outcome
        yield outcome


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


def _check_options(schema: Schema | str, limit: int | None, span: tuple[int, int] | None) -> None:
    if schema != "auto" and schema not in SCHEMAS:
        raise ConfigError(f"--schema: got {schema!r}, expected auto or one of {', '.join(SCHEMAS)}")
    if limit is not None and limit < 0:
        raise ConfigError(f"--limit: got {limit}, expected 0 or more")
    if span is not None and not 0 <= span[0] <= span[1]:
        raise ConfigError(f"--range: got {span[0]}:{span[1]}, expected a:b with 0 <= a <= b")
