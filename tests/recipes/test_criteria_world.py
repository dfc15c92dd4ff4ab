"""The synthetic world by criteria: what is taught is right, and another query's list is not."""

from __future__ import annotations

import asyncio
import re

import pytest

pytest.importorskip("trl")

from recipes.synthetic.criteria import (
    CHECKER,
    checked_text,
    examples_of,
    recall_line,
    true_criteria,
    writer_rows,
)
from recipes.synthetic.world import Constraint
from spct.core.generative import GenerativeRM
from spct.data.criteria_files import CriteriaFile, Listed
from spct.engines.scripted import ScriptedEngine
from spct.measure.estimator import by, credits_at
from spct.models.criteria import Lists
from spct.models.writer import read_list
from spct.types import Completion, Criteria, Prompt
from spct.votes.criteria import weighted

EXAMPLES = examples_of("test", 40, "test")
LISTED = tuple(Listed(e.query, None, true_criteria(e)) for e in EXAMPLES)


def taught(prompt: Prompt, seed: int) -> str:
    """What the judge should write, made from what it is shown."""
    text = prompt.messages[0].content
    lines = re.findall(r"^\d+\. (.+)$", text, re.MULTILINE)
    asked = [Constraint("must", kind, tuple(args)) for kind, *args in map(str.split, lines)]
    return checked_text(text.splitlines()[-2], asked)


def accuracy(source: Lists) -> float:
    judge = GenerativeRM(ScriptedEngine(taught), CHECKER, k=1, vote=weighted, source=source)

    async def judged() -> dict[int, float]:
        verdicts = [await judge.judge(example) for example in EXAMPLES]
        found = {v.example_id: v for v in verdicts}
        return dict(enumerate(credits_at(EXAMPLES, found, 1, by(weighted))))

    earned = asyncio.run(judged())
    return sum(earned.values()) / len(earned)


def test_a_judge_that_writes_what_it_is_taught_is_right_and_with_another_list_it_is_not() -> None:
    file = CriteriaFile("the true lists", None, LISTED)
    assert accuracy(Lists(file=file)) == 1.0
    assert accuracy(Lists(file=file, swapped=True)) < 0.8


def test_the_writer_is_taught_lists_that_are_read_as_the_true_ones() -> None:
    for row, example in zip(writer_rows(20), examples_of("writer", 20, "train"), strict=True):
        written = read_list(Completion(row["completion"][0]["content"]))
        assert isinstance(written, Criteria)
        told = [(c.text, c.weight) for c in written.items]
        assert told == [(c.text, c.weight) for c in true_criteria(example).items]


def test_recall_counts_constraints_and_their_weights() -> None:
    one, *_ = EXAMPLES
    true = true_criteria(one)
    n = len(true.items)
    half = Criteria(true.items[:1])
    assert f"({n} of {n};" in recall_line([one], [Listed(one.query, None, true)], 0)
    assert f"(1 of {n};" in recall_line([one], [Listed(one.query, None, half)], 0)
    assert "1 of 1 replies held no list" in recall_line([one], [], 1)
