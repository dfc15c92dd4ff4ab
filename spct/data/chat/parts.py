"""What one chat message holds: its parts in any vendor's shape, as pieces of text (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from spct.errors import DataError

# What a text judge cannot see, in a message or beside the text of a part.
MEDIA = (
    "images",
    "image",
    "image_url",
    "videos",
    "video",
    "audio",
    "audios",
    "files",
    "documents",
    "attachments",
    "experimental_attachments",
)
_MARKS = ("thought", "thoughtSignature", "thought_signature")
_TEXTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text")


class Piece(NamedTuple):
    """A text and, where it is not plainly said, what it is: "Call of the tool w:"."""

    text: str
    label: str = ""

    def __str__(self) -> str:
        return f"{self.label}\n{self.text}" if self.label else self.text


def items_of(value: object, where: str) -> list[Any]:
    """A list, also one that Parquet gives as an array."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise DataError(f"{where}: got {value!r:.80}, expected a text or a list of messages")
    return list(value)


def parts_of(
    content: object, where: str, role: str, names: dict[str, str] | None = None
) -> list[Piece]:
    """The pieces of a content: a text, a part, or a list of them; neighbouring texts are one."""
    if isinstance(content, str):
        return [Piece(content)]
    names = {} if names is None else names
    pieces: list[Piece] = []
    for i, part in enumerate(
        [content] if isinstance(content, Mapping) else items_of(content, where)
    ):
        if isinstance(part, Mapping) and part.get("type") == "redacted_thinking":
            continue  # encrypted: there is no text that anybody could show
        piece = _part(part, f"{where}[{i}]", role, names)
        if pieces and not piece.label and not pieces[-1].label:  # one text, cut into parts
            piece = Piece(pieces.pop().text + piece.text)
        pieces.append(piece)
    return pieces


def _part(part: object, where: str, role: str, names: dict[str, str]) -> Piece:
    if isinstance(part, str):
        return Piece(part)
    if not isinstance(part, Mapping):
        raise DataError(f"{where}: got {part!r:.80}, expected a text or a part {{type, text}}")
    kind = part.get("type")
    if kind is None:  # Gemini names a part by its only key, beside marks of a thought
        keys = [key for key in part if key not in _MARKS]
        kind = keys[0] if len(keys) == 1 else None
    match kind:
        case "refusal" if isinstance(part.get("refusal"), str):
            return Piece(part["refusal"])
        case "thinking" if isinstance(part.get("thinking"), str):
            return Piece(part["thinking"], "Thought:")
        case "tool_use" | "server_tool_use":
            return call_of(part, where, names)
        case "functionCall" | "function_call" if isinstance(part.get(kind), Mapping):
            return call_of(part[kind], where, names)
        case "tool_result":
            said = joined(parts_of(part.get("content"), f"{where}.content", role, names))
            return result_of(said, names.get(str(part.get("tool_use_id", ""))))
        case "functionResponse" | "function_response" if isinstance(part.get(kind), Mapping):
            return result_of(_json(part[kind].get("response")), part[kind].get("name"))
        case _ if kind in _TEXTS and isinstance(part.get("text"), str):
            if media := next((key for key in MEDIA if part.get(key)), None):
                refuse(where, role, media)
            return Piece(part["text"], "Thought:" if part.get("thought") is True else "")
    refuse(where, role, kind)


def call_of(call: object, where: str, names: dict[str, str]) -> Piece:
    """A call of a tool, in any vendor's shape: a name, and arguments as text or JSON."""
    inner = call
    if isinstance(call, Mapping):
        inner = call.get("function", call.get("custom", call))
    if not isinstance(call, Mapping) or not isinstance(inner, Mapping) or not inner.get("name"):
        raise DataError(f"{where}: got {call!r:.80}, expected a tool call with a name")
    for key in ("id", "call_id"):
        if call.get(key) is not None:
            names[str(call[key])] = str(inner["name"])
    given = next((inner[k] for k in ("arguments", "input", "args") if inner.get(k) is not None), "")
    return Piece(
        given if isinstance(given, str) else _json(given), f"Call of the tool {inner['name']}:"
    )


def result_of(text: str, name: object) -> Piece:
    """What a tool gave back."""
    return Piece(text, f"Result of the tool {name}:" if name else "Result of a tool:")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def joined(pieces: Iterable[Piece]) -> str:
    """The text of a turn; an empty content beside tool calls leaves no mark."""
    return "\n\n".join(text for piece in pieces if (text := str(piece)))


def refuse(where: str, role: str, kind: object) -> NoReturn:
    """Raise for a part that cannot be shown as text."""
    raise DataError(
        f"{where}: got a {role} turn with a part of type {kind!r}, expected text; a judge of texts "
        "cannot see it: leave the row out, or put a description of it in its place"
    )
