"""Judging by criteria, one response a call: which calls, how a reply is read, how they are joined.

A format of the pattern "met" shows one response and some of the criteria in each call. The calls of
one sample index are the parts of one judgement, so votes, k and stores know nothing of them. Long
lists are shown in chunks of nearly equal size. Criteria stand in another order in each sample, as
their order shifts scores, and are brought back to the original one.

Nothing here invents a number: a call that cannot be read leaves its criteria unscored for its
response, and a judgement that lacks any is unscored with the first reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from spct.core.plan import Call
from spct.core.settle import read, require_logprobs, with_probability
from spct.text.format import Format, unfinished
from spct.text.grammar import may_say
from spct.text.parse import TEN, Group, Parse, Reading, Scale, find_verdict, read_reply
from spct.text.tokenprob import distributions, expectation
from spct.types import (
    Checked,
    Completion,
    Criteria,
    Example,
    Judgement,
    Part,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
)
from spct.votes.ballot import Vote
from spct.votes.criteria import cells_of, overalls

_OVERALL = re.compile(r"^[ \t#*>_-]*overall\b", re.IGNORECASE | re.MULTILINE)
_OVERALL_WORD = re.compile(r"[oO][vV][eE][rR][aA][lL][lL]")  # quick to find; no letter folds oddly
_NUMBER = re.compile(r"^[ \t]*(\d{1,3})[.)][ \t]+", re.MULTILINE)
_BARE = re.compile(r"\s*(\d)\s*\.?\s*")


def check(
    completion: Completion, prompt: Prompt, criteria: Criteria, fmt: Format, parse: Parse = "strict"
) -> Checked | Unscored:
    """Read one reply about one response; with log probabilities each number is an expectation."""
    if completion.finish_reason != "stop":
        return unfinished(completion)
    tops = [criteria.items[i].top for i in prompt.criteria]
    scale, text = Scale(0, max(tops), whole=True), completion.text
    bare = _BARE.fullmatch(text) if fmt.asks_one else None
    label = None if bare else _overall_label(text)
    if bare:
        number = Group((float(bare[1]),), (bare.span(1),), 0)
        reading: Reading | Unscored = Reading((), "", number)
    else:
        # One box of one criterion and the overall box look alike: only the place tells them apart.
        read = text[: label.start()] if label and len(tops) == 1 else text
        reading = read_reply(read, len(tops), scale, lenient=parse != "strict")
    if isinstance(reading, Unscored):
        return reading
    scores = reading.group.scores
    over = [(s, top) for s, top in zip(scores, tops, strict=True) if not 0 <= s <= top]
    if over:
        return Unscored("out_of_range", f"{over[0][0]:g}, expected 0..{over[0][1]}")
    told = distributions(completion, reading.group.spans, scale) if completion.logprobs else None
    if told is None and fmt.asks_one:
        return Unscored("no_probability", "the number's token has no usable distribution")
    values = scores if told is None else tuple(map(expectation, told))
    met = tuple([min(1.0, value / top) for value, top in zip(values, tops, strict=True)])
    final = find_verdict(text[label.start() :], 1, TEN) if label else None
    overall = final.scores[0] if isinstance(final, Group) else None
    return Checked(met, overall, _by_name(reading.critique, prompt, criteria))


def _overall_label(text: str) -> re.Match[str] | None:
    """The label of the overall score: the first "overall" that begins its line."""
    if not may_say(text, "overall"):
        return None
    for word in _OVERALL_WORD.finditer(text):
        label = _OVERALL.match(text, text.rfind("\n", 0, word.start()) + 1)
        if label:
            return label
    return None


def _by_name(critique: str, prompt: Prompt, criteria: Criteria) -> str:
    """The reasons with the criteria's names for the numbers that this prompt gave them."""

    def named(found: re.Match[str]) -> str:
        i = int(found[1]) - 1
        return f"{criteria.items[prompt.criteria[i]].name}: " if i in range(n) else found[0]

    n = len(prompt.criteria)
    return _NUMBER.sub(named, critique)


Drawn = Sequence[tuple[Call, Sequence[Completion]]]  # each call with what it brought back


def read_all(
    drawn: Drawn, example: Example, fmt: Format, vote: Vote, fingerprint: str, parse: Parse
) -> list[Trajectory]:
    """Read what all calls brought back, and join what belongs to one judgement."""
    if fmt.pattern == "met":
        return _judgements(drawn, example, fmt, vote, fingerprint, parse)
    criteria = example.criteria if fmt.shows_criteria else None
    found = [
        trajectory
        for call, replies in drawn
        for trajectory in read(call, replies, fmt, fingerprint, parse=parse, criteria=criteria)
    ]
    if vote.needs != "logprobs":
        return found
    require_logprobs(found, fingerprint.rpartition("/")[0])
    return [with_probability(t) for t in found]


def _judgements(
    drawn: Drawn, example: Example, fmt: Format, vote: Vote, fingerprint: str, parse: Parse
) -> list[Trajectory]:
    assert example.criteria is not None
    parts: dict[int, list[Part]] = {}
    for call, completions in drawn:
        for index, seed, reply in zip(call.indices, call.seeds, completions, strict=True):
            outcome = check(reply, call.prompt, example.criteria, fmt, parse)
            parts.setdefault(index, []).append(Part(call.prompt, reply, seed, outcome))
    return [
        joined(index, some, example.n, example.criteria, vote, fingerprint)
        for index, some in sorted(parts.items())
    ]


def joined(
    index: int, parts: Sequence[Part], n: int, criteria: Criteria, vote: Vote, fingerprint: str
) -> Trajectory:
    """One judgement of n responses from its parts; its scores are those of the aggregate."""
    ordered = tuple(sorted(parts, key=lambda p: (p.prompt.order, p.prompt.criteria)))
    first = ordered[0]
    prompt = Prompt(first.prompt.example_id, (), tuple(range(n)))  # its parts have the texts
    reply = Completion("", usage=sum((p.completion.usage for p in ordered), Usage()))
    whole = Trajectory(
        example_id=prompt.example_id,
        index=index,
        seed=first.seed,
        prompt=prompt,
        completion=reply,
        outcome=Unscored("empty"),
        fingerprint=fingerprint,
        criteria=criteria,
        parts=ordered,
    )
    return replace(whole, outcome=_outcome(whole, vote))


def read_again(whole: Trajectory, fmt: Format, vote: Vote, parse: Parse) -> Trajectory:
    """A judgement with its stored replies read anew."""
    assert whole.criteria is not None
    parts = tuple(
        Part(
            p.prompt,
            p.completion,
            p.seed,
            check(p.completion, p.prompt, whole.criteria, fmt, parse),
        )
        for p in whole.parts
    )
    again = replace(whole, parts=parts)
    return replace(again, outcome=_outcome(again, vote))


def _outcome(whole: Trajectory, vote: Vote) -> Judgement | Unscored:
    for part in whole.parts:
        if isinstance(part.outcome, Unscored):
            where = f"response {part.prompt.order[0] + 1}, {_named(whole, part)}"
            return Unscored(part.outcome.reason, f"{where}: {part.outcome.detail}".rstrip(": "))
    if any(None in row for row in cells_of(whole)):
        return Unscored("wrong_count", "not every criterion was asked about")
    scores = overalls(whole) if vote.name == "overall" else vote([whole])
    if scores is None:
        return Unscored(
            "no_verdict", "no overall score in a reply; --aggregate weighted needs none"
        )
    return Judgement((), _critique(whole), scores)


def _named(whole: Trajectory, part: Part) -> str:
    assert whole.criteria is not None
    names = [repr(whole.criteria.items[i].name) for i in part.prompt.criteria]
    return f"criteria {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"


def _critique(whole: Trajectory) -> str:
    told = [
        f"Response {part.prompt.order[0] + 1}: {part.outcome.critique}"
        for part in whole.parts
        if isinstance(part.outcome, Checked) and part.outcome.critique
    ]
    return "\n".join(told)
