"""Where a command's examples come from: a file, standard input, or the command line itself.

What fits into memory is read whole first, so that nothing is spent before every row is known good.
A long input (`LONG_BYTES`) is read as it is judged: only its first rows are looked at before, its
number is known at its end, and its name is that of its bytes and not of its examples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from spct.cli.bad_rows import dropping
from spct.core.plan import content_id
from spct.data.criteria import Negative
from spct.data.files import spool_stdin, stamp
from spct.data.inputs import expand, weight
from spct.data.rows import read_examples, validate
from spct.errors import ConfigError, DataError, printable
from spct.runs.identity import digest, digest_of_all
from spct.types import Example, Message

if TYPE_CHECKING:
    from spct.data.dropped import Dropped
    from spct.data.mapping import Mapped
    from spct.data.shown import Report, Survey

File = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE...|-]",
        help="Examples as JSONL, JSON, CSV, Arrow or Parquet: files, folders, patterns, addresses "
        "(s3://, hf://datasets/...); - is stdin.",
    ),
]
PANEL = "Which examples"
Schema = Annotated[
    str,
    typer.Option(rich_help_panel=PANEL, help="Of the rows; auto detects it (see docs/data.md)."),
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", rich_help_panel=PANEL, help="field=column, for rows of no known schema."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take the first N examples.")]
Range = Annotated[
    str | None,
    typer.Option("--range", rich_help_panel=PANEL, help="Take examples a:b, counted from 0."),
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--sample-id", rich_help_panel=PANEL, help="Take the example of this id."),
]
Shuffle = Annotated[
    bool,
    typer.Option("--shuffle", rich_help_panel=PANEL, help="Shuffle with the run's seed first."),
]
ShardOf = Annotated[
    str | None,
    typer.Option("--shard", rich_help_panel=PANEL, help="Take part i of n, as i/n; spct merge."),
]
NegativeSign = Annotated[
    Negative | None,
    typer.Option(
        "--negative",
        rich_help_panel=PANEL,
        help="What criteria with weights or points below zero mean.",
    ),
]
LONG_BYTES = 64 * 2**20  # in memory an example takes several times its bytes
HELD = 50_000  # examples: a selection of so many is held, whatever it is taken from
LOOKED_AT = 200  # of a long input, before anything is spent
MaxUnscored = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        rich_help_panel="Limits",
        help="Exit with 3 above this share of unscored judgements.",
    ),
]


@dataclass(slots=True)
class Reading:
    """Examples that are held, or read while they are asked for; `data` names what they are."""

    examples: Iterable[Example]
    data: str
    n: int | None = None  # of a long input only once it was read to its end


@dataclass(frozen=True, slots=True)
class Source:
    """Files of examples and the selection from them."""

    files: tuple[str, ...]
    schema: str = "auto"
    mapping: tuple[str, ...] = ()
    limit: int | None = None
    span: str | None = None
    ids: tuple[str, ...] = ()
    shuffle_seed: int | None = None
    drop_bad: bool = False
    negative: Negative | None = None

    @property
    def file(self) -> str:
        """What to call it."""
        more = len(self.files) - 1
        return self.files[0] + (f" and {more} more" if more else "")

    def _map(self) -> dict[str, Mapped] | None:
        if not self.mapping:
            return None
        from spct.data.mapping import parse_mapping

        return parse_mapping(self.mapping)

    def examples(
        self, drop: Dropped | None = None, survey: Survey | None = None
    ) -> Iterator[Example]:
        """Read the selection, lazily."""
        return read_examples(
            self.files,
            schema=self.schema,
            mapping=self._map(),
            limit=self.limit,
            ids=self.ids or None,
            range=_span(self.span),
            shuffle_seed=self.shuffle_seed,
            drop=drop,
            survey=survey,
            negative=self.negative,
        )

    def read(self, *, told: bool = False, negative: Negative | None = None) -> list[Example]:
        """The selection, read once and whole: nothing is spent before every row is known good.

        If it is to be `told`, three lines on standard error say how the file is read.
        """
        if negative is not None:
            return replace(self, negative=negative).read(told=told)
        survey = _survey(self.files[0]) if told else None
        try:
            with dropping(self.files[0], wanted=self.drop_bad) as drop:
                examples = list(self.examples(drop, survey))
            if survey is not None:
                tell(survey.report())
        except DataError:
            if self.drop_bad:
                raise
            self.check()  # names every bad row, not only the first
            raise
        if not examples:
            raise DataError(f"{self.file} holds no examples")
        return examples

    @contextmanager
    def reading(self, *, told: bool = False, whole: bool = False) -> Iterator[Reading]:
        """The selection: held, or of a long input read on, unless it must be there `whole`."""
        if whole or not self.is_long():
            examples = self.read(told=told)
            yield Reading(examples, digest_of_all(examples), len(examples))
            return
        survey = _survey(self.files[0]) if told else None
        with dropping(self.files[0], wanted=self.drop_bad) as drop:
            rows = self.examples(drop, survey)
            first = list(islice(rows, LOOKED_AT))
            if not first:
                raise DataError(f"{self.file} holds no examples")
            if survey is not None:
                tell(survey.report())
                print(f"{self.file} is long: these are its first rows", file=sys.stderr)
                survey.is_over = True
            reading = Reading((), self.stamp())
            reading.examples = _counted(reading, chain(first, rows))
            yield reading
        if survey is not None and reading.n is not None:
            print(f"{self.file} was read to its end: {reading.n:,} examples", file=sys.stderr)

    def is_long(self) -> bool:
        """Whether the selection is too long to be held; one by ids or a shuffle always is held."""
        first, last = _span(self.span) or (0, sys.maxsize)
        if (
            self.ids
            or self.shuffle_seed is not None
            or min(last - first, self.limit or last) < HELD
        ):
            return False
        return sum(map(weight, self.files)) > LONG_BYTES

    def stamp(self) -> str:
        """A name of the selection by the bytes of its files; where they lie does not matter."""
        how = (self.schema, self.mapping, self.limit, self.span, self.negative)
        return digest({"read as": how, "files": [stamp(file) for file in self.files]})

    def check(self) -> int:
        """Read every row before anything is spent; return how many examples there are."""
        total = 0
        for file in self.files:
            report = validate(file, schema=self.schema, mapping=self._map(), negative=self.negative)
            if not report.ok:
                raise DataError("\n".join(report.problems))
            if not report.examples:
                raise DataError(f"{file} holds no examples")
            total += report.examples
        return total


def _counted(reading: Reading, examples: Iterable[Example]) -> Iterator[Example]:
    """The examples; their number is there when the last one is through."""
    n = 0
    try:
        for example in examples:
            n += 1
            yield example
    except DataError as error:
        raise DataError(
            f"{error}\nThe {n:,} examples before it were good, and what was judged of them is "
            "stored: the same command goes on, with --drop-bad also past bad rows (a changed "
            "file is another run, which --out RUN --accept-drift makes this one)"
        ) from error
    reading.n = n


def _survey(name: str) -> Survey:
    from spct.data.rows import Parser
    from spct.data.shown import Survey

    return Survey(Parser("auto", None, name))


def tell(report: Report) -> None:
    """Say how a file is read, on standard error, before anything is paid for it."""
    for line in (*report.brief(), *(f"note: {note}" for note in report.notes)):
        print(printable(line), file=sys.stderr)


def source_of(
    files: list[str] | None,
    schema: str,
    mapping: list[str] | None,
    limit: int | None,
    span: str | None,
    ids: list[str] | None,
    shuffle_seed: int | None,
    drop_bad: bool = False,
) -> Source:
    """The source that a command's options name; standard input is kept in a temporary file."""
    if not files:
        raise ConfigError("no examples: name a file, - for standard input, or give --query")
    if "-" in files:
        if len(files) > 1:
            raise ConfigError("standard input (-) cannot stand beside other files")
        if sys.stdin.isatty():
            raise ConfigError("standard input is a terminal; pipe examples in, or name a file")
        files = [str(spool_stdin())]
    chosen = tuple(ids or ())
    maps = tuple(mapping or ())
    return Source(tuple(expand(files)), schema, maps, limit, span, chosen, shuffle_seed, drop_bad)


def one_example(query: str, responses: list[str], reference: str | None) -> Example:
    """The example of --query and repeated --response."""
    if not query.strip():
        raise ConfigError("--query is empty")
    if not responses:
        raise ConfigError("--query needs at least one --response; repeat it to compare several")
    turns = (Message("user", query),)
    id = content_id(turns, responses, reference)
    return Example(id, turns, tuple(responses), reference=reference)


def _span(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(first or 0), int(last) if last else sys.maxsize
    except ValueError:
        raise ConfigError(f"--range is {text!r}; expected a:b, such as 100:200") from None
