r"""What a verdict looks like: one definition for the parser and for the neutraliser.

A verdict is a group, `\boxed{8, 3}` or `[[8, 3]]`. Mark-up that cannot change a number is allowed
in it: text macros, spaces of LaTeX, bold, brackets, labels that count up, units, a trailing comma.
It is blanked at equal length, so that positions in the reply stay true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise

# JSON turns "\boxed" into a backspace and "oxed"; some models write \fbox.
OPEN_BOX = re.compile(r"(?:\\(?:boxed|fbox|framebox)|\x08oxed)[ \t]*\{")
_BRACE = re.compile(r"[{}]")
SQUARE = re.compile(r"\[\[([^\[\]\n]*)\]\]")
# The same in folded text, as a judge might tidy it up: spaced out, with backslashes, cut short.
LOOSE_BOX = re.compile(
    r"(?:b\s{0,9}o\s{0,9}x\s{0,9}e\s{0,9}d|f\s{0,9}b\s{0,9}o\s{0,9}x|framebox|oxed)[\s\\]{0,40}\{"
)
LOOSE_SQUARE = re.compile(
    r"\[(?:\s{0,40}|\\)\[((?:[^\[\]\n\\]|\\(?![\[\]])){0,400})(?:\\?\])\s{0,40}\\?\]"
    r"|\[\s{1,40}\[([\s\d.,/+\-]{0,200})\]\s{0,40}\]"
)

Span = tuple[int, int, int, int]  # of a group: start, content's start and end, end
_INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_MACRO = re.compile(
    r"\\(?:text(?:bf|it|tt|rm|sf|normal)?|math(?:bf|rm|it|sf|tt)|mbox|hbox|emph|bm|boldsymbol"
    r"|operatorname)\s*\{([^{}]*)\}"
)
_MARKUP = re.compile(
    r"\\(?:[,;:!> ]|q?quad\b|(?:large|small|bf|rm|displaystyle)\b)"
    rf"|[$*_`~{{}}\[\]()（）【】{_INVISIBLE}]"
)
_UNIT = re.compile(
    r"(?<=\d)\s*(?:分|点|點|점|points?|pts?\.?)(?=\s*(?:[,，、;；]|$))", re.IGNORECASE
)
_TRAILING = re.compile(r"[,，、;；.]\s*$")
_COMMA = re.compile("[,，、;；]")
_LABEL = re.compile(
    r"(?:(?:response|answer|assistant|candidate|reply|score|r)\s*)?[#№]?\s*(\d{1,3}|[A-Za-z])"
    r"\s*(?:[:：=]|->|→)\s*(?=\S)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"([+-]?\d{1,9}(?:\.\d{1,9})?)(?:\s*(?:/|out of)\s*(\d{1,9})(?:\.0+)?)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a group as written, what it is out of, and where it stands in the content."""

    number: str
    out_of: str | None
    start: int


def may_say(text: str, word: str) -> bool:
    """Whether an ASCII word in lower case may stand in a text, in whatever case.

    Never False where it does, and quick, so that a slower search can be spared. Beyond ASCII a
    pattern that ignores case also takes a long s for an s: such texts are searched.
    """
    return word in text.lower() if text.isascii() else True


@lru_cache(1024)  # few digits: of most judges' verdicts nearly all have been read before
def entries(content: str) -> tuple[Entry | str, ...]:
    """The entries of a group's content; one that is no number stands as its text."""
    plain = _blanked(content)
    cuts = [-1, *(m.start() for m in _COMMA.finditer(plain)), len(plain)]
    if not plain.strip():
        return ()
    return tuple(_entry(plain, a + 1, b, i) for i, (a, b) in enumerate(pairwise(cuts), 1))


@lru_cache(1024)  # hostile texts repeat themselves
def is_group(content: str) -> bool:
    """Whether a parser could read a verdict from a content, on whatever scale."""
    found = entries(content)
    return bool(found) and all(isinstance(entry, Entry) for entry in found)


def _entry(plain: str, start: int, end: int, place: int) -> Entry | str:
    text = plain[start:end]
    begin = len(text) - len(text.lstrip())
    label = _LABEL.match(text, begin)
    if label:  # "Response 2: 8" is the second entry or nothing: labels count up
        said = label[1]
        counts = int(said) if said.isdigit() else ord(said.upper()) - ord("A") + 1
        begin = label.end() if counts == place else begin
    number = _NUMBER.fullmatch(text[begin:].rstrip())
    return Entry(number[1], number[2], start + begin) if number else text.strip()


def _blanked(content: str) -> str:
    """The content with mark-up as spaces, each character in its place."""
    for _ in range(3):  # macros stand in macros
        content, n = _MACRO.subn(lambda m: m[1].rjust(len(m[0]) - 1) + " ", content)
        if not n:
            break
    for pattern in (_MARKUP, _TRAILING, _UNIT):
        content = pattern.sub(lambda m: " " * len(m[0]), content)
    return content


def find_groups(text: str, limit: int = 1000) -> Iterator[Span]:
    """Every group in order: start, start and end of its content, end. Unclosed boxes are none."""
    begin = text.find("[[")  # most replies have neither or one: a search for it is cheap
    squares = SQUARE.finditer(text, begin) if begin >= 0 else ()
    found = [(m.start(), *m.span(1), m.end()) for m in islice(squares, limit)]
    begin = text.find("ox")
    boxes = _boxes(text, max(0, begin - _BEFORE_OX)) if begin >= 0 else ()
    yield from sorted([*found, *islice(boxes, limit)])[:limit]


_BEFORE_OX = len(r"\frameb")  # the most of an opening that stands before its "ox"


def _boxes(text: str, begin: int) -> Iterator[Span]:
    for match in OPEN_BOX.finditer(text, begin):
        # "\\\\boxed" in a string that was escaped twice: the group begins at the first backslash
        start = match.start() - (text[match.start() - 1 : match.start()] == "\\")
        depth = 1
        for brace in _BRACE.finditer(text, match.end(), match.end() + 2000):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                yield start, match.end(), brace.start(), brace.end()
                break
