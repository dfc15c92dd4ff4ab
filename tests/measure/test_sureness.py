"""How sure models are: log odds by hand, and calibration before and after a temperature."""

import asyncio
import math
import random

import pytest

from spct.measure.compare import compare
from spct.measure.compare_report import markdown
from spct.measure.sureness import log_odds, sureness
from spct.models.decision import DecisionRM, asking
from spct.protocols import Traits
from spct.types import Example, Message
from spct.votes.vote import sigmoid
from tests.models.test_decision import Says
from tests.serve.local import verdict

LOGITS = Traits(answers="logits")
PROBABLE = Traits(answers="itself", scale=(0, 1))


def test_log_odds_by_hand():
    assert log_odds((2.0, -1.0), (1.0, 0.0), LOGITS) == [3.0]
    assert log_odds((2.0, -1.0), (0.0, 1.0), LOGITS) == [-3.0]
    # summed margins of two are +m and -m, and m is the log odds
    assert log_odds((1.5, -1.5), (1.0, 0.0), Traits(answers="margins")) == [1.5]
    # a choice says its probability; two answers to yes or no are compared by their log odds
    assert log_odds((0.8, 0.2), (1.0, 0.0), PROBABLE) == pytest.approx([math.log(4)])
    assert log_odds((0.8, 0.5), (1.0, 0.0), PROBABLE) == pytest.approx([math.log(4)])
    assert len(log_odds((0.8, 0.5, 0.1), (1.0, 0.0, 0.0), PROBABLE)) == 2


def test_an_overconfident_model_is_mended_by_its_temperature():
    rng = random.Random(1)
    examples, verdicts = [], {}
    for i in range(4000):
        z = rng.gauss(0, 1.5)
        gold = (1.0, 0.0) if rng.random() < sigmoid(z) else (0.0, 1.0)
        one = Example(str(i), (Message("user", f"q{i}"),), ("a", "b"), gold)
        examples.append(one)
        verdicts[one.id] = verdict(one, (3 * z, 0.0))  # three times as sure as it may be
    found = sureness(examples, verdicts, LOGITS)
    assert found.n == 4000 and found.temperature == pytest.approx(3, rel=0.1)
    assert found.before > 0.1 > 0.03 > found.after
    assert sureness(examples, verdicts, Traits(answers="votes")) is None


def test_compare_shows_it_and_counts_both_orders_as_one_verdict():
    from spct.engines.readouts.decision import Answer

    # likes the first place a little and the word "good" much: one order alone may be wrong
    def say(state, question):
        first = 0.75 if state.index("good") < state.index("poor") else 0.45
        return Answer((first, 1 - first), 0.9)

    model = DecisionRM(Says(say), asking("choice"))
    examples = [
        Example(str(i), (Message("user", f"q{i}"),), ("good", "poor"), (1.0, 0.0))
        for i in range(20)
    ]
    found = asyncio.run(compare(examples, {"decider": model}, ks=[1]))
    # (0.75 + 0.55) / 2 for the good one: right in every pair
    assert found.curves[0].points[0].accuracy.point == 1.0
    sure = found.curves[0].sure
    assert sure.before == pytest.approx(1 - 0.65) and sure.option_mass == pytest.approx(0.9)
    assert found.curves[0].points[0].cost.prompt_tokens == 10
    assert "| decider | 20 | 0.350 |" in markdown(found)
