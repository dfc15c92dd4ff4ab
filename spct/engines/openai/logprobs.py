"""The log probabilities of a reply: read, checked, and cut to what the reply's text holds.

Servers differ in more than names. Two token ids may have one spelling: their probabilities add up.
A probability of zero is written as null, as a floor such as -9999, or as -Infinity. Where a server
takes the reasoning out of a reply, the tokens still spell it: they are aligned from the end. A
token may be shown by its name in the vocabulary while `bytes` holds what it stands for.
What cannot be a log probability (a text, a number above 0) spoils the reply: it is never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spct.engines.spellings import summed
from spct.types import TokenLogprob

FLOOR = -9999.0  # what OpenAI and vLLM write for a probability of zero
SLACK = 1e-2  # rounding in half precision can lift a certain token a little above 0


class BadLogprobs(Exception):
    """Log probabilities that cannot be what they claim; the message says in what way."""


def read_logprobs(value: object, text: str) -> tuple[TokenLogprob, ...] | None:
    """The tokens of `text` with their alternatives; None where the reply has none."""
    entries = _entries(value)
    if entries is None:
        return None
    try:
        spelt = [_spelling(entry) for entry in entries]
        tokens = [
            TokenLogprob(
                piece.decode("utf-8", "replace"), _logprob(entry.get("logprob")), _top(entry)
            )
            for entry, piece in zip(entries, spelt, strict=True)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadLogprobs(f"log probabilities of an unknown shape: {error!r}") from None
    first, last = _place(spelt, text)
    return tuple(tokens[first:last])


def _entries(value: object) -> list[Mapping[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("content"), list):
        return list(value["content"])
    tokens, logprobs = value.get("tokens"), value.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        return None
    # the form of OpenAI's first completions route, which Together still uses for chat
    tops = value.get("top_logprobs") or [None] * len(tokens)
    if not len(tokens) == len(logprobs) == len(tops):
        raise BadLogprobs("log probabilities of an unknown shape: lists of different lengths")
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": t, "logprob": x} for t, x in (top or {}).items()],
        }
        for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
    ]


def _spelling(entry: Mapping[str, Any]) -> bytes:
    """What a token stands for: its `bytes` where they are given, else its name."""
    given = entry.get("bytes")
    if isinstance(given, list):  # empty for an end token, which stands for no text
        try:
            return bytes(given)
        except (TypeError, ValueError):
            raise BadLogprobs(f"the bytes of a token are {given!r:.60}") from None
    if not isinstance(entry["token"], str):
        raise BadLogprobs(f"a token is {entry['token']!r:.60}, expected a text")
    return entry["token"].encode()


def _shown(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")  # half a character is U+FFFD, as engines show it


def _logprob(value: object) -> float:
    if value is None:
        return FLOOR
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value <= SLACK:
        raise BadLogprobs(f"a log probability is {value!r:.60}, expected a number of at most 0")
    return max(min(float(value), 0.0), FLOOR)


def _top(entry: Mapping[str, Any]) -> dict[str, float]:
    """The alternatives by spelling; several ids of one spelling count together."""
    pairs = [
        (_shown(_spelling(other)), _logprob(other.get("logprob")))
        for other in entry.get("top_logprobs") or ()
    ]
    found = summed(pairs)
    if math.fsum(map(math.exp, found.values())) > 1 + 2 * SLACK:
        found = summed(dict.fromkeys(pairs))  # one id that is listed twice, not two ids
    if (total := math.fsum(map(math.exp, found.values()))) > 1 + 2 * SLACK:
        raise BadLogprobs(f"the alternatives of a token have a probability of {total:.3g} in all")
    return {spelling: min(logprob, 0.0) for spelling, logprob in found.items()}


def _place(spelt: list[bytes], text: str) -> tuple[int, int]:
    """Which tokens spell the text: from the end, as a thought may come before it.

    All of them where that cannot be found out: then whoever reads them says that they do not match.
    """
    joined, wanted = b"".join(spelt), text.encode("utf-8", "replace")
    start = joined.rfind(wanted) if wanted else -1
    rest = joined[start + len(wanted) :].strip()
    if start < 0 or (rest and not rest.startswith((b"<", b"["))):  # an end token may follow
        return 0, len(spelt)
    first, at = 0, 0
    while at + len(spelt[first]) <= start and first + 1 < len(spelt):
        at += len(spelt[first])
        first += 1
    last = first
    while last < len(spelt) and at < start + len(wanted):
        at += len(spelt[last])
        last += 1
    return first, last
