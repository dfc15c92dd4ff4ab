r"""Read a judge's reply: principles, critique and scores, or the reason why there are none.

The verdict is a boxed group, `\boxed{8, 9}`, or `[[8, 9]]` where nothing is boxed; the label of its
line does not matter (paper, Tables 16-18). A group counts if it has exactly as many entries as
asked for, each a plain decimal number on the scale, and if it stands after the reasoning began.
Strict reading wants all counting groups to agree: a reply that holds two different verdicts, one of
them perhaps quoted from a response, is `conflict`. `lenient` takes the last, as the sample code of
the released checkpoints does. Nothing here raises on any text, and nothing here invents a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from spct.types import Principle, Reason, Unscored


@dataclass(frozen=True, slots=True)
class Scale:
    """The numbers that a score may be: low..high, whole numbers only if `whole`."""

    low: float
    high: float
    whole: bool = False

    def __contains__(self, score: float) -> bool:
        return self.low <= score <= self.high and (not self.whole or score == int(score))


TEN = Scale(1, 10)
BINARY = Scale(0, 1, whole=True)


@dataclass(frozen=True, slots=True)
class Group:
    """A valid verdict: its scores, where each stands in the reply, and where the group begins."""

    scores: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]
    start: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply taken apart; scores are in the order shown in the prompt."""

    principles: tuple[Principle, ...]
    critique: str
    group: Group


def read_reply(text: str, n: int, scale: Scale, *, lenient: bool = False) -> Reading | Unscored:
    """Take a reply apart; `n` is how many scores the verdict must have. Never raises."""
    if not text.strip():
        return Unscored("empty")
    body = _after_thinking(text)
    criteria, analysis = _sections(text, body)
    begin = body if analysis is None else analysis.end()
    group = find_verdict(text, n, scale, begin=begin, lenient=lenient)
    if isinstance(group, Unscored):
        return group
    if criteria is None:
        return Reading((), _without_label(text[begin : group.start]), group)
    if analysis is None:  # all that precedes the verdict is criteria
        listed = _without_label(text[criteria.end() : group.start])
        return Reading(read_principles(listed), "", group)
    listed = text[criteria.end() : analysis.start()]
    return Reading(read_principles(listed), _without_label(text[begin : group.start]), group)


# --- the verdict ---

_BOX = re.compile(r"\\{1,2}boxed\s*\{")
_SQUARE = re.compile(r"\[\[([^\[\]\n]*)\]\]")
_TEXT = re.compile(r"\\(?:text|mathbf|textbf|mathrm)\s*\{([^{}]*)\}")
_COMMA = re.compile("[,，]")
_NUMBER = re.compile(r"([+-]?\d{1,9}(?:\.\d{1,9})?)(?:\s*/\s*(\d{1,9}))?", re.ASCII)


def find_verdict(
    text: str, n: int, scale: Scale, *, begin: int = 0, lenient: bool = False
) -> Group | Unscored:
    """Find the group of exactly `n` valid scores at or after `begin`, or say why there is none."""
    found = _boxed(text) or [(m.start(1), m.end(1), m.start()) for m in _SQUARE.finditer(text)]
    if not found:
        return Unscored("no_verdict", "no boxed group")
    read = [_read_group(text, *where, n, scale) for where in found if where[2] >= begin]
    if not read:
        return Unscored("no_verdict", "no boxed group after the reasoning")
    valid = [group for group in read if isinstance(group, Group)]
    if not valid:
        return next(failure for failure in reversed(read) if isinstance(failure, Unscored))
    if not lenient and any(group.scores != valid[-1].scores for group in valid):
        shown = " and ".join(dict.fromkeys(_show(group.scores) for group in valid))
        return Unscored("conflict", f"groups that differ: {shown}")
    return valid[-1]


def _boxed(text: str) -> list[tuple[int, int, int]]:
    """Every boxed group with balanced braces: start and end of its content, start of the group."""
    groups = []
    for match in _BOX.finditer(text):
        depth = 1
        for i in range(match.end(), min(len(text), match.end() + 2000)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                groups.append((match.end(), i, match.start()))
                break
    return groups


def _read_group(text: str, start: int, end: int, at: int, n: int, scale: Scale) -> Group | Unscored:
    # \text{8} becomes "      8 ": same length, so that positions in the reply stay true
    content = _TEXT.sub(lambda m: m[1].rjust(len(m[0]) - 1) + " ", text[start:end])
    cuts = [-1, *(m.start() for m in _COMMA.finditer(content)), len(content)]
    count = len(cuts) - 1 if content.strip() else 0
    if count != n:
        return _because("wrong_count", f"{count} entries, expected {n}", text[at : end + 1])
    scores, spans = [], []
    for left, right in pairwise(cuts):
        entry = content[left + 1 : right]
        number = _NUMBER.fullmatch(entry.strip())
        if not number or (number[2] and float(number[2]) != scale.high):
            return _because("not_a_number", repr(entry.strip()[:40]), text[at : end + 1])
        score = float(number[1])
        if score not in scale:
            wanted = f"{scale.low:g}..{scale.high:g}{' (whole)' if scale.whole else ''}"
            return _because("out_of_range", f"{number[1]}, expected {wanted}", text[at : end + 1])
        scores.append(score)
        offset = start + left + 1 + len(entry) - len(entry.lstrip())
        spans.append((offset, offset + len(number[1])))
    return Group(tuple(scores), tuple(spans), at)


def _because(reason: Reason, detail: str, group: str) -> Unscored:
    return Unscored(reason, f"{detail}, in {group[:80]!r}")


def _show(scores: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{score:g}" for score in scores) + ")"


# --- the reasoning ---

_HEAD = r"^[ \t#*>_]*{}[ \t*_#]*(?:[:：][ \t*_]*|$)"
_CRITERIA = re.compile(_HEAD.format(r"specific\s+criteria"), re.IGNORECASE | re.MULTILINE)
_ANALYSIS = re.compile(_HEAD.format("analysis"), re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(r"[ \t#*>_]*(?:scores?|output|verdict)?[ \t*_:：$]*", re.IGNORECASE)
_ITEM = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[-*•])[ \t]+(?=\S)", re.MULTILINE)
_WEIGHT = re.compile(r"[(（]\s*(?:weight\s*[:：=]?\s*)?(\d[\d.]*(?:\s*%)?)\s*[)）]", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*[\s:：–-]*")


def _after_thinking(text: str) -> int:
    """Where the reply proper begins: after the last closed thought; at the end if one is open."""
    close = text.rfind("</think>")
    if text.find("<think>", close + 1) >= 0:
        return len(text)
    return 0 if close < 0 else close + len("</think>")


def _sections(text: str, body: int) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """The headings of the principles and of the critique; the first of each, in this order."""
    criteria = _CRITERIA.search(text, body)
    return criteria, _ANALYSIS.search(text, criteria.end() if criteria else body)


def _without_label(text: str) -> str:
    """Drop the verdict's own label, such as "Scores:", from the end."""
    head, newline, last = text.rpartition("\n")
    return (head if _LABEL.fullmatch(last) else head + newline + last).strip()


def read_principles(section: str) -> tuple[Principle, ...]:
    """Split the list of criteria; a section without list items is one principle."""
    starts = [match.start() for match in _ITEM.finditer(section)] or [0]
    items = [section[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    return tuple(_principle(_ITEM.sub("", item, count=1)) for item in items if item.strip())


def _principle(item: str) -> Principle:
    weight = _WEIGHT.search(item)
    if weight:
        item = item[: weight.start()].rstrip() + item[weight.end() :]
    bold = _BOLD.match(item.strip())
    if bold:
        name, text = bold[1], item.strip()[bold.end() :]
    else:
        name, colon, text = item.partition(":")
        name, text = (name, text) if colon else ("", item)
    shown = weight[1].replace(" ", "") if weight else None
    return Principle(name.strip(" *_`:："), shown, " ".join(text.split()).strip("* "))
