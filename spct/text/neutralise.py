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

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from spct.text.folding import ENCODED, FOLDED, VISIBLE, Table, decode, fold
from spct.text.grammar import find_groups, is_group
from spct.text.markers import RULES, Rewrite, has_marks, is_marked

_CHUNK = 16_384
_SEAM = 400  # longer than any marker
_PRECISE = 2  # chunks that are rewritten marker by marker; what is left goes wholesale
_ENCODED = 10_000  # encoded characters of one text that are undone

_ALIKE = dict(zip("[]{}<>|#\\&%:◁▷", "()()‹›¦=/+٪-‹›", strict=True))
_WHOLESALE = Table(lambda char: _ALIKE.get(char, char))


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
        safe = _chunk(chunk if _is_plain(chunk) else chunk.translate(VISIBLE), budget)
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
    folded = fold(text)  # once: for a text of other scripts it is most of the work
    marked = has_marks(folded)
    if marked:
        if budget.precise <= 0:
            return folded.translate(_WHOLESALE)
        budget.precise -= 1
        text, marked = _rewritten(text, folded)
    return _wholesale(text) if marked or _has_group(text) else text


def _without_hidden(text: str, budget: _Budget) -> str:
    """The text; lines that hide a marker in entities or escapes are shown with these undone."""
    encoded = len(ENCODED.findall(text))
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
            lines[i] = shown.translate(VISIBLE)
    shown = "\n".join(lines)
    rest = decode(shown)
    if rest is None or (rest != shown and is_marked(rest) and not is_marked(shown)):
        return (rest or _wholesale(shown)).translate(VISIBLE)  # it hides across lines
    return shown


def _undone(text: str) -> str:
    plain = decode(text)
    return _wholesale(text) if plain is None else plain


def _has_group(text: str) -> bool:
    """What the parser itself would read: nothing may be left of it."""
    if "[[" not in text and "oxed" not in text and "box" not in text:
        return False
    return any(is_group(text[a:b]) for _, a, b, _ in find_groups(text))


def _rewritten(text: str, folded: str) -> tuple[str, bool]:
    """The text with each marker rewritten, and whether any is left; `folded` is its folded form."""
    marked = True
    for _ in range(3):  # a rewrite may uncover another marker around it
        lower = folded.lower()
        for rule in RULES:
            if spans := list(rule.spans(folded, lower)):
                text, folded = _replaced(text, folded, spans, rule.rewrite)
                lower = folded.lower()
        marked = has_marks(folded)
        if not marked:
            break
    return text, marked


def _replaced(
    text: str, folded: str, spans: list[tuple[int, int]], rewrite: Rewrite
) -> tuple[str, str]:
    """The text and its folded form with the spans of the folded form rewritten in both."""
    ends = _ends(text, folded)
    parts, shown, done, seen = [], [], 0, 0  # up to where the text and its folded form are done
    for start, end in spans:
        first, last, begin, finish = start, end, start, end
        if ends is not None:
            first, last = bisect_right(ends, start), bisect_right(ends, end - 1) + 1
            begin, finish = ends[first - 1] if first else 0, ends[last - 1]
        if first >= done:
            new = rewrite(folded[start:end])  # of folded text: it stands for itself
            parts += [text[done:first], new]
            shown += [folded[seen:begin], new]
            done, seen = last, finish
    parts.append(text[done:])
    if folded == text:
        return (new_text := "".join(parts)), new_text
    shown.append(folded[seen:])
    return "".join(parts), "".join(shown)


def _ends(text: str, folded: str) -> list[int] | None:
    """Where each character of the text ends in its folded form; None where each folds to one."""
    if folded == text or all(len(FOLDED[ord(char)]) == 1 for char in set(text)):
        return None
    return list(accumulate(map(len, map(FOLDED.__getitem__, map(ord, text)))))


def _wholesale(text: str) -> str:
    """The text with every bracket and sign of structure as a look-alike: readable, and no more."""
    return fold(text).translate(_WHOLESALE)
