"""Where a reply's reasoning ends: what a reasoning model wrote before it answered.

Markers of every family count only where reasoning can stand: at the start of the reply, or alone
on a line before it judges. A critique may well be about tags that a response left open.
"""

from __future__ import annotations

import re

# What opens a thought, and what closes it. The last is harmony with its markers stripped.
_TAGS = "think|thinking|thought|reasoning|reflection|analysis|seed:think|begin_of_thought"
_PAIRS: tuple[tuple[str, str], ...] = (
    (rf"<\|?({_TAGS})\|?>", r"<\|?(?:/|end_of_)\|?(?:{0}|thought)\|?>"),
    (r"\[(THINK|THINKING|REASONING)\]", r"\[/{0}\]"),
    (r"◁(think)▷", r"◁/{0}▷"),
    (r"<\|(START_THINKING)\|>", r"<\|END_THINKING\|>"),
    (r"<\|channel>(thought)", r"<channel\|>"),
    (r"(?:<\|start\|>assistant)?<\|channel\|>(analysis|commentary)[^<]*<\|message\|>",
     r"<\|channel\|>final[^<]*<\|message\|>"),
    (r"(analysis)(?=[A-Za-z0-9\"'(\\])", r"assistantfinal:?"),
)  # fmt: skip
_OPENERS = [(re.compile(opener), closer) for opener, closer in _PAIRS]
# Templates of some models have opened the thought already: the reply begins inside and closes it,
# at a line's end or directly before the answer. In the middle of a sentence it is only named.
_LONE_CLOSER = re.compile(
    rf"(?:^[ \t]*|(?<=\S))(?:</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final<\|message\|>)(?=[ \t]*(?:\n|\Z)|[A-Za-z#*\\\[])",
    re.MULTILINE,
)
_ALONE = re.compile(rf"^[ \t]*(?:<(?:{_TAGS})>|\[THINK\])[ \t]*$", re.MULTILINE)
_SIGNS = ("</", "[/THINK]", "◁/", "<|")  # without one of them no thought is closed
_SPACE = re.compile(r"\s*")


def after_thought(text: str, before: int) -> int:
    """Where the reply proper begins; at its end if a thought stays open.

    `before` is where judging begins (a heading, a verdict): an opener after it is only named.
    """
    at = _space(text, 0)
    begun = False
    while True:
        opened = _opened(text, at)
        if opened is None:
            break
        end, closer = opened
        closed = closer.search(text, end)
        if closed is None:
            return len(text)
        at, begun = _space(text, closed.end()), True
    if begun:
        return at
    lone = _LONE_CLOSER.search(text) if any(sign in text for sign in _SIGNS) else None
    if lone:
        return lone.end()
    may_open = "<" in text or "[" in text  # in few replies; the search looks at every line
    return len(text) if may_open and _ALONE.search(text, 0, before) else 0


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _opened(text: str, at: int) -> tuple[int, re.Pattern[str]] | None:
    for opener, closer in _OPENERS if text[at : at + 1] in "<[◁a" else ():  # as all begin
        if found := opener.match(text, at):
            return found.end(), re.compile(closer.format(re.escape(found[1])))
    return None
