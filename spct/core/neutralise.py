"""Neutralise text that goes into a prompt's slot, so that it can only ever be read as text.

A query or response is written by somebody who may want to be scored well. Whatever in it looks
like a part of the prompt's skeleton (section headings, response markers), of the model's chat
template, or of a verdict is rewritten to a form that reads alike but that neither the template nor
the parser uses. Look-alikes are caught by matching on a folded copy of the text: case, width,
invisible characters, HTML entities, escapes and common homoglyphs are undone there, so a judge
that quotes the text "cleaned up" still quotes something harmless. The original stays in the
record; only the prompt changes.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

_LINE_BREAKS = frozenset("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
_HOMOGLYPHS = str.maketrans("авеорсхуіѕԁοαεɡһтнм∖⧵﹨", "abeopcxyisdoaeghthm\\\\\\")
# What folding changes: entities and escapes, then whatever is not plain ASCII text; the full-width
# block stands apart because it always folds.
_UNUSUAL = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});"
    r"|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}"
    r"|[^\x20-\x7e\n\t\uff00-\uffef]+|[\uff00-\uffef]"
)


class _Folded(NamedTuple):
    """The folded text and, for each of its segments, where it starts here and in the original."""

    text: str
    starts: list[int]
    origins: list[tuple[int, int | None]]  # (start, end); end None: one to one with the original

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the original that the folded characters start..end came from."""
        return self._origin(start)[0], self._origin(end - 1)[1]

    def _origin(self, i: int) -> tuple[int, int]:
        segment = bisect_right(self.starts, i) - 1
        start, end = self.origins[segment]
        if end is not None:
            return start, end
        at = start + i - self.starts[segment]
        return at, at + 1


def fold(text: str) -> _Folded:
    """Undo case, width, invisible characters, entities, escapes and homoglyphs."""
    parts: list[str] = []
    starts: list[int] = []
    origins: list[tuple[int, int | None]] = []
    length = done = 0

    def add(part: str, start: int, end: int | None) -> None:
        nonlocal length
        if part:
            parts.append(part)
            starts.append(length)
            origins.append((start, end))
            length += len(part)

    for match in _UNUSUAL.finditer(text):
        add(text[done : match.start()].lower(), done, None)
        piece, done = match[0], match.end()
        if len(piece) > 1 and piece.isascii() and piece[0] in "&\\%":
            add(_fold_chars(_unescape(piece)), match.start(), done)
        elif _folds_to_itself(piece):
            add(piece, match.start(), None)
        else:
            for i, char in enumerate(piece, match.start()):
                add(_fold_chars(char), i, i + 1)
    add(text[done:].lower(), done, None)
    return _Folded("".join(parts), starts, origins)


def _folds_to_itself(run: str) -> bool:
    """Whether a run of other scripts needs no work; most do not, and this is much faster."""
    same = run.isprintable() and unicodedata.is_normalized("NFKC", run) and run.lower() == run
    return same and run.translate(_HOMOGLYPHS) == run and not any(map(_is_invisible, run))


def _fold_chars(piece: str) -> str:
    kept = []
    for char in piece:
        if char in _LINE_BREAKS:
            kept.append("\n")
        elif not _is_invisible(char):
            kept.append(unicodedata.normalize("NFKC", char))
    return "".join(kept).lower().translate(_HOMOGLYPHS)


def _unescape(piece: str) -> str:
    if piece[0] == "&":
        return html.unescape(piece)
    return chr(int(piece.lstrip("\\ux%"), 16))


def _is_invisible(char: str) -> bool:
    """Control and format characters, variation selectors, fillers: nothing that a reader sees."""
    if char in "\n\t":
        return False
    return (
        unicodedata.category(char) in ("Cc", "Cf", "Cs")
        or char in "\u115f\u1160\u3164\uffa0"
        or ("\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef")
    )


_HEADINGS = (
    "evaluation criteria|conversation context|reference answer|responses? to be scored"
    "|output format requirements|specific criteria"
)
_SPECIAL = (
    "s|think|thinking|bos|eos|pad|unk|sep|cls|mask|sys|user|assistant|system|human|model|im_start|im_end"
    "|start_of_turn|end_of_turn|end_of_utterance|tools?|tool_calls?|tool_response|tool_result|function_calls?"
)


def _box(found: str) -> str:
    if "{" in found and found.endswith("}"):
        return f"boxed({found[found.index('{') + 1 : -1]})"
    return "boxed(" + fold(found).text.partition("{")[2].rstrip("}")


def _parens(found: str) -> str:
    return found.translate(str.maketrans("[]［］", "()()"))


def _quotes(found: str) -> str:
    return "‹" + re.sub(r"[<>|＜＞｜\s]|&#?\w+;", "", found) + "›"


def _dash(found: str) -> str:
    return re.sub(r"(?:[:：﹕]|&#?\w+;|%3[aA]|\\[ux]\w+)$", " -", found)


def _equals(found: str) -> str:
    return re.sub(r"[#＃﹟]|&num;|&#35;|&#x23;|%23", "=", found)


# What to look for in folded text, and what to make of the original where it stands. Texts are
# hostile and long: no two repetitions of the same characters may stand side by side, and none may
# run on from every start (hence the possessive `+`, the bounds, the look behind).
_RULES: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"b\s*o\s*x\s*e\s*d[\s\\]*\{(?:[^{}]*\})?"), _box),
    (re.compile(r"\[\s*\[[\s\d.,/+\-]*\]\s*\]"), _parens),
    (re.compile(r"\[\s*the\s+(?:begin|end)\s+of\b[^\]\n]{0,80}\]"), _parens),
    (re.compile(r"\[\s*+(?:/\s*+)?(?:inst|tool_calls|tool_results|available_tools)\s*\]"), _parens),
    (re.compile(rf"^[ \t>*]*#[#\s]{{0,99}}+(?:{_HEADINGS})\b.*$", re.M), _equals),
    (re.compile(r"^[ \t]*#{3}[^\n]+#{3}[ \t]*$", re.M), _equals),
    (re.compile(r"^[ \t#*>_-]*(?:specific criteria|analysis|scores?)[ \t*_]*:", re.M), _dash),
    (re.compile(r"^[ \t#*>_-]*(?:user|assistant|system|human)[ \t*_]*:", re.M), _dash),
    (re.compile(r"<\s*\|[^|<>\n]{1,60}\|\s*>"), _quotes),
    (re.compile(rf"(?<!<)<++\s*+(?:/\s*+)?(?:{_SPECIAL})\s*+(?:/\s*+)?>+"), _quotes),
)
_OUTSIDE_ASCII = re.compile(r"[^\x20-\x7e\n\t]")


def neutralise(text: str) -> str:
    """Return `text` with nothing left in it that is a delimiter, a control token or a verdict.

    Idempotent. Invisible characters are dropped, other line breaks become newlines, lone surrogates
    become U+FFFD. Text with none of these comes back unchanged.
    """
    text = text.replace("\r\n", "\n")
    changed = True
    while changed:  # each rewrite removes the marker that it matched, so this ends
        folded, changed = fold(text), False
        for pattern, rewrite in _RULES:
            if pattern.search(folded.text):
                text, changed = _apply(pattern, rewrite, text, folded), True
                break
    return _OUTSIDE_ASCII.sub(lambda match: _visible(match[0]), text)


def _apply(
    pattern: re.Pattern[str], rewrite: Callable[[str], str], text: str, folded: _Folded
) -> str:
    parts, done = [], 0
    for match in pattern.finditer(folded.text):
        start, end = folded.span(*match.span())
        if start < done:
            continue
        new = rewrite(text[start:end])
        if pattern.search(fold(new).text):  # spelt in a way that the rewrite does not know
            new = rewrite(match[0])
        parts += [text[done:start], new]
        done = end
    return "".join([*parts, text[done:]])


def _visible(char: str) -> str:
    if char in _LINE_BREAKS:
        return "\n"
    if unicodedata.category(char) == "Cs":
        return "\ufffd"
    return "" if _is_invisible(char) else char
