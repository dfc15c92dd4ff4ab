r"""Read a judge's reply: principles, critique and scores, or the reason why there are none.

The verdict is a group of exactly as many numbers on the scale as asked for (grammar.py), after the
reasoning. It counts where it stands alone on its line or after a word or label of scoring; inside
any other sentence it is text, quoted from a response perhaps. Headings never move the search.
Strict reading wants all that count to agree, else the reply is `conflict`; `lenient` takes the last
valid group wherever it stands. Nothing here raises on any text or invents a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from spct.text.context import counts, without_groups
from spct.text.grammar import Entry, Span, entries, find_groups, may_say
from spct.text.labels import as_said
from spct.text.reasoning import ANALYSIS, CRITERIA, read_principles, without_label
from spct.text.thought import after_thought
from spct.types import Principle, Unscored

Parse = Literal["strict", "lenient", "released"]


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
    may_list = may_say(text, "criteria")
    first = (CRITERIA.search(text) if may_list else None) or ANALYSIS.search(text)
    body = after_thought(text, first.start() if first else len(text))
    group = find_verdict(text, n, scale, begin=body, lenient=lenient)
    if isinstance(group, Unscored):
        return group
    said = text[body : group.start]
    criteria = CRITERIA.search(said) if may_list else None
    analysis = ANALYSIS.search(said, criteria.end() if criteria else 0)
    critique = without_label(said[analysis.end() :] if analysis else said)
    if criteria is None:
        return Reading((), critique, group)
    # without a heading of the critique, all that stands before the verdict is criteria
    listed = (
        said[criteria.end() : analysis.start()]
        if analysis
        else without_label(said[criteria.end() :])
    )
    return Reading(read_principles(listed), critique if analysis else "", group)


_JOINED = re.compile(
    r"[\s,，、;$*|&]*(?:and)?[\s*_|-]*(?:(?:response|answer|assistant|candidate|score)?\s*[#№]?"
    r"(\d{1,3})[\s*_]*[:：=|])?[\s$*_|]*",
    re.IGNORECASE,
)


def find_verdict(
    text: str, n: int, scale: Scale, *, begin: int = 0, lenient: bool = False
) -> Group | Unscored:
    """Find the group of exactly `n` valid scores at or after `begin`, or say why there is none."""
    spans = [span for span in find_groups(text) if span[0] >= begin]
    if not spans:
        where = " after the reasoning" if begin else ""
        return Unscored("no_verdict", f"no boxed group{where}")
    lines = without_groups(text, spans)
    said = as_said(text, _joined(text, spans, n, scale), scale.high)
    read = [(group, lenient or counts(text, span, lines)) for span, group in said]
    valid = [group for group, counts in read if counts and isinstance(group, Group)]
    if not valid:
        failures = [group for group, counts in read if counts and isinstance(group, Unscored)]
        if failures:
            return failures[-1]
        if any(isinstance(group, Group) for group, _ in read):
            return Unscored("no_verdict", "the only groups stand inside sentences")
        return next(group for group, _ in reversed(read) if isinstance(group, Unscored))
    if not lenient and any(group.scores != valid[-1].scores for group in valid):
        shown = dict.fromkeys(", ".join(f"{score:g}" for score in one.scores) for one in valid)
        return Unscored("conflict", f"groups that differ: ({') and ('.join(shown)})")
    return valid[-1]


def _joined(
    text: str, spans: list[Span], n: int, scale: Scale
) -> list[tuple[Span, Group | Unscored]]:
    r"""Each group read; n single boxes in a row, `\boxed{8}, \boxed{3}`, are one group of n."""
    found: list[tuple[Span, Group | Unscored]] = []
    while spans:
        run = 1
        while n > 1 and run < len(spans):
            between = _JOINED.fullmatch(text, spans[run - 1][3], spans[run][0])
            if not between or (between[1] and int(between[1]) != run + 1):
                break
            run += 1
        row, spans = spans[:run], spans[run:]
        parts = [_read_group(text, span, 1, scale) for span in row] if run == n > 1 else []
        ones = [part for part in parts if isinstance(part, Group)]
        if parts and len(ones) == n:
            scores = tuple([one.scores[0] for one in ones])
            places = tuple([one.spans[0] for one in ones])
            found.append((row[0], Group(scores, places, row[0][0])))
        else:
            found += [(span, _read_group(text, span, n, scale)) for span in row]
    return found


def _read_group(text: str, span: Span, n: int, scale: Scale) -> Group | Unscored:
    at, start, stop, end = span
    found = _content(text[start:stop], n, scale)
    if isinstance(found, Unscored):
        return Unscored(found.reason, f"{found.detail}, in {text[at:end][:80]!r}")
    return Group(found.scores, tuple([(start + a, start + b) for a, b in found.spans]), at)


@lru_cache(1024)  # as of `entries`: few digits, so most have been read before
def _content(content: str, n: int, scale: Scale) -> Group | Unscored:
    """A group's content read by itself: its places count from its own beginning."""
    found = entries(content)
    if len(found) != n:
        return Unscored("wrong_count", f"{len(found)} entries, expected {n}")
    scores, spans = [], []
    for entry in found:
        if not isinstance(entry, Entry) or (entry.out_of and float(entry.out_of) != scale.high):
            said = entry.number if isinstance(entry, Entry) else entry
            return Unscored("not_a_number", repr(said[:40]))
        score = float(entry.number)
        if score not in scale:
            wanted = f"{scale.low:g}..{scale.high:g}{' (whole)' if scale.whole else ''}"
            return Unscored("out_of_range", f"{entry.number}, expected {wanted}")
        scores.append(score)
        spans.append((entry.start, entry.start + len(entry.number)))
    return Group(tuple(scores), tuple(spans), 0)
