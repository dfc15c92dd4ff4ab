"""Rows with a chosen and a rejected response, whatever the two are called and wrapped in.

Where a row has no column for the query, the query is what both conversations share: whole turns
of message lists or of a text with HH's marks. Only a row that holds nothing but two plain texts is
TRL's implicit prompt, the beginning that both share, cut back to white space (TRL may cut inside a
word); that reading is named each time, since nothing in the row confirms it.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any, NamedTuple

from spct.data.columns import Columns
from spct.data.faults import named
from spct.data.fields import texts_of
from spct.data.layouts.queries import (
    MAIN,
    has_query,
    main_turns,
    no_query,
    query_of_row,
    with_context,
)
from spct.data.layouts.words import FIRST, TIE, Gold, is_tie_word
from spct.data.turns import (
    closed,
    dialogue,
    ending_with_user,
    response_of,
    split_pair,
    templated,
    turns_of,
)
from spct.types import Example, Message

# What sets call the better and the worse response.
NAMES = (
    ("chosen", "rejected"),
    ("chosen", "reject"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("chosen_answer", "rejected_answer"),
    ("text_chosen", "text_rejected"),
    ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"),
    ("better_response", "worse_response"),
    ("response_j", "response_k"),
    ("winning_response", "losing_response"),
    ("accepted", "rejected"),
    ("pos_resp", "neg_resp"),
    ("good_edited_response", "bad_edited_response"),
)
IMPLICIT_NOTE = (
    "no column holds the query, so it is the beginning that chosen and rejected share, as in TRL; "
    "if these texts are whole answers, name their query: --map prompt=COLUMN"
)
_OPENED = re.compile(r"\A\s*Assistant:\s*")  # where the mark begins the answers
_STATUS = ("status", "outcome", "result", "winner", "verdict", "preference", "label")
_RATING = re.compile(r"score|rating|reward|overall", re.IGNORECASE)


class Ends(NamedTuple):
    """The columns of the better and the worse response."""

    chosen: str
    rejected: str


def ends_of(row: Columns | dict[str, Any]) -> Ends | None:
    """The two columns, if the row has such a pair."""
    return next((Ends(a, b) for a, b in NAMES if a in row and b in row), None)


def _ends(row: Columns) -> Ends:
    ends = ends_of(row)
    if ends is None:
        raise row.bad("chosen, rejected", named(row.row), "these two columns")
    return ends


def is_list_of_texts(value: object) -> bool:
    """Whether a value is a list of plain texts, the responses of RewardBench 2."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def read_pair(row: Columns) -> Example:
    """A pair: gold 1 for the chosen response, unless the row itself says that neither is better."""
    ends = _ends(row)
    values = (row.take(ends.chosen, "responses"), row.take(ends.rejected, "responses"))
    for column, value in zip(ends, values, strict=True):
        if not isinstance(value, str | list | dict) or value == {}:
            raise row.bad(column, value, "a text, a message, or a list of messages")
    query, responses = _split(row, ends, values)
    return row.example(query, responses, _gold(row, ends))


def _split(
    row: Columns, ends: Ends, values: tuple[Any, Any]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    if all(isinstance(value, str) for value in values):
        return _text_pair(row, ends, values)
    if any(isinstance(value, dict) for value in values) or (has_query(row) and _replies(values)):
        query = query_of_row(row)
        first, second = (response_of(row.place, c, v) for c, v in zip(ends, values, strict=True))
        return query, (first, second)
    if not all(isinstance(value, list) for value in values):
        raise row.bad(", ".join(ends), values, "two texts or two message lists")
    whole = tuple(turns_of(row.place, c, v) for c, v in zip(ends, values, strict=True))
    return _conversations(row, ends, (whole[0], whole[1]))


def _replies(values: tuple[Any, Any]) -> bool:
    """Whether both are texts or messages of the assistant (and its tools) alone."""
    return all(
        isinstance(value, str) or (value and not any(_is_of_user(item) for item in value))
        for value in values
    )


def _is_of_user(item: Any) -> bool:
    role = item.get("role", item.get("from")) if isinstance(item, dict) else None
    return role in ("user", "human", "system", "developer", "prompter")


def _text_pair(
    row: Columns, ends: Ends, values: tuple[str, str]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    first, second = (
        dialogue(value) or templated(row.place, column, value)
        for column, value in zip(ends, values, strict=True)
    )
    if first and second and first[-1].role == second[-1].role == "assistant":
        return _conversations(row, ends, (first, second))
    if has_query(row):
        query = query_of_row(row)
        main = _main_value(row)
        if isinstance(main, str) and templated(row.place, "prompt", main):
            return query, (closed(values[0], main), closed(values[1], main))
        is_open = isinstance(main, str) and main.rstrip().endswith(":")
        if is_open and dialogue(main):  # "Assistant:" ended the prompt, a space begins the answer
            return query, (values[0].lstrip(), values[1].lstrip())
        if isinstance(main, str) and dialogue(main) and all(map(_OPENED.match, values)):
            return query, (_OPENED.sub("", values[0]), _OPENED.sub("", values[1]))
        return query, values
    if first and second:
        return _conversations(row, ends, (first, second))
    texts = [c for c, v in row.left().items() if isinstance(v, str) and v.strip()]
    if texts:  # another column may be the query, and nothing says that it is not
        raise no_query(row)
    return _implicit(row, ends, values)


def _main_value(row: Columns) -> Any:
    column = row.first(MAIN)
    return None if column is None else row.row[column]


def _implicit(
    row: Columns, ends: Ends, values: tuple[str, str]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    chosen, rejected = values
    same = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = "".join(letter for letter, _ in same)
    if chosen != rejected:
        shared = shared[: len(shared) - len(re.split(r"\s", shared)[-1])]
    if not shared.strip():
        fix = "add the column prompt"
        raise row.bad("prompt", None, "a prompt, or one that chosen and rejected share", fix)
    row.note(IMPLICIT_NOTE)
    query = (Message("user", shared.rstrip()),)
    return query, (chosen[len(shared) :], rejected[len(shared) :])


def _conversations(
    row: Columns, ends: Ends, whole: tuple[tuple[Message, ...], tuple[Message, ...]]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """Split two whole conversations; a column for the query must agree with what they share."""
    shared, responses = split_pair(row.place, ends, whole)
    column = row.first(MAIN)
    if column is None or (shared and column != "prompt"):
        query = with_context(row, None, shared)
        return ending_with_user(row.place, ends.chosen, query), responses
    given = main_turns(row, column)
    if shared and shared[-len(given) :] != given:
        if any(t.content.strip() in given[-1].content for t in shared[-1:]):
            row.note(f"the column {column!r} says the query in another form than {ends.chosen!r}")
        else:
            got = row.row[column]
            raise row.bad(column, got, f"the turns before the last one of {ends.chosen}")
    query = with_context(row, column, shared or given)
    return ending_with_user(row.place, column, query), responses


def _gold(row: Columns, ends: Ends) -> Gold:
    """A tie where the row says so: in words, or by equal ratings of the two."""
    for column in _STATUS:
        if column in row and column not in row.used and is_tie_word(row.row[column]):
            row.note(f"a tie by the column {column!r}: both responses have gold 0.5")
            return TIE
    for better, worse, names in _ratings(row, ends):
        if better == worse:
            row.note(f"a tie by equal ratings ({names}): both responses have gold 0.5")
            return TIE
        if better < worse:
            row.note(f"the ratings ({names}) say the opposite of {ends.chosen}; it is kept")
    return FIRST


def _ratings(row: Columns, ends: Ends) -> list[tuple[float, float, str]]:
    """The ratings of the chosen and the rejected response, by columns that name them."""
    found = []
    for column, value in row.row.items():
        if "chosen" in column and column not in row.used and _RATING.search(column):
            other = next(
                (
                    name
                    for word in ("rejected", "reject")
                    if (name := column.replace("chosen", word)) in row
                ),
                None,
            )
            if other and _is_number(value) and _is_number(row.row[other]):
                found.append((value, row.row[other], f"{column}, {other}"))
    both = row.row.get("rating", row.row.get("ratings"))
    if isinstance(both, list) and len(both) == 2 and all(map(_is_number, both)):
        # Which of the two is the chosen one's is not said; that they are equal is.
        found += [(both[0], both[1], "rating")] * (both[0] == both[1])
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_rewardbench2(row: Columns) -> Example:
    """Lists of right and of wrong responses: RewardBench 2, RM-Bench."""
    ends = _ends(row)
    texts = []
    for column in ends:
        value = row.take(column, "responses")
        texts.append(texts_of(row.place, column, [value] if isinstance(value, str) else value))
    chosen, rejected = texts
    gold = (1.0,) * len(chosen) + (0.0,) * len(rejected)
    return row.example(query_of_row(row), chosen + rejected, gold)


def read_swift(row: Columns) -> Example:
    """ms-swift: a conversation that ends with the better answer, and the worse one beside it."""
    worse = row.first(("rejected_response", "rejected_messages"))
    if worse is None:
        raise row.bad("rejected_response", named(row.row), "the worse answer in this column")
    value = row.take(worse, "responses")
    if "response" in row:
        query = query_of_row(row)
        chosen = response_of(row.place, "response", row.take("response", "responses"))
    else:
        column = row.first(("messages", "conversations"))
        if column is None:
            raise row.bad("messages", named(row.row), "the conversation in this column")
        turns = turns_of(row.place, column, row.take(column, "query"))
        if worse == "rejected_messages":
            other = turns_of(row.place, worse, value)
            shared, responses = split_pair(row.place, (column, worse), (turns, other))
            return row.example(with_context(row, column, shared), responses, FIRST)
        if turns[-1].role != "assistant":
            raise row.bad(column, turns[-1].role, "a conversation that ends with the assistant")
        query = ending_with_user(row.place, column, with_context(row, column, turns[:-1]))
        chosen = turns[-1].content
    return row.example(query, (chosen, response_of(row.place, worse, value)), FIRST)
