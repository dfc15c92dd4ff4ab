"""The special tokens of current model families, read from special_tokens.txt beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files


def _read() -> dict[str, tuple[str, ...]]:
    owned: dict[str, list[str]] = {"": []}
    names = [""]
    for line in (files("spct.text") / "special_tokens.txt").read_text("utf-8").splitlines():
        if line.startswith("@ "):
            names = ["", *line[2:].partition("|")[0].split()]
        elif not line.startswith("#"):
            for name in names:
                owned.setdefault(name, []).extend(line.split())
    return {name: tuple(tokens) for name, tokens in owned.items()}


_OWNED = _read()
ALL_TOKENS = _OWNED[""]


def tokens_of(family: str) -> tuple[str, ...]:
    """The tokens that a template family owns."""
    return _OWNED.get(family, ())


def pattern_of(tokens: Iterable[str]) -> str:
    """A regular expression for any of some tokens; the longest is tried first.

    Tokens are grouped by their first character: a search then skips what is none of those, instead
    of trying hundreds of tokens at every place.
    """
    groups: dict[str, list[str]] = {}
    for token in sorted(tokens, key=len, reverse=True):
        groups.setdefault(token[0], []).append(token[1:])
    return "|".join(
        re.escape(first) + "(?:" + "|".join(map(_escaped, rests)) + ")"
        for first, rests in groups.items()
    )


def _escaped(token: str) -> str:
    return re.escape(token).replace(r"\{n\}", r"\d{1,6}")
