"""Messages and templated text as wires send them, through the readers of the core (pure).

Here their errors become refusals: 422 with the field at fault, `template_needed` where the
operator's --template is missing or does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

from pydantic import Field, JsonValue

from spct.data.chat import templated
from spct.data.chat.conversation import read_messages, read_response
from spct.data.chat.templated import Template, template_named
from spct.errors import DataError, TemplateError
from spct.serve.errors import HttpError, invalid
from spct.types import Message

__all__ = ["template_named"]

Turn = dict[str, JsonValue]
# A list that stops at its first fault: half a million of them would hold the gateway for seconds.
Texts = Annotated[list[str], Field(fail_fast=True)]
# The conversation that is judged: one user turn as text, or chat messages of any vendor.
Query = str | Annotated[list[Turn], Field(fail_fast=True)]
QUERY = Field(description="The conversation: a user turn, or chat messages that end with one.")

# verl strips a start token in front of what it sends, and for these families that is the token
# that opens the first turn.
_OPENERS = {"chatml": "<|im_start|>", "phi4": "<|im_start|>", "granite": "<|start_of_role|>"}


_MAX_TURNS = 4096
_ASKS = frozenset({"user", "system", "developer"})


@contextmanager
def refusals(param: str) -> Iterator[None]:
    """What a reader cannot read is a 422 that names the field."""
    try:
        yield
    except TemplateError as error:
        raise HttpError(422, "template_needed", str(error), param=param) from error
    except DataError as error:
        raise invalid(str(error), param) from error


def messages(
    query: Query, param: str = "query", *, instructions: object = None
) -> tuple[Message, ...]:
    """Our messages of a wire's query; `instructions` are the Responses API's."""
    if not isinstance(query, str) and len(query) > _MAX_TURNS:
        raise invalid(f"{len(query)} messages; at most {_MAX_TURNS} are read", param)
    with refusals(param):
        return read_messages(query, param, instructions=instructions)


def conversation(turns: Sequence[Turn], param: str) -> tuple[tuple[Message, ...], str]:
    """Split a conversation that ends with the response."""
    *query, last = messages(list(turns), param)
    if last.role != "assistant":
        raise invalid("the last message must be the assistant's: the response to judge", param)
    return tuple(query), last.content


def response_text(value: Any, param: str) -> str:
    """A response as one text: messages, calls of tools and their results, with their roles."""
    if isinstance(value, list) and len(value) > _MAX_TURNS:
        raise invalid(f"{len(value)} items; at most {_MAX_TURNS} are read", param)
    if value == []:  # a policy that said nothing at all gave an empty answer; nothing is lost
        return ""
    with refusals(param):
        return read_response(value, param)


def split_output(items: list[JsonValue], param: str) -> tuple[tuple[Message, ...], str]:
    """A Responses-API output: what was said up to the user's last turn in it, and the response."""
    asked = [
        i for i, one in enumerate(items) if isinstance(one, dict) and str(one.get("role")) in _ASKS
    ]
    start = asked[-1] + 1 if asked else 0
    if start == len(items) and items:
        raise invalid("the output ends with a user turn; expected the assistant's", param)
    before = (
        messages([one for one in items[:start] if isinstance(one, dict)], param) if start else ()
    )
    return before, response_text(items[start:], param)


def split_prompt(prompt: str, template: Template | None, param: str) -> tuple[Message, ...]:
    """The conversation of a prompt: templated, or the text of one user turn."""
    _check_marks(prompt, template, param)
    with refusals(param):
        return templated.split_prompt(prompt, template, param)


def split_sample(
    text: str, prompt: str | None, template: Template | None, param: str
) -> tuple[tuple[Message, ...], str]:
    """The conversation and the response of a decoded sample."""
    _check_marks(text, template, param)
    with refusals(param):
        return templated.split_sample(text, prompt, template, param)


def _check_marks(text: str, template: Template | None, param: str) -> None:
    """Refuse a text with more turns and parts than a conversation has."""
    if template is not None:
        found = islice(template.marks().finditer(text), _MAX_TURNS + 1)
        if sum(1 for _ in found) > _MAX_TURNS:
            raise invalid(f"more than {_MAX_TURNS} turns and parts of turns", param)


def split_stripped(
    text: str, template: Template | None, param: str
) -> tuple[tuple[Message, ...], str]:
    """The same of a text whose leading start token may have been stripped by the client."""
    opener = _OPENERS.get(template.name) if template else None
    if opener is not None and not text.lstrip().startswith("<|"):
        text = opener + text
    return split_sample(text, None, template, param)
