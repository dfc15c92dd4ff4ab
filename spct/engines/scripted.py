"""A fake engine that is part of the product: deterministic, instant, free.

It drives docs, tests and dry runs, and lets a trainer be wired up before any weights exist. Give it
a function from (prompt, seed) to a reply, or nothing: then it writes a well-formed judgement that
prefers, with some noise from the seed, the responses that share more words with the query.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

from spct.engines.scripted_criteria import said_of_criteria
from spct.protocols import Engine
from spct.types import Completion, Prompt, SamplingParams, Usage

Reply = Callable[[Prompt, int], str | Completion]


class ScriptedEngine(Engine):
    """Answer each sample with `reply(prompt, seed)`, after `delay_s` seconds per call."""

    fingerprint = ""  # set below; here it takes the place of the protocol's property

    def __init__(self, reply: Reply | None = None, *, name: str = "fake", delay_s: float = 0.0):
        self._reply = reply or fake_judgement
        self._delay_s = delay_s
        self.fingerprint = f"scripted:{name}"
        self.n_calls = 0
        self.n_samples = 0

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Return n replies; without seeds in `params` they are numbered 0..n-1."""
        self.n_calls += 1
        self.n_samples += n
        await asyncio.sleep(self._delay_s)
        seeds = params.seeds or tuple(range(n))
        read = sum(map(_n_words, (message.content for message in prompt.messages)))
        replies = [self._reply(prompt, seed) for seed in seeds]
        return [
            reply
            if isinstance(reply, Completion)
            else Completion(reply, usage=Usage(0 if i else read, len(reply.split()), 0 if i else 1))
            for i, reply in enumerate(replies)
        ]

    async def aclose(self) -> None:
        """Nothing to release."""


_BEGIN = re.compile(r"\[The Begin of Response ?\d*\]\n")
_END = "\n[The End of Response"
_CONTEXT = "#### Conversation Context ####\n"
_WORD = re.compile(r"\w{4,}")
_READ = 4000  # characters of a text that the fake looks at, so that a huge prompt costs it nothing


def _n_words(text: str) -> int:
    return len(text.split()) if len(text) < 100_000 else text.count(" ") + text.count("\n") + 1


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text[:_READ].lower()))


def _shown(text: str) -> list[str]:
    """The responses of a prompt of ours; only their beginnings are looked at."""
    found = []
    for part in text.split(_END)[:-1]:
        begin = _BEGIN.search(part)
        if begin is not None:
            found.append(part[begin.end() : begin.end() + _READ])
    return found


def fake_judgement(prompt: Prompt, seed: int) -> str | Completion:
    """A judgement in the paper's format for a prompt of ours; scores 1..10, or one index or 0/1."""
    text = "\n".join(message.content for message in prompt.messages)
    about_criteria = said_of_criteria(text, _shown(text), seed)
    if about_criteria is not None:
        return about_criteria
    _, _, context = text.partition(_CONTEXT)
    query = _words(context.partition("\n#### ")[0] if context else text)
    shown = _shown(text) or [""] * len(prompt.order)
    rng = random.Random(seed)
    overlaps = [len(query & _words(response)) for response in shown]
    scores = [min(10, max(1, 3 + overlap + rng.choice((-1, 0, 0, 1)))) for overlap in overlaps]
    verdict = ", ".join(map(str, scores))
    if r"\boxed{x}" in text and "from 1 to 10" not in text:
        # the best one's number, or whether the only one is correct
        verdict = str(scores.index(max(scores)) + 1 if len(scores) > 1 else int(scores[0] > 4))
    lines = "\n".join(
        f"Response {i} shares {overlap} words with the query."
        for i, overlap in enumerate(overlaps, 1)
    )
    return (
        "Specific Criteria:\n"
        "1. **Topic** (Weight: 70%): speaks of what the query speaks of.\n"
        "2. **Wording** (Weight: 30%): uses the words of the query.\n"
        f"Analysis:\n{lines}\n"
        f"Scores: \\boxed{{{verdict}}}"
    )
