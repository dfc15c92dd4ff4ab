"""A tiny judge on disk, and examples of the synthetic world to train it on."""

import random
from pathlib import Path

import pytest

from recipes.synthetic.teacher import Teacher, judgement_text
from recipes.synthetic.world import draw_examples
from spct.text.format import SINGLE, Format, load_format
from spct.train.sampling import Formats
from spct.types import Completion, Example, Judgement, Message, Trajectory

TEMPLATES = Path(__file__).parents[2] / "recipes" / "synthetic"
PAIR = Example("pair", (Message("user", "must contain fox ; should length 3"),),
               ("sun fox sea", "sun tea"), (1.0, 0.0), subset="toy")  # fmt: skip


def judged(
    example: Example,
    scores: tuple[float, ...] | None,
    *,
    index: int = 0,
    hint: int | None = None,
    text: str = "",
    fmt: Format | None = None,
) -> Trajectory:
    """A trajectory whose judgement has these scores, or that is unscored."""
    fmt = fmt or Formats().of(example)
    order = tuple(range(example.n))
    shown = text or f"Scores: \\boxed{{{', '.join(map(str, scores or ()))}}} {index}"
    prompt = fmt.render(example, order, hint)
    completion = Completion(shown)
    outcome = Judgement((), "", scores) if scores else fmt.read(Completion("no verdict"), order)
    return Trajectory(example.id, index, index, prompt, completion, outcome, "test")


@pytest.fixture(scope="session")
def toy_formats() -> Formats:
    """The synthetic study's compact templates."""
    return Formats(
        load_format(TEMPLATES / "pointwise.txt"), load_format(TEMPLATES / "single.txt", SINGLE)
    )


@pytest.fixture(scope="session")
def toy_examples() -> list[Example]:
    """Sixteen examples, n = 1..5."""
    return draw_examples(3, 16, "toy")


def templated_rows(
    examples: list[Example], formats: Formats, **how: float
) -> list[dict[str, object]]:
    """Chat rows with the world's own judgements."""
    rng, rows = random.Random(0), []
    for example in examples:
        order = tuple(range(example.n))
        prompt = formats.of(example).render(example, order)
        text = judgement_text(example, order, rng, Teacher(misread=how.get("error_rate", 0.0)))
        rows.append(
            {
                "prompt": [{"role": "user", "content": prompt.messages[0].content}],
                "completion": [{"role": "assistant", "content": text}],
            }
        )
    return rows


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, toy_formats: Formats) -> str:
    """An untrained one-layer judge in a folder."""
    pytest.importorskip("trl")
    from recipes.synthetic.rows import vocabulary_texts
    from recipes.synthetic.tiny import save_new

    out = tmp_path_factory.mktemp("tiny")
    save_new(vocabulary_texts(), out, layers=1)
    return str(out)
