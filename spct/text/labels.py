"""What the text around a verdict says of its numbers: their order, and what they are out of."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TypeVar

from spct.text.grammar import Span
from spct.types import Reason, Unscored

# A group that is denied is text: "the scores are not ...", "rather than ...".
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|without|rather than|instead of|nicht|kein\w*|pas|нет?)\b|n['’]t\b"
    r"|不是|并非|並非|而非|ではなく|아니)"
    r"(?:\s+(?:a|an|the|be|just|simply|really|quite|get|give|deserve|ein\w*))*[\s*_$(\"'“‘]*\Z",
    re.IGNORECASE,
)
# "/100" behind a group, "Scores (out of 100):" before it
_OUT_OF = re.compile(r"[\s*_$(（]*(?:/|out of)\s*(\d{1,6})\b(?![/.-]\d)")
_MOST = re.compile(r"\bout of (\d{1,6})[\s*_)）]*[:：=]?[\s*_$]*\Z", re.IGNORECASE)
# Labels one after another, with nothing but signs between them: "(Response 2, Response 1):".
_NOUN = r"(?i:(?:response|answer|assistant|candidate|model|output)s?\s*[#№]?\s*)"
_LABEL = re.compile(rf"(?:{_NOUN})?\b(\d{{1,2}}|[A-Z])\b")
_SIGN = r"\s{0,3}(?:[,/|&;、，]|and\b|then\b|vs\b\.?){1,2}\s{0,3}"
_LIST = rf"(?:{_NOUN}(?:\d{{1,2}}|[A-Z])|\b[A-Z])\b(?:{_SIGN}(?:{_NOUN})?(?:\d{{1,2}}|[A-Z])\b)+"
_BEFORE = re.compile(
    rf"({_LIST})\s?(?:,?\s?respectively|order)?\s?[)\]）]?[\s*_]*[:：=]?[\s*_$(]*\Z"
)
_AFTER = re.compile(rf"[\s*_$]*[(（]?(?:(?:in the )?order|for)?:?\s*({_LIST})")
_CELL = re.compile(rf"[\s*_`]*(?:[Ss]cores?\s+(?:of|for)\s+)?{_NOUN}(\d{{1,2}}|[A-Z])[\s*_`]*")
_NEAR, _FAR = 200, 2000


def order_said(text: str, span: Span, n: int) -> tuple[int, ...] | None:
    """The order in which the labels of a group's numbers stand, where it is said and another one.

    They stand directly before or after it, or are the head of the table in which it is a row.
    """
    *above, before = text[max(0, span[0] - _FAR) : span[0]].split("\n")
    after = text[span[3] : span[3] + _NEAR].partition("\n")[0]
    found = _BEFORE.search(before[-_NEAR:]) or _AFTER.match(after)
    if found:
        labels = _LABEL.findall(found[1])
    elif before.lstrip().startswith("|"):
        rows = list(takewhile(lambda line: line.lstrip().startswith("|"), reversed(above)))
        cells = rows[-1].split("|") if rows else []
        labels = [m[1] for cell in cells if (m := _CELL.fullmatch(cell))]
    else:
        return None
    places = tuple(int(x) if x.isdigit() else ord(x.upper()) - ord("A") + 1 for x in labels)
    return places if sorted(places) == list(range(1, n + 1)) != list(places) else None


Read = TypeVar("Read")


def as_said(
    text: str, read: list[tuple[Span, Read | Unscored]], most: float
) -> list[tuple[Span, Read | Unscored]]:
    """The groups that were read; one whose numbers mean something else, as its text says, is none.

    `most` is the end of the scale.
    """
    return [
        (span, Unscored(*why) if not isinstance(group, Unscored) and why else group)
        for span, group in read
        for why in [_why_not(text, span, group, most)]
    ]


def _why_not(text: str, span: Span, group: object, most: float) -> tuple[Reason, str] | None:
    start, end = span[0], span[3]
    near = text[max(0, start - _NEAR) : start].rpartition("\n")[2]
    if _DENIED.search(near):
        return "no_verdict", f"it is denied: {near[-40:]!r}"
    said = _OUT_OF.match(text, end) or _MOST.search(near)
    if said and float(said[1]) != most:
        return "not_a_number", f"out of {said[1]}, not {most:g}, in {text[start:end][:80]!r}"
    scores = getattr(group, "scores", ())
    if len(scores) > 1 and (order := order_said(text, span, len(scores))):
        told = ", ".join(map(str, order))
        return "conflict", f"its labels say the order {told}, in {text[start:end][:80]!r}"
    return None
