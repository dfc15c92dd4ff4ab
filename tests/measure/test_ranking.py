import json
import math
import random

import pytest

from spct.errors import DataError
from spct.measure.agreement import cohens_kappa
from spct.measure.outcomes import flips, outcome_of
from spct.measure.ranking import rank, systems_of
from spct.types import Example, Message, Verdict
from tests.view.runs import judged, write_run


def one(id, rewards, systems, lengths=None):
    texts = tuple("x" * n for n in lengths or [5] * len(rewards))
    example = Example(id, (Message("user", id),), texts, meta={"systems": list(systems)})
    top = tuple(i for i, r in enumerate(rewards) if r == max(rewards))
    return example, Verdict(id, tuple(rewards), top, (), 1, 1, 1, 1.0)


def test_win_rates_and_strengths_by_hand():
    # a beats b in three of four: Bradley-Terry's difference is ln 3, split around 0
    pairs = [one(f"q{i}", (1.0, 0.0) if i else (0.0, 1.0), "ab") for i in range(4)]
    found = rank(pairs, resamples=20)
    a, b = found.systems
    assert (a.name, a.win_rate.point, b.win_rate.point) == ("a", 0.75, 0.25)
    assert a.strength.point - b.strength.point == pytest.approx(math.log(3), abs=0.03)
    assert a.strength.low <= a.strength.point <= a.strength.high


def test_ties_count_one_half_and_equal_systems_are_equal():
    found = rank([one(f"q{i}", (1.0, 1.0), "ab") for i in range(6)], resamples=20)
    assert [s.win_rate.point for s in found.systems] == [0.5, 0.5]
    assert found.systems[0].strength.point == pytest.approx(0)


def test_a_system_that_wins_everything_has_a_finite_strength():
    found = rank([one(f"q{i}", (1.0, 0.0), "ab") for i in range(30)], resamples=20)
    assert found.systems[0].win_rate.point == 1.0
    assert math.isfinite(found.systems[0].strength.point)


def test_length_control_takes_out_what_length_alone_wins():
    # the judge looks at nothing but length, and a writes longer
    rng = random.Random(0)
    pairs = []
    for i in range(400):
        lengths = (rng.randint(50, 200), rng.randint(20, 170))
        pairs.append(one(f"q{i}", tuple(map(float, lengths)), "ab", lengths))
    a = next(s for s in rank(pairs, resamples=20).systems if s.name == "a")
    assert a.win_rate.point > 0.6
    assert a.length_controlled.low <= 0.5 <= a.length_controlled.high
    assert a.length_controlled.point < a.win_rate.point - 0.05


def test_unscored_verdicts_are_counted_and_rows_without_systems_left_out():
    example, verdict = one("u", (1.0, 0.0), "ab")
    unscored = Verdict("u", None, (), (), 1, 1, 0, None)
    nobody = Example("n", example.query, example.responses)
    found = rank([(example, unscored), (nobody, verdict), one("v", (1.0, 0.0), "ab")], resamples=5)
    assert (found.n_unscored, found.n_queries) == (1, 1)


@pytest.mark.parametrize("systems", ["ab", ["a"], 3])
def test_systems_that_do_not_fit_the_responses_are_refused(systems):
    example = Example("e", (), ("x", "y", "z"), meta={"systems": systems})
    with pytest.raises(DataError, match="one name per response"):
        systems_of(example)


def test_nothing_to_rank_is_an_error_that_says_what_rows_need():
    with pytest.raises(DataError, match=r"meta\.systems"):
        rank([one("q", (1.0,), "a")])


def test_the_command_prints_markdown_and_json(run, tmp_path):
    meta = {"systems": ["large", "small"]}
    pairs = [judged(f"e{i}", [(9.0, 1.0)], query=f"q{i}", meta=meta) for i in range(3)]
    folder = write_run(tmp_path / "run", pairs)
    code, out, _ = run("rank", folder)
    assert code == 0 and out.splitlines()[2].startswith("| large | 100.0")
    code, out, _ = run("rank", folder, "--json")
    assert [s["name"] for s in json.loads(out)["systems"]] == ["large", "small"]


def test_kappa_by_hand():
    # 20 items: both yes 8, both no 6, a yes b no 4, a no b yes 2
    pairs = [(1, 1)] * 8 + [(0, 0)] * 6 + [(1, 0)] * 4 + [(0, 1)] * 2
    chance = (12 * 10 + 8 * 10) / 400
    assert cohens_kappa(pairs) == pytest.approx((14 / 20 - chance) / (1 - chance))
    assert cohens_kappa([]) is None and cohens_kappa([(1, 1)] * 3) is None


@pytest.mark.parametrize(
    ("rewards", "gold", "found"),
    [
        ((9.0, 1.0), (1.0, 0.0), ("right", 1.0)),
        ((1.0, 9.0), (1.0, 0.0), ("wrong", 0.0)),
        ((5.0, 5.0), (1.0, 0.0), ("tie", 0.5)),
        (None, (1.0, 0.0), ("unscored", 0.0)),
        ((float("nan"), 1.0), (1.0, 0.0), ("unscored", 0.0)),
        ((9.0, 1.0), (1.0, 1.0), ("no gold", None)),
        ((9.0, 1.0), None, ("no gold", None)),
        ((1.0,), (1.0,), ("right", 1.0)),
        ((0.0,), (1.0,), ("wrong", 0.0)),
    ],
)
def test_the_word_for_a_verdict(rewards, gold, found):
    assert outcome_of(rewards, gold) == found


def test_orders_disagree_only_where_two_orders_have_different_winners():
    assert flips([((0, 1), (9, 1)), ((1, 0), (2, 5))]) == 1
    assert flips([((0, 1), (9, 1)), ((1, 0), (6, 5))]) == 0
    assert flips([((0, 1), (9, 1)), ((1, 0), None)]) is None
