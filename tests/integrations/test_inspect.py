"""The scorer in a real Inspect AI evaluation, with recited answers as the policy."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.text.format import MET
from spct.votes.criteria import weighted
from tests.serve.local import Model, scripted

inspect_ai = pytest.importorskip("inspect_ai")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def inspects_streams_end_here() -> Iterator[None]:
    """Inspect leaves streams to the garbage collector: not during another test."""
    yield
    gc.collect()


def evaluate(model, tmp_path, **kwargs):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.solver import Generate, TaskState, solver

    from spct.integrations.inspect_scorer import reward

    answers = {"What is the sum of two and two?": "The sum is four", "Say something else": "no"}

    @solver
    def recite():
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            # Inspect's mock model counts tokens with a file that it downloads
            state.output = ModelOutput.from_content("mockllm", answers[state.input_text])
            state.messages.append(state.output.message)
            return state

        return solve

    questions, targets = list(answers), ("four", "x")
    task = Task(
        dataset=[
            Sample(input=q, target=t, metadata={"rubric": [f"Says {t} as the answer"]})
            for q, t in zip(questions, targets, strict=True)
        ],
        solver=recite(),
        scorer=reward(model, **kwargs),
    )
    (log,) = eval(task, model="mockllm/model", log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    return log


def test_a_sample_is_scored_by_the_reward_of_its_completion(tmp_path):
    log = evaluate(scripted(k=4), tmp_path)
    scores = [sample.scores["reward"] for sample in log.samples]
    assert all(1 <= score.value <= 10 for score in scores)
    assert scores[0].answer == "The sum is four" and "Scores:" in scores[0].explanation
    assert scores[0].metadata["k_counted"] == 4 and len(scores[0].metadata["scores"]) == 4
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(
        sum(score.value for score in scores) / 2
    )


def test_an_abstention_is_unscored_and_left_out_of_the_mean(tmp_path):
    model = Model(lambda e: None if "else" in e.query[-1].content else [7.0])
    log = evaluate(model, tmp_path)
    values = [sample.scores["reward"].value for sample in log.samples]
    assert values[0] == 7.0 and math.isnan(values[1])
    assert log.results.scores[0].metrics["mean"].value == 7.0
    assert log.results.scores[0].unscored_samples == 1


def test_the_target_is_a_reference_only_where_it_is_asked_for(tmp_path):
    for asked, reference in ((True, "four"), (False, None)):
        model = Model()
        evaluate(model, tmp_path, use_target=asked)
        assert {e.reference for e in model.judged} >= {reference}


def test_a_samples_metadata_brings_its_criteria(tmp_path):
    judge = GenerativeRM(ScriptedEngine(), MET, k=1, vote=weighted)
    log = evaluate(judge, tmp_path, criteria="rubric")
    scores = [sample.scores["reward"] for sample in log.samples]
    assert [score.value for score in scores] == [1.0, 0.0]
    assert scores[0].explanation == "Response 1: c1: It is there."
