"""Text that went through a chat template, back into messages (pure).

Trainers decode whole conversations with their control tokens. Only a reader of the policy's own
template family gets the turns back, so the family is named; what the reader does not know is
refused with what it found. No control token of the family stays inside a turn of the query; what
a policy wrote into its own response is text and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from spct.data.chat.families import ALIASES, TEMPLATES, Template, template_named
from spct.data.chat.turns import begun, fits, marks_in, quoted, turns_of, without
from spct.errors import TemplateError
from spct.text.tokens import ALL_TOKENS, pattern_of, tokens_of
from spct.types import Message

__all__ = ["TEMPLATES", "Template", "split_prompt", "split_sample", "template_named", "turns_of"]

# What a template puts before an answer without a thought; a prompt that came along ends in it.
_EMPTY_THOUGHT = re.compile(r"\A\s*(?:(?:<think>\s*)?</think>|<\|channel>thought\s*<channel\|>)")
# What is written as a control token, of whichever family: nobody can list them all.
_SHAPE = (
    r"<\|[A-Za-z_/][\w:./-]{2,40}\|>|<｜[^<>｜|\n]{2,40}｜>|\[\|[a-z_]{3,20}\|\]|<seed:\w{2,30}>"
    r"|<(?:SPECIAL|reserved)_\d{1,6}>"
)
_PIPED = tuple(token for token in ALL_TOKENS if "|" in token or "｜" in token)


def split_prompt(prompt: str, template: Template | None, where: str) -> tuple[Message, ...]:
    """The conversation of a prompt: templated, or the text of one user turn."""
    return _opened(prompt, template, where)[0]


def split_sample(
    text: str, prompt: str | None, template: Template | None, where: str
) -> tuple[tuple[Message, ...], str]:
    """The conversation and the response of a decoded sample.

    Where the prompt came along, the response is what follows it, so that control tokens that the
    policy wrote cannot forge turns. Without it the last assistant turn of the template is taken.
    """
    if prompt is not None:
        whole, begin = (begun(t, template) if template else t for t in (text, prompt))
        if whole.startswith(begin):
            turns, thought = _opened(prompt, template, where)
            return turns, thought + response_of(whole[len(begin) :], template)
    if template is None:
        why = (
            "no prompt came along" if prompt is None else "the text does not begin with its prompt"
        )
        raise TemplateError(
            f"{where}: cannot tell the response from the conversation: {why}, and no template is "
            f"named; name the policy's with --template, one of {', '.join(TEMPLATES)}"
        )
    found = turns_of(text, template, where)
    if found[-1].role != "assistant" or len(found) < 2:
        raise TemplateError(
            f"{where}: got {_roles(found)}, expected turns that end in the assistant's"
        )
    query = tuple(_checked(found[:-1], template, where))
    return query, response_of(_last_turn(text, template), template)


def _last_turn(text: str, template: Template) -> str:
    """The assistant's last turn as it was written, thoughts and calls included."""
    if template.name == "harmony":  # whose turn has several headers
        return text[text.rfind("<|start|>user") :].partition("<|start|>assistant")[2]
    text = without(text, template.closes, at_start=False)  # GLM's are marks of who speaks next
    aside = ("call", "thought", "more", "sep", "tools")
    opened = [m for m in marks_in(text, template) if template.inside.get(m[0]) not in aside]
    return _EMPTY_THOUGHT.sub("", text[opened[-1].end() :], count=1).lstrip()


def response_of(text: str, template: Template | None) -> str:
    """A response without what closes it; of harmony's, the channels become text."""
    closes = template.closes if template else _all_closes()
    if template is not None and template.name == "harmony" and "<|message|>" in text:
        turns = turns_of("<|start|>assistant" * (not text.startswith("<|start|>")) + text, template)
        return "\n\n".join(turn.content for turn in turns)
    if template is None and without(text, closes, at_start=False) == text.rstrip():
        return text
    starts = template.starts if template else ()
    return without(text, (*closes, *starts), at_start=False).strip()


def _opened(prompt: str, template: Template | None, where: str) -> tuple[tuple[Message, ...], str]:
    """The conversation of a prompt, and what its generation prompt has begun: a thought, or "".

    Qwen3 without thinking opens the answer behind an empty thought, DeepSeek-R1 inside one.
    """
    if template is None or not (fits(prompt, template) or signs_in(prompt)):
        if tokens := signs_in(prompt):
            some = [name for name, t in TEMPLATES.items() if fits(prompt, t)]
            advice = " or ".join(f"--template {name}" for name in some)
            raise TemplateError(
                f"{where}: got text with control tokens of a chat template "
                f"({', '.join(tokens[:5])}), and no template is named: name the policy's, "
                f"{advice or 'one of ' + ', '.join([*TEMPLATES, *ALIASES])}"
            )
        return (Message("user", prompt),), ""
    turns = turns_of(prompt, template, where)
    thought = ""
    if turns[-1].role == "assistant" and turns[-1].content in ("", "Thought:"):
        turns.pop()
        is_open = re.search(r"<think>\s*\Z", prompt)
        thought = is_open[0].strip() if is_open else ""
    if not turns:
        raise TemplateError(f"{where}: got the assistant's opening alone, expected a conversation")
    return tuple(_checked(turns, template, where)), thought


def _checked(turns: list[Message], template: Template, where: str) -> Iterator[Message]:
    """The turns of a query, with no control token inside; other families' tokens are quoted."""
    for i, turn in enumerate(turns):
        if inside := _control(turn.content, tokens_of(template.name)):
            raise TemplateError(
                f"{where}: got {', '.join(inside[:5])} inside the {turn.role} turn {i + 1} of text "
                f"of the template {template.name}, which the reader does not know; leave the row "
                "out, or send messages instead of templated text"
            )
        yield Message(turn.role, _any_of(_PIPED).sub(quoted, turn.content))


@cache
def _all_closes() -> tuple[str, ...]:
    return tuple({close for t in TEMPLATES.values() for close in t.closes} & {*_PIPED})


@cache
def _signs() -> tuple[str, ...]:
    """Tokens that say that a text was templated; `[MASK]` or `<s>` stand in plain text too."""
    opens = {token for t in TEMPLATES.values() for token in (*t.opens, *t.closes, *t.starts)}
    return tuple({*_PIPED, *(opens - {*tokens_of("-"), "[EOS]", "[BOS]", "[PAD]", "<<SYS>>"})})


def signs_in(text: str) -> list[str]:
    """The control tokens, also of families unknown to us, that say that a text was templated."""
    return list(dict.fromkeys(mark[0] for mark in _sign().finditer(text)))


@cache
def _sign() -> re.Pattern[str]:
    return re.compile(f"{pattern_of(_signs())}|{_SHAPE}")


@cache
def _any_of(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(pattern_of(tokens) or r"(?!)")


def _control(text: str, tokens: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(mark[0] for mark in _any_of(tokens).finditer(text)))


def _roles(turns: list[Message]) -> str:
    return "turns of " + ", ".join(turn.role for turn in turns)
