"""The special tokens of current model families, read from special_tokens.txt beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files


def _read() -> dict[str, tuple[str, ...]]:
    owned: dict[str, list[str]] = {"": []}
    names = [""]
    for line in (files("spct.core") / "special_tokens.txt").read_text("utf-8").splitlines():
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
    """A regular expression for any of some tokens; the longest is tried first."""
    return _pattern_of(tuple(tokens))


@lru_cache(maxsize=256)  # asked for once per turn of a conversation
def _pattern_of(tokens: tuple[str, ...]) -> str:
    some = sorted(tokens, key=len, reverse=True)
    return "|".join(re.escape(token).replace(r"\{n\}", r"\d{1,6}") for token in some)
