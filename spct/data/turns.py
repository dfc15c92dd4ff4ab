"""Texts and messages to turns: the one place that decides what a column of a conversation says.

A text is one user turn unless it was written as a dialogue: with the marks of the HH sets, of
HelpSteer, or of a chat template. Such a text is cut at its marks and nowhere else, so a turn is
always all that stood between two marks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spct.data.chat.conversation import is_query, read_messages, read_response
from spct.data.chat.families import TEMPLATES
from spct.data.chat.templated import response_of as without_close
from spct.data.chat.templated import signs_in, split_prompt
from spct.data.chat.turns import awaits_reply, fits
from spct.data.faults import Fault, RowError, bad, misread
from spct.errors import DataError
from spct.types import Message

_SPEAKERS: Mapping[str, str] = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("assistant", "ai"), "assistant"),
    "system": "system",
}
_HH = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
# Sets made after HH vary the name, the hashes and the empty lines. They are taken for marks only in
# a text that begins with one and ends with an open one, since people quote dialogues, too.
_MARK = r"(?:#{2,3} ?)?(human|user|assistant|ai|system):"
_LOOSE = re.compile(rf"(?:\A\s*|\n\s*){_MARK}", re.IGNORECASE)
_FINISHED = re.compile(rf"\s*{_MARK}.*\n\s*(?:#{{2,3}} ?)?(?:assistant|ai):\s*", re.DOTALL | re.I)
_EXTRA_ID = re.compile(r"\n?<extra_id_[01]>(System|User|Assistant)\n")

# What a prompt of a template ends in: the assistant's mark, a header's end, a thought begun.
_LAST = ("|>", "｜>", "/INST]", "assistant", "model", "ai", "<think>", "</think>", "channel|>")

# The keys under which sets keep the text of a response that is an object and no message.
TEXT_KEYS = (
    "response",
    "text",
    "answer",
    "completion",
    "output",
    "content",
    "value",
    "generation",
    "model_answer",
    "generated_text",
    "summary",
)


def turns_of(place: str, field: str, value: Any) -> tuple[Message, ...]:
    """The turns of a text, of messages of any vendor, or of an object that holds messages."""
    if isinstance(value, str):
        return dialogue(value) or templated(place, field, value) or (Message("user", value),)
    if isinstance(value, dict):
        inner = next((k for k in ("messages", "conversation", "conversations") if k in value), None)
        if inner is None and "role" not in value and "from" not in value:
            return (Message("user", _text_in(place, field, value)),)
        value = value[inner] if inner else [value]
    if not isinstance(value, list) or not value:
        raise bad(place, field, value, "a text or a list of at least one message")
    if (said := _exchanges(value)) is not None:
        return said
    with misread(place):
        return read_messages(value, field)


def _text_in(place: str, field: str, value: dict[str, Any]) -> str:
    """The text of an object that is no message."""
    key = next((k for k in TEXT_KEYS if isinstance(value.get(k), str)), None)
    if key is None:
        texts = [name for name, text in value.items() if isinstance(text, str)][:5]
        expected = "a text, or a message with role and content"
        told = ", ".join(f"{field}.{name}" for name in texts) or f"{field}.NAME"
        raise bad(place, field, sorted(value), expected, f"name the text in it with --map: {told}")
    return str(value[key])


_EXCHANGE = (("input", "output"), ("human", "assistant"), ("user", "assistant"))


def _exchanges(items: list[Any]) -> tuple[Message, ...] | None:
    """The turns of a list in which one object holds a question and its answer."""
    for asked, answered in _EXCHANGE:
        if all(isinstance(item, dict) and item.keys() == {asked, answered} for item in items):
            pairs = [(item[asked], item[answered]) for item in items]
            if not all(isinstance(text, str) for pair in pairs for text in pair):
                return None
            turns = [(Message("user", q), Message("assistant", a)) for q, a in pairs]
            return tuple(turn for pair in turns for turn in pair)
    return None


def query_of(place: str, field: str, value: Any) -> tuple[Message, ...]:
    """Read a query: the turns up to one of the user."""
    return ending_with_user(place, field, turns_of(place, field, value))


def ending_with_user(place: str, field: str, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the turns if the last one is a user turn with text."""
    if is_query(turns):
        return turns
    if not turns or turns[-1].role != "user":
        got = turns[-1].role if turns else turns
        raise bad(place, field, got, "a query whose last message is from the user")
    raise bad(place, field, turns[-1].content, "a last user message that is not empty")


def response_of(place: str, field: str, value: Any) -> str:
    """Read one response: a text, a message, a list of turns, or an object with one known text."""
    if isinstance(value, str):
        return value
    is_object = isinstance(value, dict) and not value.keys() & {"role", "from"}
    if is_object and not isinstance(value.get("output"), list):  # no items of the Responses API
        return _text_in(place, field, value)
    if not isinstance(value, dict | list) or not value:
        raise bad(place, field, value, "a text, a message of the assistant, or a list of messages")
    with misread(place):
        return read_response(value, field)


def dialogue(text: str) -> tuple[Message, ...] | None:
    """The turns of a text that was written as a dialogue, or None for any other text.

    An open mark at the end ("Assistant:") is where the responses begin, and no turn.
    """
    if "<extra_id_" in text and _EXTRA_ID.search(text):
        return _cut(_EXTRA_ID, text, first="user", strip=False)
    if ":" not in text:
        return None
    if _is_hh(text):
        return _cut(_HH, text, first="system")
    if _FINISHED.fullmatch(text):
        return _cut(_LOOSE, text, first="system")
    return None


def templated(place: str, field: str, text: str) -> tuple[Message, ...] | None:
    """The turns of a text that begins or ends as one of a chat template, or None for any other.

    Several families may begin alike (ChatML and its heirs); they must agree on the turns. A text
    whose first token was stripped still ends in the opening of the assistant's turn. One that
    begins with the control tokens of no known family is refused; a question about them is not.
    """
    begins, end = text.lstrip()[:1] in ("<", "[", "]", "\uff5c"), text[-60:].rstrip()
    if not begins and not end.endswith(_LAST):
        return None
    readings: dict[tuple[Message, ...], str] = {}
    errors = []
    for name, template in TEMPLATES.items():
        if not (fits(text, template) or awaits_reply(text, template)):
            continue
        try:
            readings.setdefault(split_prompt(text, template, field), name)
        except DataError as error:
            errors.append(error)
    if len(readings) == 1:
        return next(iter(readings))
    if not readings and not errors:
        tokens = signs_in(text) if begins else []
        start = text.lstrip()
        if len(tokens) < 2 or not re.match(re.escape(tokens[0]) + r"[^ ]", start, re.DOTALL):
            return None  # no turn is opened
        errors.append(DataError(f"no known family has its tokens so: {', '.join(tokens[:5])}"))
    got = f"a text of a chat template ({', '.join(readings.values()) or 'of an unknown form'})"
    fix = str(errors[0]) if errors and not readings else "give its turns as messages instead"
    raise RowError(place, Fault(field, got, "a template whose turns are known for certain", fix))


def closed(text: str, prompt: str) -> str:
    """A response to a templated prompt, without the control tokens that close it."""
    template = next((found for found in TEMPLATES.values() if fits(prompt, found)), None)
    return without_close(text, template)


def _is_hh(text: str) -> bool:
    """Whether the text has HH's marks: at its beginning, or around a text before the first one."""
    if text.startswith(("\n\nHuman:", "\n\nAssistant:")):
        return True
    if "\n\nAssistant:" not in text:
        return False
    is_open = text.rstrip().endswith("\n\nAssistant:")
    return text.lstrip().startswith("Human:") or (is_open and "\n\nHuman:" in text)


def _cut(
    marks: re.Pattern[str], text: str, *, first: str, strip: bool = True
) -> tuple[Message, ...]:
    """Cut at the marks; what stands before the first one belongs to `first`."""
    before, *parts = marks.split(text)
    turns = [(first, before)] if before.strip() else []
    turns += [
        (_SPEAKERS[speaker.lower()], said.strip() if strip else said)
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    if len(turns) > 1 and turns[-1][0] == "assistant" and not turns[-1][1].strip():
        turns.pop()
    return tuple(Message(role, said) for role, said in turns)  # type: ignore[arg-type]


def split_last(
    place: str, field: str, turns: tuple[Message, ...]
) -> tuple[tuple[Message, ...], str]:
    """Split a whole conversation into the query and the response that ends it."""
    last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    if turns[-1].role != "assistant":
        raise bad(place, field, turns[-1].role, "a conversation that ends with the assistant")
    query = ending_with_user(place, field, turns[: last_user + 1])
    return query, joined(turns[last_user + 1 :])


def split_pair(
    place: str, fields: tuple[str, str], ends: tuple[tuple[Message, ...], tuple[Message, ...]]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """Split two conversations into the query that they share and what each says after it."""
    first, second = ends
    for field, end in zip(fields, ends, strict=True):
        if not end or end[-1].role != "assistant":
            got = end[-1].role if end else end
            raise bad(place, field, got, "a conversation that ends with the assistant")
    shared = 0
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        shared += 1
    apart = first[shared], second[shared]
    while shared and first[shared - 1].role != "user":
        shared -= 1
    rests = first[shared:], second[shared:]
    if any(turn.role != "assistant" and not _is_result(turn) for rest in rests for turn in rest):
        said = tuple(f"{turn.role}: {turn.content:.60}" for turn in apart)
        both = " and ".join(fields)
        raise bad(
            place,
            ", ".join(fields),
            said,
            "the same turns before the last one; only the last assistant turn may differ",
            f"{both} are different conversations from there on, and no answer may be judged in the "
            "other one's; leave the row out (--drop-bad)",
        )
    return first[:shared], (joined(rests[0]), joined(rests[1]))


def _is_result(turn: Message) -> bool:
    return turn.role == "user" and turn.content.startswith("Result of ")


def joined(turns: tuple[Message, ...]) -> str:
    """Several turns of one answer as one text."""
    return "\n\n".join(turn.content for turn in turns)
