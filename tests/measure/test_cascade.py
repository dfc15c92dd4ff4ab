"""The cascade: the model by hand, the fit against known worlds, and the control of equal cost."""

import asyncio
import math
import random

import pytest

from spct.errors import DataError
from spct.measure.cascade import Item, _slopes, _votes_for, fit_cascade
from spct.models.cascade import CascadeFit, CascadeRM, strengths
from spct.models.load import load_reward_model
from spct.protocols import Traits
from spct.types import Completion, Example, Judgement, Message, Prompt, Trajectory, Unscored, Usage
from tests.serve.local import Model

FIT = CascadeFit(threshold=0.8, first=1.0, second=0.5, both=(1.0, 0.25))


def run(awaitable):
    return asyncio.run(awaitable)


class Sampled(Model):
    """A model that gives these scores in one trajectory of a name."""

    traits = Traits(min_responses=2, scale=(0, 1))

    def __init__(self, name, scores):
        super().__init__()
        self.fingerprint, self.scores = name, scores

    async def judge(self, example):
        self.judged.append(example)
        said = Unscored("refused") if self.scores is None else Judgement((), "", self.scores)
        done = Completion("", usage=Usage(10, 0, 1))
        prompt = Prompt(example.id, example.query, (0, 1))
        t = Trajectory(example.id, 0, 0, prompt, done, said, self.fingerprint)
        return self.settle(example.id, [t], 1)


def cascade(first, second):
    return CascadeRM(Sampled("first", first), Sampled("second", second), FIT)


ASKED = Example("e", (Message("user", "?"),), ("a", "b"))


def test_a_sure_decision_is_not_judged():
    # odds 9 and 1/9: the difference of the log odds is 2 ln 9, so P = 81 / 82
    model = cascade((0.9, 0.1), (1.0, 9.0))
    verdict = run(model.judge(ASKED))
    assert verdict.rewards == pytest.approx((81 / 82, 1 / 82)) and model.second.judged == []
    assert verdict.k_drawn == 1 and verdict.usage.calls == 1


def test_an_unsure_one_is_judged_and_log_odds_are_added_up():
    model = cascade((0.6, 0.4), (1.0, 9.0))  # 2 ln 1.5 for the first, 8 / 4 for the second
    verdict = run(model.judge(ASKED))
    odds = math.exp(2 * math.log(1.5) - 2)
    assert verdict.rewards == pytest.approx((odds / (1 + odds), 1 / (1 + odds)))
    assert verdict.winner == 1 and verdict.k_drawn == 2 and verdict.usage.calls == 2
    assert [t.index for t in verdict.trajectories] == [0, 1]
    again = model.settle("e", verdict.trajectories, 2)
    assert again.rewards == verdict.rewards


def test_where_one_is_unscored_the_other_speaks_alone():
    first_lost = run(cascade(None, (1.0, 5.0)).judge(ASKED))
    assert first_lost.rewards[1] == pytest.approx(1 / (1 + math.exp(-2)))
    second_lost = run(cascade((0.6, 0.4), None).judge(ASKED))
    assert second_lost.rewards[0] == pytest.approx(2.25 / 3.25)
    both = run(cascade(None, None).judge(ASKED))
    assert both.rewards is None and both.unscored == {"refused": 2}


def test_strengths_are_log_odds_of_probabilities_and_levels_stay():
    assert strengths((0.5, 0.75), (0, 1)) == pytest.approx((0.0, math.log(3)))
    assert strengths((0.5, 4.0), (0, 4)) == (0.5, 4.0)
    assert all(map(math.isfinite, strengths((0.0, 1.0), (0, 1))))


def test_the_slope_of_one_margin_against_its_closed_form():
    # margins of +1 and -1, three to one: the likelihood's maximum is at log odds ln 3
    a, b = _slopes([(1.0, 0.0)] * 3000 + [(-1.0, 0.0)] * 1000)
    assert a == pytest.approx(math.log(3), abs=0.02) and b == 0.0


def world(n, first, judge, seed=0):
    """Items whose first response is right; each model's margin is its skill plus noise."""
    rng, items = random.Random(seed), []
    for i in range(n):
        s = rng.gauss(first, 1.5)
        votes = [rng.gauss(judge, 3.0) for _ in range(4)]
        credits = [sum(v > 0 for v in votes) / 4, float(sum(votes) > 0)]
        p = 1 / (1 + math.exp(-s / 2))
        mean = sum(votes) / 4
        gold = (1.0, 0.0)
        items.append(
            Item(str(i), gold, (p, 1 - p), (mean, 0.0), 10, 400, tuple(credits), (100.0, 400.0))
        )
    return items


def test_a_good_first_model_beats_votes_of_equal_cost_and_is_chosen():
    report = fit_cascade(world(400, first=1.0, judge=1.0), (1, 4), (0, 1))
    assert report.is_better and "is better" in report.markdown()
    assert report.points[report.chosen].accuracy > max(report.first_alone, report.votes[-1][1])
    assert report.points[0].escalated == 0 and report.points[-1].escalated == 1
    assert report.points[0].accuracy == report.first_alone
    assert all(a.tokens <= b.tokens for a, b in zip(report.points, report.points[1:], strict=False))


def test_a_first_model_that_knows_nothing_is_said_to_be_no_better():
    report = fit_cascade(world(400, first=0.0, judge=2.0), (1, 4), (0, 1))
    assert not report.is_better and "leave it off" in report.markdown()
    alone = fit_cascade(world(400, first=3.0, judge=0.0), (1, 4), (0, 1))
    assert not alone.is_better and "leave it off" in alone.markdown()


def test_a_budget_bounds_the_tokens():
    items = world(400, first=1.0, judge=2.0)
    report = fit_cascade(items, (1, 4), (0, 1), budget=150)
    assert report.points[report.chosen].tokens <= 150
    with pytest.raises(DataError, match="cheapest 10"):
        fit_cascade(items, (1, 4), (0, 1), budget=1)
    with pytest.raises(DataError, match="at least 20"):
        fit_cascade(items[:10], (1, 4), (0, 1))


def test_plain_votes_are_mixed_to_the_same_cost():
    items = [Item("p", (1.0, 0.0), None, None, 0, 0, (0.25, 0.75), (100.0, 300.0))]
    assert _votes_for(items, 200.0) == [0.5]
    assert _votes_for(items, 10.0) == [0.25] and _votes_for(items, 999.0) == [0.75]


def test_a_toml_file_names_a_cascade(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[cascade]\nfirst = "length"\nsecond = "scripted"\nthreshold = 0.9\nslope_first = 1\n'
        "slope_second = 1\nslopes_both = [1, 1]\n"
    )
    model = load_reward_model(tmp_path / "c.toml")
    assert "scripted" in model.fingerprint and model.traits.min_responses == 2
    assert run(model.judge(ASKED)).rewards is not None
