"""What the fake judge says where it is asked about criteria, or for a list of them.

A statement is true of a response that shares a long word with it; noise comes from the seed.
"""

from __future__ import annotations

import math
import random
import re

from spct.types import Completion, TokenLogprob, Usage

_ONE = "\nCriterion: "
_LIST = "#### Specific Criteria ####\n"
_WRITES = "You write the criteria"
_WORD = re.compile(r"\w{4,}")
_STOP = frozenset({"response", "that", "this", "with", "answer", "says", "about"})


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text[:4000].lower())) - _STOP


def said_of_criteria(text: str, responses: list[str], seed: int) -> Completion | str | None:
    """The reply to a prompt with criteria of ours; None for any other prompt."""
    if text.startswith(_WRITES):
        return _written(text)
    if not text.startswith("You check one response") or len(responses) != 1:
        return None
    known, rng = _words(responses[0]), random.Random(seed)
    if _ONE in text:
        return _answer(text.rpartition(_ONE)[2], known, text)
    listed = text.partition(_LIST)[2].partition("\n\n")[0].splitlines()
    met = [int(bool(known & _words(line)) ^ (rng.random() < 0.05)) for line in listed]
    lines = [
        f"{i}. {'It is there.' if one else 'It is not there.'}" for i, one in enumerate(met, 1)
    ]
    whole = 1 + round(9 * sum(met) / max(1, len(met)))
    scores = ", ".join(map(str, met))
    told = "\n".join(lines)
    return f"Analysis:\n{told}\nScores: \\boxed{{{scores}}}\nOverall: \\boxed{{{whole}}}"


def _answer(statement: str, known: set[str], prompt: str) -> Completion:
    """One token with its probabilities: surer the more words are shared."""
    p = 1 - 0.5 ** (2 * len(known & _words(statement)) + 0.2)
    top = {"1": math.log(p), "0": math.log(1 - p)}
    token = max(top, key=lambda t: top[t])
    usage = Usage(len(prompt.split()), 1, 1)
    return Completion(token, logprobs=(TokenLogprob(token, top[token], top),), usage=usage)


def _written(text: str) -> str:
    """A list about the longest words of the query."""
    query = text.partition("#### Conversation Context ####\n")[2].partition("\n\n")[0]
    words = sorted(_words(query), key=lambda w: (-len(w), w))[:3] or ["query"]
    return "\n".join(
        f"{i}. **{word.capitalize()}** (Weight: {w}%): The response speaks of {word}."
        for i, (word, w) in enumerate(zip(words, (50, 30, 20), strict=False), 1)
    )
