"""One budget for a run: it is never exceeded, everybody gets a round, the least sure go first."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.settle import settle
from spct.errors import ConfigError
from spct.text.parse import TEN
from spct.types import Completion, Judgement, Prompt, Trajectory, Unscored, Usage
from spct.votes.budget import Budget, Item, Spending, read_budget
from spct.votes.predictive import doubt
from spct.votes.vote import davidson, mean_scores

REPLY = 50  # tokens at most


def drawn(id, m, *, n=2, lean=3, prompt=20, fails=False):
    """The verdict on the first m judgements of an example, the same whoever asks."""
    rng = random.Random(id)
    made = []
    for i in range(m):
        usage = Usage(prompt, rng.randint(1, REPLY), 1)
        scores = tuple(float(rng.randint(1, 7) + (lean if j == 0 else 0)) for j in range(n))
        outcome = Unscored("failed", "") if fails else Judgement((), "", scores)
        reply = Completion("", "error" if fails else "stop", usage=usage)
        made.append(Trajectory(id, i, i, Prompt(id, (), tuple(range(n))), reply, outcome, "t"))
    return settle(id, made, mean_scores, m)


def spend(budget, items, k=8, **leans):
    spending = Spending(budget, k, mean_scores, TEN, REPLY)
    steps = []
    for step in spending.steps(items):
        steps.append(step)
        for id, m in step.items():
            n = next(item.n for item in items if item.id == id)
            spending.add(drawn(id, m, n=n, lean=leans.get(id, 3)))
    return spending, steps


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2M-tokens", 2e6, "tokens"),
        ("500-calls", 500, "calls"),
        ("1.5k-tokens", 1500, "tokens"),
        (" 1B-Tokens ", 1e9, "tokens"),
    ],
)
def test_an_amount_is_read_with_its_unit(text, amount, unit):
    assert read_budget(text) == Budget(amount, unit)
    assert read_budget(str(read_budget(text))) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["", "500", "-5-calls", "2M", "2M tokens", "nan-calls", "5-eur"])
def test_no_other_amount_is_read(text):
    with pytest.raises(ConfigError, match="expected an amount and its unit, such as 2M-tokens"):
        read_budget(text)


def test_nothing_for_nothing():
    with pytest.raises(ConfigError, match="nothing can be drawn"):
        read_budget("0k-calls")


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
    st.integers(300, 20_000),
    st.sampled_from(["tokens", "calls"]),
    st.integers(1, 12),
)
def test_the_budget_is_kept_and_everybody_gets_a_round(sizes, amount, unit, k):
    items = [Item(f"e{i}", n, 10) for i, n in enumerate(sizes)]
    try:
        spending, steps = spend(Budget(amount, unit), items, k)
    except ConfigError as error:
        assert "one round of orders" in str(error)
        return
    spent = 0.0
    for item in items:
        m = max(step.get(item.id, 0) for step in steps)
        assert min(item.n, k) <= m <= k
        assert item.n > 1 or m == 1  # a single response has no winner that could change
        spent += spending.budget.cost(drawn(item.id, m, n=item.n).usage)
    assert spent == spending.spent <= amount


def test_the_least_sure_draw_first_and_the_sure_not_at_all():
    items = [Item(name, 2, 10) for name in ("sure", "torn", "tied")]
    spending, steps = spend(Budget(10, "calls"), items, k=8, sure=60, torn=0, tied=0)
    assert steps[0] == {"sure": 2, "torn": 2, "tied": 2}
    assert all("sure" not in step for step in steps[1:])
    assert spending.spent == 10


def test_a_cheaper_example_of_equal_doubt_goes_first():
    spending = Spending(Budget(1000, "tokens"), 8, mean_scores, TEN, REPLY)
    steps = spending.steps([Item("dear", 2, 1), Item("cheap", 2, 1)])
    next(steps)
    for id, prompt in (("dear", 200), ("cheap", 20)):
        rows = drawn("same", 2, prompt=prompt)
        spending.add(settle(id, rows.trajectories, mean_scores, 2))
    assert list(next(steps)) == ["cheap"]


def test_steps_depend_on_verdicts_alone():
    items = [Item(f"e{i}", 2, 10) for i in range(40)]
    _, steps = spend(Budget(4000, "tokens"), items)
    spending = Spending(Budget(4000, "tokens"), 8, mean_scores, TEN, REPLY)
    for step, expected in zip(spending.steps(items), steps, strict=True):
        assert step == expected
        for id in sorted(step, key=lambda id: random.Random(id).random()):  # another order of ends
            spending.add(drawn(id, step[id]))


def test_less_than_a_round_is_refused_by_name_and_early():
    items = [Item(f"e{i}", 2, 10) for i in range(100)]
    spending = Spending(Budget(99, "calls"), 8, mean_scores, TEN, REPLY)
    with pytest.raises(ConfigError, match="takes at least 100 calls"):
        next(spending.steps(items))
    n_steps = 0
    with pytest.raises(ConfigError, match=r"--budget 3000-tokens: one round .* takes about"):
        spending = Spending(Budget(3000, "tokens"), 8, mean_scores, TEN, REPLY)
        for step in spending.steps(items):
            n_steps += 1
            for id, m in step.items():
                spending.add(drawn(id, m))
    assert n_steps == 1  # 16 of 100 examples are enough to see it


def test_what_costs_nothing_or_failed_is_not_asked_for_again():
    spending = Spending(Budget(500, "tokens"), 8, mean_scores, TEN, REPLY)
    steps = spending.steps([Item("e", 2, 1), Item("f", 2, 1)])
    next(steps)
    spending.add(drawn("e", 2, lean=0))
    spending.add(drawn("f", 2, fails=True))
    assert list(next(steps)) == ["e"]
    free = Spending(Budget(500, "tokens"), 8, mean_scores, TEN, REPLY)
    steps = free.steps([Item("e", 1, 1)])
    next(steps)
    t = drawn("e", 1, n=1).trajectories[0]
    unpaid = Trajectory("e", 0, 0, t.prompt, Completion(""), t.outcome, "t")
    free.add(settle("e", [unpaid], mean_scores, 1))
    with pytest.raises(ConfigError, match="reported no tokens"):
        next(steps)


def test_a_vote_without_totals_is_refused():
    with pytest.raises(ConfigError, match="one budget for a run needs a vote that sums"):
        Spending(Budget(500, "calls"), 8, davidson, TEN, REPLY)


def test_doubt_of_nothing_a_tie_and_the_end():
    assert doubt([], 4, 9.0) == doubt([(5.0, 5.0)], 4, 9.0) == 1.0
    assert doubt([(9.0, 1.0)], 0, 9.0) == doubt([], 0, 9.0) == 0.0
    assert 0 < doubt([(9.0, 1.0, 2.0)], 4, 9.0) <= 1.0
