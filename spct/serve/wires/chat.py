"""Messages and templated text as wires send them, turned into our messages (pure).

Trainers decode a whole conversation with its control tokens. Text comes back from that only by
knowing the policy's chat template, so the operator names its family; text with control tokens and
no named family is refused, because a judge that reads `<|im_start|>` grades the wrong thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from spct.errors import ConfigError
from spct.serve.errors import HttpError, invalid
from spct.types import Message

Role = Literal["system", "user", "assistant"]


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


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template family: what opens each role's turn, what closes turns, what starts text."""

    opens: dict[Role, str]
    closes: tuple[str, ...]
    starts: tuple[str, ...] = ()
    _pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        marks = sorted(self.opens.values(), key=len, reverse=True)
        object.__setattr__(self, "_pattern", re.compile("|".join(map(re.escape, marks))))

    def turns(self, text: str) -> list[Message] | None:
        """Every turn of a text, the empty one of a generation prompt too; None if it has none."""
        text = text.lstrip()
        for start in self.starts:
            text = text.removeprefix(start).lstrip()
        found = list(self._pattern.finditer(text))
        if not found or found[0].start() != 0:
            return None
        roles = {mark: role for role, mark in self.opens.items()}
        ends = [mark.start() for mark in found[1:]] + [len(text)]
        return [
            Message(roles[mark[0]], self.content(text[mark.end() : end]))
            for mark, end in zip(found, ends, strict=True)
        ]

    def content(self, text: str) -> str:
        """A turn's text without what closes it."""
        text = text.rstrip()
        for _ in self.closes:
            for close in self.closes:
                text = text.removesuffix(close).rstrip()
        return text.strip()


def _family(prefix: str, suffix: str, closes: tuple[str, ...], **names: str) -> Template:
    roles: tuple[Role, ...] = ("system", "user", "assistant")
    return Template({role: prefix + names.get(role, role) + suffix for role in roles}, closes)


TEMPLATES = {
    "chatml": _family("<|im_start|>", "\n", ("<|im_end|>", "<|endoftext|>")),
    "llama3": Template(
        _family("<|start_header_id|>", "<|end_header_id|>\n\n", ()).opens,
        ("<|eot_id|>", "<|end_of_text|>"),
        ("<|begin_of_text|>",),
    ),
    "gemma": Template(
        {"user": "<start_of_turn>user\n", "assistant": "<start_of_turn>model\n"},
        ("<end_of_turn>", "<eos>"),
        ("<bos>",),
    ),
    "mistral": Template({"user": "[INST]", "assistant": "[/INST]"}, ("</s>",), ("<s>",)),
    "deepseek": Template(
        {"user": "<｜User｜>", "assistant": "<｜Assistant｜>"},
        ("<｜end▁of▁sentence｜>",),
        ("<｜begin▁of▁sentence｜>",),
    ),
    "phi": Template(
        {"system": "<|system|>\n", "user": "<|user|>\n", "assistant": "<|assistant|>\n"},
        ("<|end|>", "<|endoftext|>", "</s>"),
    ),
}
_CONTROL = tuple(
    {mark.strip() for t in TEMPLATES.values() for mark in (*t.opens.values(), *t.closes, *t.starts)}
    - {"</s>", "<s>"}
)


_THOUGHT = re.compile(r"\s*(?:<think>\s*(?:</think>\s*)?)?")


def template_named(name: str | None) -> Template | None:
    """The template family of a name; None for none."""
    if name is None or name in TEMPLATES:
        return TEMPLATES.get(name or "")
    raise ConfigError(f"no template family {name!r}; there are {', '.join(TEMPLATES)}")


def split_prompt(prompt: str, template: Template | None, param: str) -> tuple[Message, ...]:
    """The conversation of a prompt: templated, or the text of one user turn."""
    return _opened(prompt, template, param)[0]


def _opened(prompt: str, template: Template | None, param: str) -> tuple[tuple[Message, ...], str]:
    """The conversation of a prompt, and what its generation prompt has begun: a thought, or "".

    Qwen3 without thinking opens the answer behind an empty thought, DeepSeek-R1 inside one.
    """
    turns = None if template is None else template.turns(prompt)
    if turns is None:
        _refuse_control(prompt, template, param)
        return (Message("user", prompt),), ""
    begun = ""
    if turns[-1].role == "assistant" and _THOUGHT.fullmatch(turns[-1].content):
        begun = turns.pop().content
    return tuple(turns), "" if "</think>" in begun else begun


def split_sample(
    text: str, prompt: str | None, template: Template | None, param: str
) -> tuple[tuple[Message, ...], str]:
    """The conversation and the response of a decoded sample.

    Where the prompt came along, the response is what follows it, so that control tokens that the
    policy wrote cannot forge turns. Without it the last assistant turn of the template is taken.
    """
    if prompt is not None and text.startswith(prompt):
        rest = text[len(prompt) :]
        turns, begun = _opened(prompt, template, param)
        return turns, begun + (template.content(rest) if template else rest)
    found = None if template is None else template.turns(text)
    if found is None:
        why = (
            "the text does not begin with its prompt"
            if prompt is not None
            else "no prompt came along"
        )
        family = "no template is named" if template is None else "the named template does not fit"
        raise HttpError(
            422,
            "template_needed",
            f"cannot tell the response from the conversation: {why}, and {family}. Start the "
            f"gateway with --template, one of {', '.join(TEMPLATES)}",
            param=param,
        )
    if found[-1].role != "assistant":
        raise invalid("the templated text must end with the assistant's turn", param)
    return tuple(found[:-1]), found[-1].content


def _refuse_control(text: str, template: Template | None, param: str) -> None:
    if any(mark in text for mark in _CONTROL):
        named = "named" if template is None else "that fits it"
        raise HttpError(
            422,
            "template_needed",
            f"the text holds control tokens of a chat template, and no template family {named}; "
            f"start the gateway with --template, one of {', '.join(TEMPLATES)}",
            param=param,
        )


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
