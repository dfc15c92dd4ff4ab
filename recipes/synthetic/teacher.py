"""What judgements of the world look like, and the teacher of the cold start, who errs in four ways.

A judgement names the query's constraints as weighed principles, checks them response by response
with the evidence of each check, and scores: a point and the weights of what is met, 0 or 1 for a
single response. A careful teacher is always right. The erring one leaves every later stage work
to do: being hasty and playing favourites are habits of a minority of judgements, so they vary
from sample to sample and a vote helps; the blind spot is in the majority of the judgements that it
can touch, so a vote repeats it; misreadings are noise. All of them show in the text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.synthetic.world import (
    CLASS_OF,
    NOTHING,
    Check,
    Constraint,
    check,
    parse_query,
)
from spct.types import Example

FAVOUR = 3  # points that a favourite gets for nothing
PERCENT = {"must": 67, "should": 33}


@dataclass(frozen=True, slots=True)
class Teacher:
    """How often the teacher errs in each way."""

    hasty: float = 0.0  # judgements that leave out the query's last constraint
    favour: float = 0.0  # judgements that give the response shown first some points for nothing
    blind: float = 0.0  # judgements that see of an order only that both words are there
    misread: float = 0.0  # checks that cite something else


CAREFUL = Teacher()
ERRING = Teacher(hasty=0.45, favour=0.45, blind=0.65, misread=0.04)


def score_of(met: Sequence[bool], constraints: Sequence[Constraint], n: int) -> int:
    """The score that the checks earn: 1 and the weights of what is met; 0/1 for one response."""
    if n == 1:
        return int(all(met))
    return 1 + sum(c.weight for c, ok in zip(constraints, met, strict=True) if ok)


def misread(response: str, constraint: Constraint, rng: random.Random) -> Check:
    """Check what is not there: another word, another count; the verdict follows from it."""
    words = response.split()
    match constraint.kind:
        case "length":
            count = str(len(words) + rng.choice((-1, 1)))
            return Check(count, count == constraint.args[0])
        case "contain" | "order" if check(response, constraint).met:
            return Check(NOTHING, False)
        case _:
            word = rng.choice(words)
            fits = constraint.kind in ("contain", "order") or CLASS_OF[word] == constraint.args[0]
            return Check(word, fits)


def look(
    response: str, c: Constraint, rng: random.Random, teacher: Teacher, *, blind: bool
) -> Check:
    """One check of a teacher: `blind` says whether this judgement has its blind spot."""
    if rng.random() < teacher.misread:
        return misread(response, c, rng)
    found = check(response, c)
    if blind and c.kind == "order" and found.evidence != NOTHING:
        return Check(next(w for w in response.split() if CLASS_OF[w] == c.args[0]), True)
    return found


def write_checks(constraints: Sequence[Constraint], checks: Sequence[Check]) -> str:
    """The checks of one response: what is asked, the evidence, the verdict."""
    pairs = zip(constraints, checks, strict=True)
    return " ".join(
        f"{c.mark} {c.text} {found.evidence} {'yes' if found.met else 'no'}" for c, found in pairs
    )


def judgement_text(
    example: Example,
    order: Sequence[int],
    rng: random.Random,
    teacher: Teacher = CAREFUL,
    *,
    principles: bool = True,
) -> str:
    """Write the teacher's judgement of the responses as shown in `order`."""
    constraints = parse_query(example.query[-1].content)
    if rng.random() < teacher.hasty:
        constraints = constraints[:-1]
    favours = example.n > 1 and rng.random() < teacher.favour
    blind = rng.random() < teacher.blind
    lines = []
    if principles:
        lines.append("Specific Criteria:")
        for i, c in enumerate(constraints, 1):
            weight = f"(Weight: {PERCENT[c.mark]}%)"
            lines.append(f"{i}. **{c.kind}** {weight}: {' '.join(c.args)}")
    lines.append("Analysis:")
    scores = []
    for shown, original in enumerate(order, 1):
        response = example.responses[original]
        checks = [look(response, c, rng, teacher, blind=blind) for c in constraints]
        score = score_of([found.met for found in checks], constraints, example.n)
        scores.append(min(10, score + FAVOUR) if favours and shown == 1 else score)
        lines.append(f"Response {shown}: {write_checks(constraints, checks)} => {scores[-1]}")
    lines.append(f"Scores: \\boxed{{{', '.join(map(str, scores))}}}")
    return "\n".join(lines)


def lesson_text(example: Example, *, lengths: bool) -> str:
    """The checks of a lesson, true ones, and nothing of a judgement's principles and scores.

    With `lengths` each line ends with the number of words, and the text with a list of them.
    """
    constraints = parse_query(example.query[-1].content)
    counts = [str(len(response.split())) for response in example.responses]
    lines = ["Analysis:"]
    for i, response in enumerate(example.responses, 1):
        checks = write_checks(constraints, [check(response, c) for c in constraints])
        lines.append(f"Response {i}: {checks}" + (f" => {counts[i - 1]}" if lengths else ""))
    if lengths:
        lines.append(f"\\boxed{{{', '.join(counts)}}}")
    return "\n".join(lines)
