"""The study's chat rows: a prompt in the compact templates, and what follows it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from recipes.synthetic.teacher import CAREFUL, ERRING, Teacher, judgement_text
from recipes.synthetic.world import draw_examples
from spct.core.plan import order_of
from spct.train.fitting import Row
from spct.train.sampling import Formats, formats_from
from spct.types import Example

HERE = Path(__file__).parent
SEED = 0


def study_formats() -> Formats:
    """The study's compact templates; their text says nothing, the weights learn the format."""
    return formats_from(str(HERE / "pointwise.txt"), str(HERE / "single.txt"))


def chat_row(
    example: Example, order: tuple[int, ...], text: str, formats: Formats, hint: int | None = None
) -> Row:
    """A prompt and the judgement (or lesson) that follows it."""
    prompt = formats.of(example).render(example, order, hint)
    return {
        "prompt": [{"role": "user", "content": prompt.messages[0].content}],
        "completion": [{"role": "assistant", "content": text}],
    }


def vocabulary_texts(count: int = 1500) -> Iterator[str]:
    """Texts with every piece that the world, the templates and the hints can contain."""
    formats, rng = study_formats(), random.Random("vocabulary")
    meta = "Score the responses to the query below.\n\n#### Conversation Context ####\nmust"
    yield meta + "\n\n#### Responses to be Scored ####\n[The Begin of Response 1]\n"
    yield "Analysis:\nResponse 1: contain"
    for example in draw_examples(SEED, count, "vocabulary"):
        order = tuple(range(example.n))
        for hint in (None, rng.randrange(example.n)) if example.n > 1 else (None,):
            yield formats.of(example).render(example, order, hint).messages[0].content
        yield judgement_text(example, order, rng, ERRING)


def cold_rows(count: int, teacher: Teacher = ERRING, *, principles: bool = True) -> list[Row]:
    """Judgements of an erring teacher; a quarter of the several-response prompts is hinted.

    The base must have seen a hint to follow one; under a hint the teacher makes no mistakes.
    """
    formats, rng = study_formats(), random.Random("cold")
    rows = []
    for i, example in enumerate(draw_examples(SEED, count, "cold")):
        order = order_of(example, 0, "random", SEED)
        hint = None
        if example.n > 1 and i % 4 == 0 and example.gold is not None:
            hint = example.gold.index(max(example.gold))
        how = teacher if hint is None else CAREFUL
        text = judgement_text(example, order, rng, how, principles=principles)
        rows.append(chat_row(example, order, text, formats, hint))
    return rows
