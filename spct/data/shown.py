"""What a file holds, shown back: the first examples as they were read, counts, and every fault.

A reading that is wrong is wrong in the same way in every row, so the first example and the columns
that it came from show most of what can go wrong before anything is paid.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spct.data.faults import kind_of, named
from spct.types import Example

if TYPE_CHECKING:
    from spct.data.dropped import Refused
    from spct.data.rows import Parser

MAX_KINDS = 1000  # of faults that are told apart
MAX_TOLD = 8  # lines of faults; with the summary a report stays within twenty lines
MAX_NOTES = 5
_PARTS = ("system", "query", "responses", "gold", "reference", "criteria", "subset", "id")


@dataclass(frozen=True, slots=True)
class Shown:
    """One example as it was read, and which columns became which part of it."""

    place: str
    example: Example
    used: Mapping[str, str]  # column -> part
    left: tuple[str, ...]

    def columns(self) -> str:
        """Which columns went where, in one line."""
        told = []
        for part in _PARTS:
            columns = [c for c, p in self.used.items() if p == part != "id"]
            if columns:
                told.append(f"{part} <- {named(columns)}")
        if self.left:
            told.append(f"kept in meta, not shown: {named(self.left)}")
        return "; ".join(told)

    def lines(self, width: int = 400) -> Iterator[str]:
        """The example: its turns by role, and its responses with their gold."""
        yield f"{self.place} (id {self.example.id}), as read:"
        for turn in self.example.query:
            yield f"  {turn.role}: {_cut(turn.content, width)}"
        golds = self.example.gold or (None,) * self.example.n
        for i, (response, gold) in enumerate(zip(self.example.responses, golds, strict=True), 1):
            yield f"  response {i} (gold {'none' if gold is None else f'{gold:g}'}): " + _cut(
                response, width
            )
        if self.example.reference is not None:
            yield f"  reference: {_cut(self.example.reference, width)}"
        for i, one in enumerate(self.example.criteria.items if self.example.criteria else (), 1):
            kind = "" if one.kind == "met" else f", {one.kind}"
            gate = ", required" if one.required else ""
            yield f"  criterion {i} (weight {one.weight:g}{kind}{gate}): {_cut(one.text, width)}"
        yield f"  columns: {self.columns()}"


@dataclass(slots=True)
class _Group:
    """Rows with one fault."""

    first: str
    last: str
    error: str
    n: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds. `problems` says each kind of fault once, with the rows that have it.

    `duplicates` counts examples whose query, responses and reference occurred before; `notes` says
    what was left out or decided while reading, with the number of rows.
    """

    source: str
    schema: str | None
    rows: int
    examples: int
    with_gold: int
    ties: int
    duplicates: int
    n_problems: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    lengths: Mapping[str, tuple[int, int]]  # of queries and responses: median (about), largest
    shown: tuple[Shown, ...]
    sha256: str

    @property
    def ok(self) -> bool:
        """Whether every row can be read."""
        return self.n_problems == 0

    def summary(self) -> str:
        """The counts in one line."""
        return (
            f"{self.examples} examples from {self.rows} rows (schema {self.schema or 'unknown'}), "
            f"{self.with_gold} with gold, {self.duplicates} duplicates, "
            f"{self.n_problems} problem{'s' * (self.n_problems != 1)}"
        )

    def details(self) -> Iterator[str]:
        """What the examples are like: responses, gold, turns, scripts, lengths."""
        if not self.examples:
            return
        told = [f"{name}: {_counted(counts)}" for name, counts in self.counts.items() if counts]
        gold = f"gold: {self.with_gold} of {self.examples}, {self.ties} of them ties"
        yield "; ".join([*told[:1], gold, *told[1:]])
        sizes = [
            f"{name} about {median:,} at the median, {most:,} at most"
            for name, (median, most) in self.lengths.items()
        ]
        yield f"characters: {'; '.join(sizes)}"

    def brief(self) -> tuple[str, ...]:
        """Three lines for a command that is about to spend something."""
        if not self.shown:
            return (f"{self.source}: {self.summary()}",)
        first = self.shown[0]
        example = first.example
        golds = example.gold or (None,) * example.n
        responses = " | ".join(
            f"{_cut(r, 60)} (gold {'none' if g is None else f'{g:g}'})"
            for r, g in zip(example.responses[:4], golds, strict=False)
        )
        more = f" | and {example.n - 4} more" if example.n > 4 else ""
        query = " | ".join(f"{turn.role}: {_cut(turn.content, 80)}" for turn in example.query[-3:])
        return (
            f"{self.source}: {self.summary()}; {first.columns()}",
            f"first query: {query}",
            f"first responses: {responses}{more}",
        )


class Survey:
    """Counts what is read, in memory that does not grow with the rows."""

    def __init__(self, parser: Parser, show: int = 1) -> None:
        self.parser = parser
        self._show = show
        self.is_over = False  # what comes is not counted: of a long input only its beginning is
        self._shown: list[Shown] = []
        self._examples = self._with_gold = self._ties = self._n_problems = 0
        self._groups: dict[str, _Group] = {}
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("responses", "turns", "script")
        }
        self._lengths = {"queries": _Lengths(), "responses": _Lengths()}

    def count(self, example: Example) -> None:
        """Take in one example."""
        if self.is_over:
            return
        self._examples += 1
        gold, query, n = example.gold, example.query, len(example.responses)
        if gold is not None:
            self._with_gold += 1
            self._ties += n > 1 and min(gold) == max(gold)  # lists may have several right ones
        responses, turns, script = self._counts.values()
        responses[_few(n)] += 1
        turns[_few(len(query))] += 1
        script[script_of(query[-1].content)] += 1
        self._lengths["queries"].add(sum([len(turn.content) for turn in query]))
        add = self._lengths["responses"].add
        for response in example.responses:
            add(len(response))
        if len(self._shown) < self._show:
            parser = self.parser
            parts = parser.parts()
            left = tuple(column for column, part in parts.items() if not part)
            used = {column: part for column, part in parts.items() if part}
            self._shown.append(Shown(parser.last[0], example, used, left))

    def refuse(self, refused: Refused) -> None:
        """Take in one row that cannot be read."""
        self._n_problems += 1
        kind, error = kind_of(refused.error), refused.error
        if group := self._groups.get(kind):
            group.n += 1
            group.last = refused.place
        elif len(self._groups) < MAX_KINDS:
            self._groups[kind] = _Group(refused.place, refused.place, str(error))

    def report(self, sha256: str = "") -> Report:
        """All of it."""
        parser = self.parser
        return Report(
            source=parser.name,
            schema=parser.schema,
            rows=parser.n_rows,
            examples=self._examples,
            with_gold=self._with_gold,
            ties=self._ties,
            duplicates=parser.duplicates,
            n_problems=self._n_problems,
            problems=tuple(self._problems(parser)),
            notes=tuple(_told_notes(parser.notes)),
            counts={name: dict(counts) for name, counts in self._counts.items()},
            lengths={name: lengths.told() for name, lengths in self._lengths.items()},
            shown=tuple(self._shown),
            sha256=sha256,
        )

    def _problems(self, parser: Parser) -> Iterator[str]:
        groups = sorted(self._groups.values(), key=lambda group: -group.n)
        for group in groups[:MAX_TOLD]:
            yield _told_group(group)
        if len({layout for layout, *_ in parser.runs}) > 1:
            yield mixed(parser.name, parser.runs)
        if len(groups) > MAX_TOLD:
            rest = sum(group.n for group in groups[MAX_TOLD:])
            yield f"... and {len(groups) - MAX_TOLD} more kinds of faults in {rest:,} rows"


def _told_group(group: _Group) -> str:
    if group.n == 1:
        return group.error
    last = group.last.rpartition(":")[2]
    return group.error.replace(group.first, f"{group.first}-{last} ({group.n:,} rows)", 1)


def mixed(name: str, runs: list[list[str]]) -> str:
    """Which lines are of which layout."""
    told = []
    for layout, first, last in runs[:6]:
        start, end = (place.rpartition(":")[2] for place in (first, last))
        told.append(f"{start}{f'-{end}' if end != start else ''} {layout}")
    more = f" and {len(runs) - 6} more changes" if len(runs) > 6 else ""
    return f"{name} mixes layouts: lines {', '.join(told)}{more}"


def _told_notes(notes: Counter[str]) -> Iterator[str]:
    for note, n in notes.most_common(MAX_NOTES):
        yield f"{note} ({n:,} rows)" if n > 1 else f"{note} (1 row)"
    if len(notes) > MAX_NOTES:
        yield f"... and {len(notes) - MAX_NOTES} more notes"


_FEW = tuple("0123456789")


def _few(n: int) -> str:
    return _FEW[n] if n < 10 else "10 or more"


def _counted(counts: Mapping[str, int]) -> str:
    several = sorted(counts.items(), key=lambda item: -item[1])
    if len(several) == 1:
        return several[0][0]
    return ", ".join(f"{name} in {n:,}" for name, n in several[:4])


class _Lengths:
    """A histogram of lengths to two digits, so that a median costs no memory."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._most = 0

    def add(self, length: int) -> None:
        step = 1 if length < 100 else 10 if length < 1000 else 10 ** (len(str(length)) - 2)
        self._counts[length - length % step] += 1
        self._most = max(self._most, length)

    def told(self) -> tuple[int, int]:
        half, seen = sum(self._counts.values()) / 2, 0
        for length in sorted(self._counts):
            seen += self._counts[length]
            if seen >= half:
                return length, self._most
        return 0, 0


_SCRIPTS = (
    (re.compile("[\u3040-\u30ff]"), "Japanese"),
    (re.compile("[\uac00-\ud7af\u1100-\u11ff]"), "Hangul"),
    (re.compile("[\u3400-\u9fff\uf900-\ufaff]"), "Han"),
    (re.compile("[\u0400-\u052f]"), "Cyrillic"),
    (re.compile("[\u0600-\u06ff\u0750-\u077f]"), "Arabic"),
    (re.compile("[\u0900-\u097f]"), "Devanagari"),
    (re.compile("[\u0590-\u05ff]"), "Hebrew"),
    (re.compile("[\u0370-\u03ff]"), "Greek"),
    (re.compile("[\u0e00-\u0e7f]"), "Thai"),
)


def script_of(text: str) -> str:
    """The script of most letters of a text's beginning."""
    text = text[:400]
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else "none"
    letters = [letter for letter in text if letter.isalpha()]
    foreign = "".join(letter for letter in letters if not letter.isascii())
    if 2 * len(foreign) < len(letters):
        return "Latin"
    found = next((name for pattern, name in _SCRIPTS if len(pattern.findall(foreign)) > 0), None)
    if found:
        return found
    return unicodedata.name(foreign[0], "other").split()[0].capitalize() if foreign else "none"


def _cut(text: str, width: int) -> str:
    """A text in one line, control characters visible, cut with its length where it is long."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:width]
    )
    return f"{shown}... ({len(text):,} characters)" if len(text) > width else shown
