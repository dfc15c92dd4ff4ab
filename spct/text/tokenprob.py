"""Scores as distributions: what the score tokens' probabilities say beyond the sampled digit.

Where an engine gives log probabilities, each number of a verdict has a distribution over the
numbers that could have stood in its place. A number of several tokens ("1", "0") gets the joint
probability of its tokens. Only the sampled path is known, so mass on a token that could begin
several numbers off that path is left out, and what is left is normalised; with less than half of
the mass known there is no distribution.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping

from spct.text.parse import Scale
from spct.types import Completion, TokenLogprob

_MIN_KNOWN = 0.5
_BROKEN = "\ufffd"
_REACH = 8  # characters that one token with a broken one in it may stand for


def distributions(
    completion: Completion, spans: tuple[tuple[int, int], ...], scale: Scale
) -> tuple[dict[float, float], ...] | None:
    """One distribution over whole scores a span of the reply; None without log probabilities."""
    tokens = completion.logprobs
    if not tokens or not any(token.top for token in tokens):
        return None
    starts = _token_starts(completion.text, tokens)
    if starts is None:
        return None
    found = tuple(_distribution(tokens, starts, span, scale) for span in spans)
    return None if any(d is None for d in found) else tuple(d for d in found if d is not None)


def expectation(distribution: Mapping[float, float]) -> float:
    """The mean score of a distribution."""
    return math.fsum(score * p for score, p in distribution.items())


def _token_starts(text: str, tokens: tuple[TokenLogprob, ...]) -> list[int] | None:
    """Where each token begins in the reply; None if the tokens do not spell it.

    White space may differ: engines that decode tokens one by one lose the space that a
    SentencePiece token begins with, or show one that the reply does not begin with. A character
    that is spelt by several tokens is shown as U+FFFD in each: the next whole token says where the
    reply goes on.
    """
    starts, at, n_broken = [], 0, 0
    for token in tokens:
        if _BROKEN in token.token and not text.startswith(token.token, at):
            starts.append(at)
            n_broken += 1
            continue
        if n_broken:
            at = text.find(token.token, at, at + _REACH * n_broken + len(token.token))
            if at < 0:
                return None
            n_broken = 0
        if at < len(text) and not text.startswith(token.token, at):
            bare = token.token.lstrip()
            skipped = len(text) - at - len(text[at:].lstrip())
            if not text.startswith(bare, at + skipped):
                return None
            at += skipped - (len(token.token) - len(bare))
        starts.append(at)
        at += len(token.token)
    return starts if at >= len(text.rstrip()) else None


def _distribution(
    tokens: tuple[TokenLogprob, ...], starts: list[int], span: tuple[int, int], scale: Scale
) -> dict[float, float] | None:
    at = bisect_right(starts, span[0]) - 1
    head = tokens[at].token[: span[0] - starts[at]]  # what the token holds before the number
    mass: dict[float, float] = {}
    written, reached = "", 1.0  # digits so far, and the probability of having come here
    while True:
        sampled = tokens[at]
        top = {sampled.token: sampled.logprob, **sampled.top}
        numbers = {token: written + _digits_after(head, token) for token in top}
        merged = any(len(n) - len(written) > 1 and _is_score(n, scale) for n in numbers.values())
        number = numbers[sampled.token]
        goes_on = (
            sampled.token.endswith(number[len(written) :] or " ")
            and _may_grow(number, scale)
            and at + 1 < len(tokens)
        )
        for token, logprob in top.items():
            is_open = _may_grow(numbers[token], scale) and token[-1:].isdigit() and not merged
            if token != sampled.token and is_open:
                continue  # "1" where "10" is two tokens: what follows off the path is unknown
            if not (token == sampled.token and goes_on) and _is_score(numbers[token], scale):
                score = float(numbers[token])
                mass[score] = mass.get(score, 0.0) + reached * math.exp(logprob)
        if not goes_on:
            break
        at, head, written = at + 1, "", number
        reached *= math.exp(sampled.logprob)
    known = math.fsum(mass.values())
    return {score: p / known for score, p in mass.items()} if known >= _MIN_KNOWN else None


def _digits_after(head: str, token: str) -> str:
    """The digits that a token begins with, after what stands before the number."""
    rest = token[len(head) :] if token.startswith(head) else token
    match = re.match(r"\s*(\d+)", rest, re.ASCII) if head or not rest[:1].isspace() else None
    return match[1] if match else ""


def _is_score(number: str, scale: Scale) -> bool:
    return number.isdigit() and float(number) in scale


def _may_grow(number: str, scale: Scale) -> bool:
    """Whether another digit could follow and give a score: "1" on a scale to 10, never "0"."""
    if not number.isdigit() or number[0] == "0":
        return False
    return any(float(number + digit) in scale for digit in "0123456789")
