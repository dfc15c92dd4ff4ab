"""What every reward model owes to those who call it, whichever paradigm it is."""

import dataclasses
import json
from collections.abc import Callable

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.readouts.decision import Answer
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, DataError, FormatError
from spct.models.baselines import Baseline
from spct.models.critique import CritiqueScalarRM
from spct.models.decision import DecisionRM, asking
from spct.models.pairwise import PairwiseScalarRM
from spct.models.remote import RemoteRM
from spct.models.scalar import PointwiseScalarRM
from spct.protocols import RewardModel
from spct.text.format import PAIRWISE, SINGLE
from spct.types import Example, Message
from tests.models.scorers import FunctionScorer
from tests.models.test_decision import Says, likes


def scorer() -> FunctionScorer:
    return FunctionScorer(lambda talk: float(sum(len(m.content) for m in talk) % 17))


def first_of_all(state, question):
    rest = len(question.options) - 1
    return Answer((0.6, *(0.4 / rest for _ in range(rest))), 0.9)


MODELS: dict[str, Callable[[], RewardModel]] = {
    "generative": lambda: GenerativeRM(ScriptedEngine(), k=3),
    "generative, pairwise": lambda: GenerativeRM(ScriptedEngine(), PAIRWISE, k=2),
    "generative, single": lambda: GenerativeRM(ScriptedEngine(), SINGLE, k=2),
    "pointwise": lambda: PointwiseScalarRM(scorer()),
    "pairwise": lambda: PairwiseScalarRM(scorer()),
    "critique": lambda: CritiqueScalarRM(ScriptedEngine(), scorer(), k=2),
    "decision": lambda: DecisionRM(Says(likes("word")), asking("score")),
    "decision, choice": lambda: DecisionRM(Says(first_of_all), asking("choice")),
    "length": lambda: Baseline("length"),
    "random": lambda: Baseline("random", 3),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> RewardModel:
    return MODELS[request.param]()


def example(n: int) -> Example:
    texts = tuple(f"{'word ' * (3 * i + 1)}which" for i in range(n))
    return Example(f"e{n}", (Message("user", "Which word is it?"),), texts)


async def test_traits_say_which_numbers_of_responses_it_takes(model: RewardModel) -> None:
    for n in (1, 2, 3, 5):
        if model.traits.takes(n):
            assert (await model.judge(example(n))).k_asked >= 1
        else:
            with pytest.raises(FormatError):
                await model.judge(example(n))


async def test_traits_say_whether_it_shows_a_reference(model: RewardModel) -> None:
    shown = dataclasses.replace(example(max(model.traits.min_responses, 1)), reference="It is so.")
    if model.traits.takes_reference:
        await model.judge(shown)
    else:
        with pytest.raises((FormatError, DataError)):
            await model.judge(shown)


async def test_settling_stored_judgements_gives_the_verdict_again(model: RewardModel) -> None:
    verdict = await model.judge(example(2 if model.traits.takes(2) else 1))
    if verdict.trajectories:
        again = model.settle(verdict.example_id, verdict.trajectories, verdict.k_asked)
        assert (again.rewards, again.best) == (verdict.rewards, verdict.best)


def test_it_is_frozen_and_changed_by_copies(model: RewardModel) -> None:
    field = sorted(model.traits.settings)[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(model, field, None)
    if "concurrency" in model.traits.settings:
        assert model.with_(concurrency=7).concurrency == 7 != model.concurrency
    with pytest.raises(ConfigError, match="no setting nonsense"):
        model.with_(nonsense=1)


def test_its_identity_is_json_and_moves_with_what_verdicts_depend_on(model: RewardModel) -> None:
    assert json.loads(json.dumps(model.identity()))
    for name, value in {"seed": 12, "k": 9, "temperature": 0.123, "max_tokens": 77}.items():
        if name in model.traits.settings and (name != "seed" or "length" not in model.fingerprint):
            assert model.with_(**{name: value}).identity() != model.identity(), name
    if "concurrency" in model.traits.settings:
        assert model.with_(concurrency=7).identity() == model.identity()


async def test_a_stream_gives_every_example_its_verdict(model: RewardModel) -> None:
    await model.open()
    n = model.traits.min_responses
    some = [dataclasses.replace(example(n), id=str(i)) for i in range(5)]
    found = {verdict.example_id async for verdict in model.judge_many(some)}
    assert found == {"0", "1", "2", "3", "4"}
    assert model.traits.gains_from_samples == ("k" in model.traits.settings)
    await model.aclose()
    await model.aclose()


async def test_a_gateway_is_a_reward_model_too() -> None:
    model = RemoteRM("http://127.0.0.1:9")
    assert model.traits.joins_groups and model.with_(concurrency=2).concurrency == 2
    assert json.dumps(model.identity()) and "EMPTY" not in repr(model)
    await model.aclose()
