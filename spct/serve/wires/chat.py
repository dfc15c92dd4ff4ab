"""Messages and templated text as wires send them, turned into our messages (pure).

Templated text is read by core/templated.py; here its refusals become 422s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from spct.core import templated
from spct.core.templated import TEMPLATES, Template, template_named
from spct.errors import DataError
from spct.serve.errors import HttpError, invalid
from spct.types import Message

__all__ = ["TEMPLATES", "Template", "template_named"]


class TextPart(BaseModel):
    """A text part of a message's content."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class WireMessage(BaseModel):
    """A chat message as OpenAI-like APIs send it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def message(self) -> Message:
        """Our message; a developer turn is a system turn."""
        content = self.content
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        return Message("system" if self.role == "developer" else self.role, content)


# The conversation that is judged: one user turn as text, or messages that end with a user turn.
Query = str | list[WireMessage]
QUERY = Field(description="The conversation: a user turn, or messages that end with one.")


def messages(query: Query) -> tuple[Message, ...]:
    """Our messages of a wire's query."""
    if isinstance(query, str):
        return (Message("user", query),)
    return tuple(turn.message() for turn in query)


def conversation(turns: Sequence[WireMessage], param: str) -> tuple[tuple[Message, ...], str]:
    """Split a conversation that ends with the response."""
    if not turns or turns[-1].role != "assistant":
        raise invalid("the last message must be the assistant's: the response to judge", param)
    *query, response = (turn.message() for turn in turns)
    return tuple(query), response.content


def split_prompt(prompt: str, template: Template | None, param: str) -> tuple[Message, ...]:
    """The conversation of a prompt, or a 422 that says what does not fit."""
    try:
        return templated.split_prompt(prompt, template, param)
    except DataError as error:
        raise HttpError(422, "template_needed", str(error), param=param) from error


def split_sample(
    text: str, prompt: str | None, template: Template | None, param: str
) -> tuple[tuple[Message, ...], str]:
    """The conversation and the response of a decoded sample, or a 422 that says what is wrong."""
    try:
        return templated.split_sample(text, prompt, template, param)
    except DataError as error:
        raise HttpError(422, "template_needed", str(error), param=param) from error


def responses_text(items: Iterable[object]) -> str:
    """The text of a Responses-API output: the output_text parts of its assistant messages."""
    parts: list[str] = []
    for item in items:
        if not isinstance(item, dict) or item.get("type", "message") != "message":
            continue
        content = item.get("content")
        if isinstance(content, str):
            parts.append(content)
        elif isinstance(content, list):
            parts += [
                part["text"]
                for part in content
                if isinstance(part, dict) and isinstance(part.get("text"), str)
            ]
    return "".join(parts)
