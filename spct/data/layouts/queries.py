"""Which columns are the query, and how they are put together.

One column is the question or the conversation; `input` belongs to `instruction`, turns of
`history` stand before it, a system prompt stands first. Whatever else looks like a part of the
query stays in `meta` with a note (`data/columns.py`).
"""

from __future__ import annotations

from typing import Any

from spct.data.columns import Columns
from spct.data.fields import text_of
from spct.data.turns import ending_with_user, joined, turns_of
from spct.types import Message

# In this order: where a row has several of them, the first is the query.
MAIN = (
    "prompt",
    "instruction",
    "question",
    "problem",
    "query",
    "user_query",
    "user_prompt",
    "user_input",
    "input",
    "messages",
    "conversations",
    "conversation",
    "conversation_input",
    "contents",
    "dialogue",
    "context",
    "context_messages",
    "trajectory",
    "history",
    "post",
    "responses_create_params",
)
# As texts these are often what a question is about; alone beside the responses they are the query.
_WEAK = ("context", "history", "post")
SYSTEM = (
    *("system", "system_prompt", "sys_prompt", "system_message", "system_instruction"),
    "systemInstruction",
)


def query_of_row(row: Columns) -> tuple[Message, ...]:
    """The whole query of a row, which must end with a user turn."""
    column = row.first(MAIN)
    if column is None or (column in _WEAK and _other_texts(row, column)):
        raise no_query(row)
    return ending_with_user(row.place, column, with_context(row, column, main_turns(row, column)))


def has_query(row: Columns) -> bool:
    """Whether some column may be the query."""
    return row.first(MAIN) is not None


def _other_texts(row: Columns, column: str) -> list[str]:
    """Columns with sentences that may be the question, where only a weak name was found."""
    if not isinstance(row.row[column], str):
        return []
    return [
        c
        for c, v in row.left().items()
        if c != column and isinstance(v, str) and len(v.split()) > 3
    ]


def no_query(row: Columns) -> Exception:
    """The error for a row without a column that is known to hold the query."""
    texts = [c for c, v in row.left().items() if isinstance(v, str) and len(v.split()) > 1]
    inside = [
        f"{c}.{key}"
        for c, v in row.left().items()
        if isinstance(v, dict)
        for key, text in v.items()
        if isinstance(text, str) and len(text.split()) > 1
    ]
    likely = sorted(texts, key=lambda c: -len(str(row.row[c])))[:5] or inside[:5]
    if not likely:
        fix = "add the column prompt"
    else:
        may = ", ".join(likely)
        fix = f"these columns may hold it: {may}; say which: --map prompt={likely[0]}"
    return row.bad("prompt", None, "a column with the query", fix)


def main_turns(row: Columns, column: str) -> tuple[Message, ...]:
    """The turns of the main column; an instruction comes with its input."""
    value = row.take(column, "query")
    if column == "responses_create_params" and isinstance(value, dict):
        return _responses_api(row, column, value)
    if column == "instruction" and isinstance(value, str) and "input" in row:
        given = row.row["input"]
        if isinstance(given, str):
            row.take("input", "query")
            value = f"{value}\n\n{given}" if given.strip() else value
    if isinstance(value, dict) and isinstance(value.get("full_text"), str):  # WebGPT
        value = value["full_text"]
    return turns_of(row.place, column, value)


def _responses_api(row: Columns, column: str, value: dict[str, Any]) -> tuple[Message, ...]:
    """The input of an OpenAI Responses request, as NeMo Gym keeps it, with its instructions."""
    turns = turns_of(row.place, f"{column}.input", value.get("input"))
    given = value.get("instructions")
    return (Message("system", given), *turns) if isinstance(given, str) and given else turns


def with_context(
    row: Columns, column: str | None, turns: tuple[Message, ...]
) -> tuple[Message, ...]:
    """Put the turns of a history and the system prompt before the turns of the main column."""
    if "history" in row and column != "history":
        turns = (*_history(row), *turns)
    name = row.first(SYSTEM)
    if name is None or not isinstance(row.row[name], str | dict):
        return turns
    value = row.take(name, "system")
    if isinstance(value, dict):  # a message, as Google's tuning files have it
        value = joined(turns_of(row.place, name, {"role": "system", **value}))
    said = text_of(row.place, name, value)
    if not said.strip():
        return turns
    if turns and turns[0].role == "system":
        if turns[0].content.strip() != said.strip():
            row.note(f"the column {name!r} is not shown: the conversation has its own system turn")
        return turns
    return (Message("system", said), *turns)


def _history(row: Columns) -> tuple[Message, ...]:
    """Earlier turns: messages, or pairs of what the user and the assistant said."""
    value = row.row["history"]
    if value in ("", []):
        row.take("history", "query")
        return ()
    if not isinstance(value, list):
        return ()  # a text: named among the columns that are left
    row.take("history", "query")
    if not all(isinstance(item, list) for item in value):
        return turns_of(row.place, "history", value)
    turns: list[Message] = []
    for i, pair in enumerate(value):
        if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise row.bad(f"history[{i}]", pair, "the user's text and the assistant's answer")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return tuple(turns)
