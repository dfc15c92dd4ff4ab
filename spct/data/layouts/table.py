"""All layouts in one table, and the rule that finds the layout of a row by its columns.

The order is the order of the questions: what is most particular is asked first. A layout is named
in reports and by --schema; docs/data.md shows a row of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spct.data.columns import Columns
from spct.data.fields import HUMAN_KEYS, OWN_KEYS, read_own
from spct.data.layouts import pairs, singles
from spct.data.layouts.lists import COLUMNS as LISTS
from spct.data.layouts.lists import list_of, read_list
from spct.data.layouts.outputs import has_outputs, outputs_of, read_arena, read_outputs
from spct.data.layouts.queries import MAIN
from spct.data.layouts.unknown import refusal
from spct.data.layouts.words import verdict_of
from spct.data.published import readers as published
from spct.errors import did_you_mean
from spct.types import Example

Row = Mapping[str, Any]


class Layout(NamedTuple):
    """How rows of one kind are known and read."""

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[Columns], Example]


def _is_own(row: Row) -> bool:
    return "query" in row and "responses" in row


def _is_ours(column: str) -> bool:
    """Whether a column is one of ours, perhaps misspelt."""
    known = OWN_KEYS + HUMAN_KEYS
    return column in known or bool(did_you_mean(column, known))


def _own(row: Columns) -> Example:
    for column in row.row:
        row.used[column] = "meta"
    return read_own(row.place, row.row, row.damaged)


def _keys(*columns: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: all(column in row for column in columns)


def _is_llmbar(row: Row) -> bool:
    return row.keys() == {"input", "output_1", "output_2", "label"}


def _is_swift(row: Row) -> bool:
    is_worse = "rejected_response" in row or "rejected_messages" in row
    is_better = "response" in row or "messages" in row or "conversations" in row
    return is_worse and is_better and pairs.ends_of(dict(row)) is None


def _names_a_column(row: Row, column: str) -> bool:
    """Whether a value is no text but the name of a response: `chosen: "response_a"`."""
    value = row.get(column)
    if not isinstance(value, str) or len(value) > 60:
        return False
    columns = outputs_of(tuple(row))
    return len(columns) == 2 and isinstance(verdict_of(value, columns), tuple)


def _is_pair(row: Row) -> bool:
    ends = pairs.ends_of(dict(row))
    return ends is not None and not _names_a_column(row, ends.chosen)


def _is_lists_of_texts(row: Row) -> bool:
    ends = pairs.ends_of(dict(row))
    return ends is not None and pairs.is_list_of_texts(row[ends.chosen])


def _is_list(row: Row) -> bool:
    return list_of(row) is not None or any(c in row for c in LISTS if c != "responses")


LAYOUTS: tuple[Layout, ...] = (
    Layout("spct", _is_own, _own),
    Layout("arena", _keys("conversation_a", "conversation_b"), read_arena),
    Layout("rewardbench2", _is_lists_of_texts, pairs.read_rewardbench2),
    Layout("preference", _is_pair, pairs.read_pair),
    Layout("swift", _is_swift, pairs.read_swift),
    Layout(
        "autoj",
        _keys("scenario", "label", "response 1", "response 2"),
        published.as_rows(published.autoj),
    ),
    Layout(
        "pandalm",
        _keys("annotator1", "annotator2", "annotator3", "response1", "response2"),
        published.as_rows(published.pandalm),
    ),
    Layout("llmbar", _is_llmbar, published.as_rows(published.llmbar)),
    Layout(
        "judgebench",
        _keys("pair_id", "question", "response_model", "response_A", "response_B", "label"),
        published.as_rows(published.judgebench),
    ),
    Layout("verdict", has_outputs, read_outputs),
    Layout(
        "rmb",
        _keys("conversation_input", "bon_best", "loser_list"),
        published.as_rows(published.rmb),
    ),
    Layout("ultrafeedback", _is_list, read_list),
    Layout("helpsteer2", _keys("prompt", "response", "helpfulness"), singles.read_single),
    Layout("single", singles.has_single, singles.read_single),
)
BY_NAME: Mapping[str, Layout] = {layout.name: layout for layout in LAYOUTS}
# Names of earlier releases, for --schema.
ALIASES = {"helpsteer2-preference": "verdict"}
SCHEMAS = tuple(BY_NAME)


def detect(row: Columns) -> Layout:
    """The layout of a row by its columns; a row of no layout is refused with what it may be."""
    columns = row.row
    for layout in LAYOUTS:
        if layout.matches(columns):
            return layout
    if ("query" in columns or "responses" in columns) and all(map(_is_ours, columns)):
        return BY_NAME["spct"]
    raise refusal(row, MAIN)
