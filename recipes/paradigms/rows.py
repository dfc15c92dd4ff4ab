"""What the teacher writes for each paradigm: critiques, and judgements as rows of a chat."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from recipes.paradigms.world import meets, parse_query, templated_judgement
from spct.core.plan import order_of
from spct.text.format import Format
from spct.train.fitting import Row
from spct.types import Example

SEED, ERROR_RATE = 0, 0.1


def teacher_critique(example: Example, response: str, rng: random.Random) -> str:
    """The checks of one response with their marks, and no score: the head must weigh them."""
    checks = []
    for c in parse_query(example.query[-1].content):
        ok = meets(response, c) != (rng.random() < ERROR_RATE)
        checks.append(f"{c.mark} {c.text} {'yes' if ok else 'no'}")
    return " ".join(checks)


def with_critiques(examples: Sequence[Example]) -> list[Example]:
    """The teacher's critiques in `meta`, as `spct train cloud` reads them."""
    rng = random.Random("critiques")
    return [
        replace(e, meta={"critiques": [teacher_critique(e, r, rng) for r in e.responses]})
        for e in examples
    ]


def pairwise_judgement(example: Example, order: Sequence[int], rng: random.Random) -> str:
    """The teacher's judgement, with the best one's number as its verdict; ties by lot."""
    text = templated_judgement(example, order, rng, error_rate=ERROR_RATE)
    head, _, verdict = text.rpartition("\\boxed{")
    scores = [int(score) for score in verdict.rstrip("}").split(",")]
    best = [i for i, score in enumerate(scores, 1) if score == max(scores)]
    return f"{head}\\boxed{{{rng.choice(best)}}}"


Write = Callable[[Example, Sequence[int], random.Random], str]


def judgement_rows(examples: Sequence[Example], fmt: Format, write: Write) -> list[Row]:
    """Chat rows of the teacher's judgements, responses in random order."""
    rng = random.Random(fmt.name)
    rows = []
    for e in examples:
        order = order_of(e, 0, "random", SEED)
        prompt = fmt.render(e, order).messages[0].content
        rows.append(
            {
                "prompt": [{"role": "user", "content": prompt}],
                "completion": [{"role": "assistant", "content": write(e, order, rng)}],
            }
        )
    return rows


def pointwise_judgement(example: Example, order: Sequence[int], rng: random.Random) -> str:
    """The teacher's judgement with one score per response."""
    return templated_judgement(example, order, rng, error_rate=ERROR_RATE)
