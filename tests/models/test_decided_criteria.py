"""Criteria as questions to a decision model: one state a response, totals by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from spct.engines.readouts.decision import Answer, Answers, Question
from spct.errors import ConfigError, FormatError
from spct.models.decided_criteria import DecidedCriteriaRM
from spct.models.load import load_reward_model
from spct.runs.codec import dump_verdict, load_verdict
from spct.runs.criteria_rows import criteria_rows
from spct.types import Criteria, Criterion, Example, Message, Unscored, Usage, Verdict
from spct.votes.criteria import mean_cells

LIST = Criteria(
    (
        Criterion("cold", "Names the North sea", 3, required=True),
        Criterion("warm", "Names the Red sea", 2, "pitfall"),
        Criterion("long", "Explains the name", 1, "graded"),
    )
)
SEAS = Example("e", (Message("user", "Which sea?"),), ("North \\boxed{1}", "Red"), criteria=LIST)


class Reads:
    """A reader whose yes is likely where a word of the question stands in the state's response."""

    fingerprint = "reads"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def open(self) -> None:
        pass

    async def answer(self, state: str, questions: list[Question]) -> Answers:
        self.asked.append((state, len(questions)))
        return Answers([self.say(state, q) for q in questions], Usage(7, 0, 1))

    def say(self, state: str, question: Question) -> Answer | Unscored:
        if question.kind == "score":
            return Answer((0.0, 0.5, 0.5))
        is_there = any(sea in state and sea in question.instructions for sea in ("North", "Red"))
        return Answer((0.9, 0.1) if is_there else (0.2, 0.8))

    async def aclose(self) -> None:
        pass


def judged(reader: Reads, example: Example = SEAS) -> Verdict:
    return asyncio.run(DecidedCriteriaRM(reader).judge(example))


def test_each_response_is_one_state_with_a_question_a_criterion_and_totals_are_by_hand() -> None:
    reader = Reads()
    verdict = judged(reader)
    assert [n for _, n in reader.asked] == [3, 3] and verdict.usage == Usage(14, 0, 2)
    assert mean_cells(verdict.trajectories) == ((0.9, 0.2, 0.75), (0.2, 0.9, 0.75))
    north = (3 * 0.9 + 0.75 - 2 * 0.2) / 4
    red = (3 * 0.2 + 0.75 - 2 * 0.9) / 4 - (1 + 2 / 4)  # the gate: below all that pass
    assert verdict.rewards == pytest.approx((north, red)) and verdict.winner == 0
    gates = [row["gate"] for row in criteria_rows(verdict)]
    assert gates == [False, False, False, True, False, False]
    assert "\\boxed{1}" not in reader.asked[0][0]
    assert load_verdict(dump_verdict(verdict)) == verdict


def test_a_question_without_an_answer_leaves_the_example_unscored_with_its_criterion() -> None:
    class Silent(Reads):
        def say(self, state: str, question: Question) -> Answer | Unscored:
            if "Red" in question.instructions and "Red" in state:
                return Unscored("no_probability", "0.1 on the options")
            return super().say(state, question)

    verdict = judged(Silent())
    assert verdict.rewards is None and verdict.unscored == {"no_probability": 1}
    outcome = verdict.trajectories[0].outcome
    assert isinstance(outcome, Unscored) and "'warm'" in outcome.detail


def test_without_a_list_nothing_is_asked() -> None:
    with pytest.raises(FormatError, match="has no criteria"):
        judged(Reads(), Example("e", SEAS.query, ("a",)))


def test_a_toml_file_names_it_and_a_questions_file_is_refused(tmp_path: Path) -> None:
    file, text = tmp_path / "d.toml", '[engine]\nkind = "scripted"\n[decision]\nask = "criteria"\n'
    file.write_text(text + 'reader = "tokens"\n')
    model = load_reward_model(file)
    assert model.traits.takes_criteria and model.identity()["aggregate"] == "weighted"
    asyncio.run(model.aclose())
    file.write_text(text + 'questions = "q.toml"\n')
    with pytest.raises(ConfigError, match="the questions are the criteria"):
        load_reward_model(file)
