"""What stands before a verdict: the headings of a reply, its principles, its critique."""

from __future__ import annotations

import re

from spct.types import Principle

# One definition of a heading: numbered, quoted, bold or with hashes; closed by a colon of any
# script, underlined (setext) or alone on its line; with a suffix ("Analysis of both") if marked.
_HEAD = (
    r"^[ \t>]*(?:\d{{1,2}}[.)][ \t]*)?(?:[#*_]+[ \t]*(?:\d{{1,2}}[.)][ \t]*)?{0}[^\n:：﹕꞉]{{0,60}}"
    r"|{0}(?:[ \t]+(?:\(|of|for|and|on)[^\n:：﹕꞉]{{0,60}}(?=[:：﹕꞉]))?)[ \t*_#]*"
    r"(?:[:：﹕꞉][ \t*_]*|\n[ \t]*(?:={{3,}}|-{{3,}})[ \t]*$|$)"
)
CRITERIA = re.compile(_HEAD.format(r"specific\s+criteria"), re.IGNORECASE | re.MULTILINE)
ANALYSIS = re.compile(_HEAD.format("analysis"), re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(
    r"[ \t#*>_]*(?:(?:final\s+)?(?:scores?|output|verdict|rating))?[ \t*_:：$]*", re.IGNORECASE
)
_ITEM = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[-*•])[ \t]+(?=\S)", re.MULTILINE)
_WEIGHT = re.compile(r"[(（]\s*(?:weight\s*[:：=]?\s*)?(\d[\d.]*(?:\s*%)?)\s*[)）]", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*[\s:：–-]*")


def without_label(text: str) -> str:
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
