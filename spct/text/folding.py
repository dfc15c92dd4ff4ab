"""Folding: the text as a reader of goodwill would tidy it up, for finding what is disguised.

Width, homoglyphs, accents and other marks, digits of other scripts and invisible characters are
undone character by character through one table, at the speed of `str.translate`. Characters that
fold to something longer than a few plain ones (U+FDFA to 18) stay: no marker is spelt with them.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

LINE_BREAKS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_HOMOGLYPHS = dict(zip("авеорсхуіѕԁοαεɡһтнмк∖⧵ǀ∣⟦⟧", "abeopcxyisdoaeghthmk\\\\||[]", strict=True))
_SAME = _HOMOGLYPHS | {c.upper(): p.upper() for c, p in _HOMOGLYPHS.items() if len(c.upper()) == 1}
_FILLERS = "\u115f\u1160\u3164\uffa0"
_LAST = 0x323B0  # beyond it only tags, selectors and private use are assigned
_LONGEST = 4
_TAGS = range(0xE0000, 0xE01F0)


class Table(dict[int, str]):
    """What code points become, found when one is first met: `str.translate` then meets no miss."""

    def __init__(self, become: Callable[[str], str]) -> None:
        self.become = become

    def __missing__(self, code: int) -> str:
        if code >= _LAST and code not in _TAGS:
            return chr(code)  # private use: not kept, so that no text can make the table large
        found = self[code] = self.become(chr(code))
        return found


def _folded(char: str) -> str:
    category = unicodedata.category(char)
    if char in LINE_BREAKS:
        return "\n"
    if char in _SAME:
        return _SAME[char]
    if category in ("Mn", "Me") or _is_invisible(char, category):
        return char if char in "\n\t" else ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if char > "\x7f" and unicodedata.decomposition(char):
        plain = unicodedata.normalize("NFKD", char)
        plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Me"))
        if any(map(str.isascii, plain)) and len(plain) <= _LONGEST:  # U+3362 is "10点"
            return plain
    return char


def _visible(char: str) -> str:
    if char in LINE_BREAKS:
        return "\n"
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    return "" if char not in "\n\t" and _is_invisible(char, "") else char


FOLDED = Table(_folded)  # what a code point folds to
VISIBLE = Table(_visible)  # what a prompt shows: nothing invisible, one kind of line break


def fold(text: str) -> str:
    """The tidied text, in its own case."""
    return text if text.isascii() and text.isprintable() else text.translate(FOLDED)


def _is_invisible(char: str, category: str) -> bool:
    """Control and format characters, variation selectors, fillers: nothing that a reader sees."""
    return (
        (category or unicodedata.category(char)) in ("Cc", "Cf", "Cs")
        or char in _FILLERS
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    )


# A browser and a language model read all of these as the character: entities with and without
# their semicolon, padded with zeros; escapes of Python, JSON, C (octal) and URLs; LaTeX's names.
ENCODED = re.compile(
    r"&#\d+;?|&#[xX][0-9a-fA-F]+;?|&[A-Za-z]{2,31};?"
    r"|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}"
    r"|\\[0-3]?[0-7]{2}|%[0-9a-fA-F]{2}(?:%[0-9a-fA-F]{2})*"
    r"|\\(?:lbrack|rbrack|lbrace|rbrace|textless|textgreater)(?![a-zA-Z])"
)
_NAMED = {"lbrack": "[", "rbrack": "]", "lbrace": "{", "rbrace": "}", "textless": "<"}
_PASSES, _AMPS = 6, 8
_SHORT = 40


def decode(text: str) -> str | None:
    """The text with what is encoded in it undone, layer by layer; None if layers are too many."""
    for _ in range(_AMPS):  # layers of the commonest kind, at the speed of a search
        if "&amp;" not in text:
            break
        text = text.replace("&amp;", "&")
    for _ in range(_PASSES):
        new = ENCODED.sub(_decoded, text)
        if new == text:
            return text
        text = new if new.isascii() else new.translate(VISIBLE)  # they may cut a layer in two
    return None


def _decoded(match: re.Match[str]) -> str:
    return _plain(piece) if len(piece := match[0]) < _SHORT else _plain.__wrapped__(piece)


@lru_cache(1024)  # long hostile texts repeat themselves
def _plain(piece: str) -> str:
    if piece[0] == "&":
        return html.unescape(piece)
    if piece[0] == "%":
        return unquote(piece)
    digits = piece.lstrip("\\uUx{").rstrip("}")
    if piece[0] == "\\" and piece[1].isalpha() and piece[1] not in "uUx":
        return _NAMED.get(piece[1:], ">")
    base = 8 if piece[0] == "\\" and piece[1].isdigit() else 16
    code = int(digits or "0", base)
    return chr(code) if code < 0x110000 else "\ufffd"
