"""One reader of chat messages, whoever's API they came from: rows, hooks and every wire use it.

All that was said is shown to the judge as text under one of our three roles. A call of a tool
belongs to the assistant's turn, its result is a user turn with a label: judges and scorers have
chat templates that know no other roles. What a text judge cannot see (an image, a part of unknown
type) is a `DataError` that names it; nothing is dropped and nothing becomes an empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from spct.data.chat.parts import (
    MEDIA,
    Piece,
    call_of,
    items_of,
    joined,
    parts_of,
    refuse,
    result_of,
)
from spct.errors import DataError
from spct.types import Message

Kind = Literal["system", "user", "assistant", "result", "call"]
_NAMES: Mapping[Kind, str] = {
    "system": "system developer",
    "user": "user human prompter",
    "assistant": "assistant model gpt chatgpt ai bot chatbot bing bard",
    # OpenAI, its older functions, Llama's ipython, ShareGPT's observation, Cohere
    "result": "tool function ipython observation environment tool_result tool_results "
    "tool_response tool_output function_response",
    "call": "function_call tool_call tool_calls",
}
KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_CONTENT = ("content", "value", "parts", "message", "text")  # the first that says something counts
# Chat APIs of reasoning models put the thought beside the content.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "tool_plan")


def read_messages(
    value: object, where: str = "messages", *, instructions: object = None
) -> tuple[Message, ...]:
    """The turns of a conversation: a text is one user turn, a list holds messages or items.

    `instructions` is the Responses API's: a system turn before the others.
    """
    turns: list[Message] = []
    if instructions is not None:
        turns.append(Message("system", joined(parts_of(instructions, "instructions", "system"))))
    if isinstance(value, str):
        return (*turns, Message("user", value))
    items = items_of(value, where)
    if not items:
        raise DataError(f"{where}: got no message, expected a text or at least one message")
    names: dict[str, str] = {}  # what a tool's result belongs to, by the id of its call
    was_item = False
    for i, item in enumerate(items):
        is_item = isinstance(item, Mapping) and not _role_of(item)
        turn = _turn(item, f"{where}[{i}]", names)
        if turn is None:
            continue
        # Items of one assistant step (thought, text, calls) are one turn.
        if turns and turn.role == turns[-1].role == "assistant" and (is_item or was_item):
            turn = Message("assistant", f"{turns.pop().content}\n\n{turn.content}")
        turns.append(turn)
        was_item = is_item
    return tuple(turns)


def is_query(turns: Sequence[Message]) -> bool:
    """Whether turns can be judged as a query: they end with the user's, and that says something."""
    return bool(turns) and turns[-1].role == "user" and bool(turns[-1].content.strip())


def read_response(value: object, where: str = "response") -> str:
    """A response as one text: a text, a message, or all turns of a list or Responses object.

    Turns that are not the assistant's (a tool's result in the middle) keep their labels.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = value["output"] if "output" in value and not _role_of(value) else [value]
    turns = read_messages(value, where)
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError(f"{where}: got no assistant turn, expected the response to judge")
    return "\n\n".join(
        turn.content
        if turn.role == "assistant" or turn.content.startswith("Result of ")
        else f"{turn.role.capitalize()}: {turn.content}"
        for turn in turns
    )


def _role_of(item: Mapping[str, Any]) -> object:
    return item.get("role") or item.get("from")


def _turn(item: object, where: str, names: dict[str, str]) -> Message | None:
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: got {item!r:.80}, expected a message {{role, content}}")
    role = _role_of(item)
    if role is None and item.get("type", "message") != "message":
        return _output_item(item, where, names)
    kind = KINDS.get(role.lower()) if isinstance(role, str) else None
    if kind is None:
        known = ", ".join(KINDS)
        raise DataError(f"{where}.role: got {role!r}, expected one of {known}")
    for key in MEDIA:
        if item.get(key):
            refuse(f"{where}.{key}", str(role), key)
    pieces = [
        Piece(t, "Thought:") for key in _THOUGHTS if isinstance(t := item.get(key), str) and t
    ]
    given = [key for key in _CONTENT if item.get(key) is not None]
    if given:  # some clients leave the content empty and say everything in parts
        held = next((key for key in given if item[key] not in ("", [])), given[0])
        pieces += parts_of(item[held], f"{where}.{held}", str(role), names)
    if isinstance(item.get("refusal"), str):
        pieces.append(Piece(item["refusal"]))
    calls = items_of(item.get("tool_calls") or (), f"{where}.tool_calls")
    if item.get("function_call"):
        calls.append(item["function_call"])
    pieces += [call_of(call, f"{where}.tool_calls[{i}]", names) for i, call in enumerate(calls)]
    if not pieces:
        raise DataError(
            f"{where}: got a {role} turn that holds nothing (keys: {', '.join(map(str, item))}), "
            "expected content or tool calls; a turn that is empty on purpose has the content ''"
        )
    text = joined(pieces)
    match kind:
        case "result":
            name = item.get("name") or names.get(str(item.get("tool_call_id", "")))
            is_said = any(piece.label for piece in pieces)  # the parts say that they are results
            return Message("user", text if is_said else str(result_of(text, name)))
        case "call":
            return Message("assistant", f"Call of a tool:\n{text}")
        case _:
            return Message(kind, text)


def _output_item(item: Mapping[str, Any], where: str, names: dict[str, str]) -> Message | None:
    """An item of the Responses API that is not a message."""
    match kind := item.get("type"):
        case "function_call" | "custom_tool_call" | "mcp_call":
            pieces = [call_of(item, where, names)]
            if item.get("error"):
                pieces.append(result_of(f"Error: {item['error']}", None))
            if item.get("output") is not None:  # an MCP call comes with its result
                pieces.append(result_of(joined(parts_of(item["output"], where, "tool")), None))
            return Message("assistant", joined(pieces))
        case "function_call_output" | "custom_tool_call_output":
            text = joined(parts_of(item.get("output"), f"{where}.output", "tool"))
            return Message("user", str(result_of(text, names.get(str(item.get("call_id", ""))))))
        case "reasoning":
            said = [
                *items_of(item.get("summary") or (), where),
                *items_of(item.get("content") or (), where),
            ]
            # An encrypted thought has no text that anybody could show or judge.
            text = "\n\n".join(joined(parts_of([part], where, "assistant")) for part in said)
            return Message("assistant", f"Thought:\n{text}") if text else None
        case _:
            refuse(where, "assistant", kind)
