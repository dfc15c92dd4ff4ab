"""Neutralise text that goes into a prompt's slot, so that it can only ever be read as text.

A query or response is written by somebody who may want to be scored well. Whatever in it looks
like a part of the prompt's skeleton (section headings, response markers), of a model's chat
template, or of a verdict (grammar.py) is rewritten to a form that reads alike but that neither the
template nor the parser uses. Disguises are caught on a folded copy (folding.py), so a judge that
quotes the text tidied up still quotes something harmless. The original stays in the record.

The work grows with the length alone and goes in steps of a few milliseconds, so that a thread that
neutralises never holds the interpreter for long: texts are cut into chunks, seams are looked at
again, and a text that is packed with markers is rewritten wholesale instead of one by one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from spct.core.folding import ENCODED, decode, fold, table, visible
from spct.core.grammar import LOOSE_BOX, LOOSE_SQUARE, find_groups, is_group
from spct.core.tokens import ALL_TOKENS, pattern_of

Rewrite = Callable[[str], str]
_CHUNK = 16_384
_SEAM = 400  # longer than any marker
_PRECISE = 8  # chunks that are rewritten marker by marker; what is left goes wholesale
_ENCODED = 50_000  # encoded characters of one text that are undone

_HEADINGS = (
    "evaluation criteria|conversation context|reference answer|responses? to be scored"
    "|output format requirements|specific criteria"
)
_LABELS = "specific criteria|analysis|user|assistant|system|human"
_ANGLES = sorted({re.sub(r"[<>|/]", "", t).lower() for t in ALL_TOKENS if t.startswith("<")})
_NAMES = pattern_of(name for name in _ANGLES if name and name[0].isalpha())
_SQUARES = pattern_of(t[1:-1].lower() for t in ALL_TOKENS if re.fullmatch(r"\[/?\w+\]", t))


def _parens(found: str) -> str:
    return found.translate(str.maketrans("[]{}\\", "()()/"))


def _box(found: str) -> str:
    name, _, inside = found.partition("{")
    return f"{name.strip(chr(92) + ' ')}({inside.removesuffix('}')}" + ")" * found.endswith("}")


def _equals(found: str) -> str:
    return found.replace("#", "=")


def _dash(found: str) -> str:
    return found[:-1] + " -"


def _quotes(found: str) -> str:
    return "‹" + re.sub(r"[<>\[\]|◁▷~\s]", "", found) + "›"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What to look for in folded text, and what to make of it.

    A rule is tried only where the folded text has one of its `signs`, without which it cannot
    match: most texts cost a few substring searches.
    """

    pattern: re.Pattern[str]
    rewrite: Rewrite
    signs: tuple[str, ...]

    def spans(self, folded: str) -> Iterator[tuple[int, int]]:
        if any(sign in folded for sign in self.signs):
            for match in self.pattern.finditer(folded):
                if self.pattern is not LOOSE_SQUARE or is_group(match[1] or match[2] or ""):
                    yield match.span()


# Texts are hostile and long: no two repetitions of the same characters may stand side by side, and
# none may run on from every start (hence the possessive `+`, the bounds, the look behind).
_RULES = (
    _Rule(re.compile(LOOSE_BOX.pattern + r"(?:[^{}]{0,400}\})?"), _box, ("{",)),
    _Rule(LOOSE_SQUARE, _parens, ("[",)),
    _Rule(re.compile(r"\[\s{0,40}the\s{1,40}(?:begin|end)\s{1,40}of\b[^\]\n]{0,80}\]"), _parens,
          ("begin", "end")),
    _Rule(re.compile(rf"\[\s{{0,40}}(?:{_SQUARES})\s{{0,40}}\]"), _parens, ("[",)),
    _Rule(re.compile(r"\[\s{0,40}\|[^|\[\]\n]{1,40}\|\s{0,40}\]"), _quotes, ("|",)),
    _Rule(re.compile(r"\]~!?b[\[\]]|\[e~\["), _quotes, ("]~", "[e~")),
    _Rule(re.compile(rf"^[ \t>*]{{0,40}}#[#\s]{{0,99}}+(?:{_HEADINGS})\b.*$", re.M), _equals,
          ("#",)),
    _Rule(re.compile(r"^[ \t]{0,40}#{3}[^\n]+#{3}[ \t]*$", re.M), _equals, ("###",)),
    _Rule(re.compile(rf"^[ \t#*>_-]{{0,40}}+(?:{_LABELS}|scores?)[ \t*_]{{0,40}}:", re.M), _dash,
          (*_LABELS.split("|"), "score")),
    _Rule(re.compile(r"<\s{0,40}\|[^|<>\n]{1,60}\|\s{0,40}>"), _quotes, ("|",)),
    _Rule(re.compile(
        rf"(?<!<)<++\s{{0,40}}+[|/]{{0,2}}\s{{0,40}}+(?:{_NAMES})\s{{0,40}}+[|/]?\s{{0,40}}>+"),
        _quotes, ("<",)),
    _Rule(re.compile(r"◁/?\w{1,40}▷"), _quotes, ("◁",)),
)  # fmt: skip
# A lone word of capitals in brackets, whatever model it belongs to; looked for in the text's case.
_CAPITALS = re.compile(r"\[\s{0,9}/?[A-Z](?:[A-Z]|_[A-Z0-9])[A-Z0-9_]{1,40}\s{0,9}\]")
_WHOLESALE = str.maketrans(dict(zip("[]{}<>|#\\&%:◁▷", "()()‹›¦=/+٪-‹›", strict=True)))


@dataclass(slots=True)
class _Budget:
    precise: int = _PRECISE
    encoded: int = _ENCODED


def neutralise(text: str) -> str:
    """Return `text` with nothing left in it that is a delimiter, a control token or a verdict.

    Idempotent. Invisible characters are dropped, other line breaks become newlines, lone surrogates
    become U+FFFD. Text with none of these comes back unchanged.
    """
    budget = _Budget()
    done: list[str] = []
    for chunk in _chunks(text.replace("\r\n", "\n")):
        safe = _chunk(chunk if _is_plain(chunk) else chunk.translate(visible()), budget)
        if done and is_marked(_undone(seam := done[-1][-_SEAM:] + safe[:_SEAM])):
            # a marker across the seam: both sides of it go wholesale
            at = len(done[-1][-_SEAM:])
            seam = _wholesale(seam)
            done[-1], safe = done[-1][:-_SEAM] + seam[:at], seam[at:] + safe[_SEAM:]
        done.append(safe)
    return "".join(done)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()


def _chunks(text: str) -> Iterator[str]:
    """Pieces of bounded size that end at a line's end where one is near."""
    start = 0
    while start < len(text):
        end = start + _CHUNK
        if end < len(text):
            end = text.rfind("\n", start + _CHUNK // 2, end) + 1 or end
        yield text[start:end]
        start = end


def _chunk(text: str, budget: _Budget) -> str:
    if any(mark in text for mark in "&\\%"):
        text = _without_hidden(text, budget)
    marked = is_marked(text)
    if marked:
        if budget.precise <= 0:
            return _wholesale(text)
        budget.precise -= 1
        text = _rewritten(text)
        marked = is_marked(text)
    return _wholesale(text) if marked or _has_group(text) else text


def _without_hidden(text: str, budget: _Budget) -> str:
    """The text; lines that hide a marker in entities or escapes are shown with these undone."""
    encoded = sum(1 for _ in ENCODED.finditer(text))
    budget.encoded -= encoded
    if not encoded:
        return text
    if budget.encoded < 0:
        return text.translate(_WHOLESALE)
    plain = decode(text)
    if plain is None:
        return _wholesale(text)
    if plain == text or not is_marked(plain):
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        shown = decode(line)
        if shown is not None and shown != line and is_marked(shown):
            lines[i] = shown.translate(visible())
    shown = "\n".join(lines)
    rest = decode(shown)
    if rest is None or (rest != shown and is_marked(rest) and not is_marked(shown)):
        return (rest or _wholesale(shown)).translate(visible())  # it hides across lines
    return shown


def _undone(text: str) -> str:
    plain = decode(text)
    return _wholesale(text) if plain is None else plain


def is_marked(text: str) -> bool:
    """Whether the folded text holds what a prompt or a parser would take for its own."""
    folded = fold(text)
    if "[" in folded and _CAPITALS.search(folded):
        return True
    folded = folded.lower()
    return any(next(rule.spans(folded), None) for rule in _RULES)


def _has_group(text: str) -> bool:
    """What the parser itself would read: nothing may be left of it."""
    if "[[" not in text and "oxed" not in text and "box" not in text:
        return False
    return any(is_group(text[a:b]) for _, a, b, _ in find_groups(text))


def _rewritten(text: str) -> str:
    for _ in range(3):  # a rewrite may uncover another marker around it
        folded = fold(text)
        before = text
        text = _replaced(text, folded, [m.span() for m in _CAPITALS.finditer(folded)], _parens)
        for rule in _RULES:
            if text is not before:
                folded, before = fold(text), text
            text = _replaced(text, folded, list(rule.spans(folded.lower())), rule.rewrite)
        if not is_marked(text):
            break
    return text


def _replaced(text: str, folded: str, spans: list[tuple[int, int]], rewrite: Rewrite) -> str:
    if not spans:
        return text
    origin = _origins(text, folded)
    parts, done = [], 0
    for start, end in spans:
        first, last = (start, end) if origin is None else (origin(start), origin(end - 1) + 1)
        if first >= done:
            parts += [text[done:first], rewrite(folded[start:end])]
            done = last
    return "".join([*parts, text[done:]])


def _origins(text: str, folded: str) -> Callable[[int], int] | None:
    """Where a place in the folded text came from; None if every place is its own."""
    if folded == text:
        return None
    known = table()
    ends = list(accumulate(len(known.get(ord(char), char)) for char in text))
    return lambda place: bisect_right(ends, place)


def _wholesale(text: str) -> str:
    """The text with every bracket and sign of structure as a look-alike: readable, and no more."""
    return fold(text).translate(_WHOLESALE)
