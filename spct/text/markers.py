"""The markers that must not stand in a slot: of the prompt, of chat templates, of verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from spct.text.folding import fold
from spct.text.grammar import LOOSE_BOX, LOOSE_SQUARE, is_group
from spct.text.tokens import ALL_TOKENS, pattern_of

Rewrite = Callable[[str], str]
_HEADINGS = (
    "evaluation criteria|conversation context|reference answer|responses? to be scored"
    "|output format requirements|specific criteria"
)
_LABELS = "specific criteria|analysis|user|assistant|system|human"
_ANGLES = sorted({re.sub(r"[<>|/]", "", t).lower() for t in ALL_TOKENS if t.startswith("<")})
_NAMES = pattern_of(name for name in _ANGLES if name and name[0].isalpha())
_SQUARES = pattern_of(t[1:-1].lower() for t in ALL_TOKENS if re.fullmatch(r"\[/?\w+\]", t))


_PARENS = str.maketrans("[]{}\\", "()()/")


def _parens(found: str) -> str:
    """Brackets, braces and backslashes as what reads alike."""
    return found.translate(_PARENS)


@lru_cache(1024)  # hostile texts repeat themselves
def _box(found: str) -> str:
    name, _, inside = found.partition("{")
    return f"{name.strip(chr(92) + ' ')}({inside.removesuffix('}')}" + ")" * found.endswith("}")


def _equals(found: str) -> str:
    return found.replace("#", "=")


def _dash(found: str) -> str:
    return found[:-1] + " -"


@lru_cache(1024)
def _quotes(found: str) -> str:
    return "‹" + re.sub(r"[<>\[\]|◁▷~\s]", "", found) + "›"


@dataclass(frozen=True, slots=True)
class Rule:
    """What to look for in folded text, and what to make of it.

    A rule is tried only where the folded text has one of its `signs` and what it ends with, without
    which it cannot match: most texts cost a few substring searches.
    """

    pattern: re.Pattern[str]
    rewrite: Rewrite
    signs: tuple[str, ...]
    end: str = ""
    is_cased: bool = False

    def spans(self, cased: str, lower: str) -> Iterator[tuple[int, int]]:
        """Where the rule matches in folded text, given in its own case and in lower case."""
        folded = cased if self.is_cased else lower
        if self.end in folded and any(sign in folded for sign in self.signs):
            for match in self.pattern.finditer(folded):
                if self.pattern is not LOOSE_SQUARE or is_group(match[1] or match[2] or ""):
                    yield match.span()


# Texts are hostile and long: no two repetitions of the same characters may stand side by side, and
# none may run on from every start (hence the possessive `+`, the bounds, the look behind).
RULES = (
    # a lone word of capitals in brackets, whatever model it belongs to
    Rule(re.compile(r"\[\s{0,9}/?[A-Z](?:[A-Z]|_[A-Z0-9])[A-Z0-9_]{1,40}\s{0,9}\]"), _parens,
          ("[",), "]", is_cased=True),
    Rule(re.compile(LOOSE_BOX.pattern + r"(?:[^{}]{0,400}\})?"), _box, ("{",)),
    Rule(LOOSE_SQUARE, _parens, ("[",), "]"),
    Rule(re.compile(r"\[\s{0,40}the\s{1,40}(?:begin|end)\s{1,40}of\b[^\]\n]{0,80}\]"), _parens,
          ("begin", "end"), "]"),
    Rule(re.compile(rf"\[\s{{0,40}}(?:{_SQUARES})\s{{0,40}}\]"), _parens, ("[",), "]"),
    Rule(re.compile(r"\[\s{0,40}\|[^|\[\]\n]{1,40}\|\s{0,40}\]"), _quotes, ("|",), "]"),
    Rule(re.compile(r"\]~!?b[\[\]]|\[e~\["), _quotes, ("]~", "[e~")),
    Rule(re.compile(rf"^[ \t>*]{{0,40}}#[#\s]{{0,99}}+(?:{_HEADINGS})\b.*$", re.M), _equals,
          ("#",)),
    Rule(re.compile(r"^[ \t]{0,40}#{3}[^\n]+#{3}[ \t]*$", re.M), _equals, ("###",)),
    Rule(re.compile(rf"^[ \t#*>_-]{{0,40}}+(?:{_LABELS}|scores?)[ \t*_]{{0,40}}:", re.M), _dash,
          (*_LABELS.split("|"), "score")),
    Rule(re.compile(r"<\s{0,40}\|[^|<>\n]{1,60}\|\s{0,40}>"), _quotes, ("|",), ">"),
    Rule(re.compile(
        rf"(?<!<)<++\s{{0,40}}+[|/]{{0,2}}\s{{0,40}}+(?:{_NAMES})\s{{0,40}}+[|/]?\s{{0,40}}>+"),
        _quotes, ("<",), ">"),
    Rule(re.compile(r"◁/?\w{1,40}▷"), _quotes, ("◁",), "▷"),
)  # fmt: skip


def is_marked(text: str) -> bool:
    """Whether the text holds what a prompt or a parser would take for its own."""
    return has_marks(fold(text))


def has_marks(folded: str) -> bool:
    """The same of text that is folded."""
    lower = folded.lower()
    return any(next(rule.spans(folded, lower), None) for rule in RULES)
