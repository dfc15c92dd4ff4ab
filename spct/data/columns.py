"""One row under reading: typed access to its columns, and a record of which of them were used.

A reader takes the columns that it needs under the name of the part that they became (`query`,
`gold`). What nobody took goes to `meta`, which no judge sees, so the record also says what was
left, and no column can be lost on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from spct.data.faults import Fault, RowError, bad
from spct.data.fields import build, need, number_of, text_of
from spct.data.printed import NUMPY, printed_messages
from spct.errors import DataError, did_you_mean
from spct.types import Example, Message

Part = Literal[
    "id", "query", "system", "responses", "gold", "reference", "subset", "meta", "criteria"
]
Notes = Counter[str]  # what a reader wants to be known, with the number of rows

# A column of such a name is usually a part of the question. It never goes to meta in silence.
QUERY_LIKE = frozenset(
    [
        "problem",
        "question",
        "instruction",
        "input",
        "context",
        "history",
        "system",
        "trajectory",
        "conversation",
        "conversations",
        "system_prompt",
        "sys_prompt",
        "system_message",
        "document",
        "documents",
        "passage",
        "passages",
        "contexts",
        "choices",
        "options",
        "tools",
    ]
)
MEDIA = frozenset(["image", "images", "video", "videos", "audio", "audios"])


class Columns:
    """The columns of one row; a null counts as absent (Parquet writes absence that way)."""

    __slots__ = ("before", "damaged", "names", "notes", "nulls", "place", "row", "used")

    def __init__(
        self,
        place: str,
        row: Mapping[str, Any],
        notes: Notes | None = None,
        damaged: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.row = {column: value for column, value in row.items() if value is not None}
        self.nulls = () if len(self.row) == len(row) else tuple(c for c in row if row[c] is None)
        self.notes: Notes = Counter() if notes is None else notes
        self.damaged = damaged or {}  # columns whose values could not be kept as they were
        self.used: dict[str, Part] = {}
        for column, value in self.row.items():
            if isinstance(value, str) and (found := printed_messages(value)):
                self._unprint(column, *found)
        self.names: Mapping[str, str] = {}  # column -> what the file calls it, where it was renamed
        self.before: Columns = self  # the row before it was renamed

    def _unprint(self, column: str, messages: Any, problem: str) -> None:
        """Take messages that are written as text for what they are."""
        if problem:
            self.damaged = {**self.damaged, column: problem}
        else:
            self.row[column] = messages
            self.note(f"the text in {column!r} is a list of messages, and is read as one")

    def __contains__(self, column: str) -> bool:
        return column in self.row

    def first(self, names: Iterable[str]) -> str | None:
        """The first of these names that is a column."""
        return next((name for name in names if name in self.row), None)

    def take(self, column: str, part: Part) -> Any:
        """The value of a column that must be there, whatever its type; it counts as used."""
        self.used[column] = part
        if column in self.damaged:
            expected = "a value that can be stored and sent"
            raise bad(self.place, column, self.row.get(column), expected, self.damaged[column])
        return need(self.place, self.row, column)

    def text(self, column: str, part: Part) -> str:
        """A text."""
        return text_of(self.place, column, self.take(column, part))

    def number(self, column: str, part: Part) -> float:
        """A finite number."""
        return number_of(self.place, column, self.take(column, part))

    def one_of(self, column: str, meanings: Mapping[Any, Any], part: Part = "gold") -> Any:
        """What a label of a published set means; any other label is an error."""
        value = self.take(column, part)
        for label, meaning in meanings.items():
            if value == label and type(value) is type(label):
                return meaning
        hint = did_you_mean(str(value), [str(label) for label in meanings])
        raise self.bad(column, value, f"one of {list(meanings)}{hint}")

    def bad(self, field: str, got: object, expected: str, fix: str = "") -> DataError:
        """The error for one field of this row."""
        return bad(self.place, field, got, expected, fix)

    def told(self, field: str, got: str, expected: str, fix: str) -> DataError:
        """The error where `got` is a description and no value."""
        return RowError(self.place, Fault(field, got, expected, fix))

    def note(self, text: str) -> None:
        """Remember something that the user should know; equal notes are counted."""
        self.notes[text] += 1

    def example(
        self,
        query: tuple[Message, ...],
        responses: Sequence[str],
        gold: Sequence[float] | None,
        *,
        id: str | int | None = None,
        reference: str | None = None,
        subset: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Example:
        """Build the Example; what was not taken becomes `meta`, the given `meta` on top."""
        fields: dict[str, Any] = {}
        own: tuple[Part, ...] = ("id", "subset")
        for column in own:
            is_given = (id if column == "id" else subset) is not None
            if column in self.row and not is_given and self._is_kept(column):
                fields[column] = self.take(column, column)
        if id is not None:
            fields["id"] = id
        if subset is not None:
            fields["subset"] = subset
        rest = self.left()
        self._note_what_is_left(rest, [*(turn.content for turn in query), *responses])
        nested = rest.get("meta")
        if isinstance(nested, dict):  # the columns beside it win, as they were there first
            rest = {**rest.pop("meta"), **rest}
        return build(
            self.place,
            fields,
            query=query,
            responses=tuple(responses),
            gold=None if gold is None else tuple(gold),
            reference=reference,
            meta={**rest, **(meta or {})},
        )

    def left(self) -> dict[str, Any]:
        """The columns that nobody took."""
        return {c: value for c, value in self.row.items() if c not in self.used}

    def _is_kept(self, column: str) -> bool:
        """Whether a foreign row's id or subset has our type; if not, it is only a column."""
        value = self.row[column]
        if column in self.used or column in self.damaged:
            return False
        if column == "subset":
            return isinstance(value, str)
        is_id = isinstance(value, str | int) and not isinstance(value, bool)
        return is_id and bool(str(value).strip())

    def _note_what_is_left(self, rest: Mapping[str, Any], shown: Sequence[str]) -> None:
        for column in rest:
            value = rest[column]
            if self.damaged.get(column, NUMPY) != NUMPY:
                self.note(f"the column {column!r} is kept without what cannot be stored in it")
            if column in MEDIA and value not in ("", [], {}):
                self.note(f"the column {column!r} is not shown: the judge reads text alone")
            elif column in QUERY_LIKE and value not in ("", [], {}):
                texts = list(_texts_in(value))
                if texts and all(any(text in one for one in shown) for text in texts):
                    continue
                taken = [self.names.get(c, c) for c, part in self.used.items() if part == "query"]
                is_messages = isinstance(value, list) and isinstance(value[0], dict)
                way = f"query={column}" if is_messages else f"query={','.join([*taken, column])}"
                way = f"system={column}" if column == "tools" else way
                self.note(
                    f"the column {column!r} looks like a part of the query, but it is kept in "
                    f"meta, which no judge sees; to show it: --map {way}"
                )


def _texts_in(value: Any) -> Iterator[str]:
    """What a column says, without the names of those who say it."""
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in ("role", "from"):
                yield from _texts_in(item)
