"""Credits, intervals and the curve against k, worked by hand."""

import math

import pytest

from spct.core.settle import settle
from spct.core.vote import majority, mean_scores
from spct.errors import DataError
from spct.measure.plots import save_figure
from spct.train.report import (
    credit,
    credits_at,
    curve_figure,
    difference,
    estimate,
    health,
)
from spct.types import Example, Message, Verdict
from tests.train.conftest import PAIR, judged


def verdict(*scores: tuple[float, ...] | None) -> Verdict:
    trajectories = [judged(PAIR, s, index=i) for i, s in enumerate(scores)]
    return settle(PAIR.id, trajectories, mean_scores, len(scores))


@pytest.mark.parametrize(
    ("rewards", "gold", "earned"),
    [
        (None, (1.0, 0.0), 0.0),  # nothing counted earns nothing
        ((9.0, 3.0), (1.0, 0.0), 1.0),
        ((3.0, 9.0), (1.0, 0.0), 0.0),
        ((9.0, 9.0), (1.0, 0.0), 0.5),
        ((9.0, 9.0, 9.0), (0.0, 1.0, 0.5), 1 / 3),
        ((9.0, 9.0, 1.0), (0.0, 0.5, 1.0), 0.0),
    ],
)
def test_a_tie_earns_its_chance(
    rewards: tuple[float, ...] | None, gold: tuple[float, ...], earned: float
) -> None:
    assert credit(rewards, gold) == pytest.approx(earned)


@pytest.mark.parametrize(
    ("mean", "gold", "earned"),
    [(0.75, 1.0, 1.0), (0.25, 1.0, 0.0), (0.5, 1.0, 0.5), (0.25, 0.0, 1.0)],
)
def test_a_single_response_is_right_by_the_side_of_its_mean(
    mean: float, gold: float, earned: float
) -> None:
    assert credit((mean,), (gold,)) == earned


def test_the_curve_starts_at_the_mean_over_single_judgements() -> None:
    verdicts = {PAIR.id: verdict((8, 3), (3, 8), (5, 5), None)}
    # 1 + 0 + 1/2 + 0 (unscored), over four
    assert credits_at([PAIR], verdicts, mean_scores, 1) == [pytest.approx(1.5 / 4)]
    # all four: sums 16 and 16
    assert credits_at([PAIR], verdicts, mean_scores, 4) == [0.5]
    assert credits_at([PAIR], verdicts, majority, 4) == [0.5]


def test_a_vote_on_more_than_is_stored_is_an_error() -> None:
    with pytest.raises(DataError, match="only 1 are stored"):
        credits_at([PAIR], {PAIR.id: verdict((8, 3))}, mean_scores, 2)


def test_the_interval_is_normal_over_examples() -> None:
    """Mean 1/2 of 0, 1, 0, 1: sample variance 1/3, half width 1.96 sqrt(1/12)."""
    found = estimate([0.0, 1.0, 0.0, 1.0])
    assert found.mean == 0.5
    assert found.half_width == pytest.approx(1.959964 * math.sqrt(1 / 12))
    assert not found.is_positive
    assert str(estimate([1.0, 1.0])) == "100.0 ± 0.0"
    with pytest.raises(DataError):
        estimate([1.0])


def test_a_difference_is_paired() -> None:
    a, b = [1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]
    assert difference(a, b).mean == 0.25
    assert difference(a, a).half_width == 0.0
    with pytest.raises(ValueError, match="zip"):
        difference(a, b[:2])


def test_health_counts_unscored_and_ties() -> None:
    found = health([verdict((8, 3), (5, 5)), verdict(None, (1, 2))])
    assert found.unscored == 0.25
    assert found.ties == 0.25


def test_an_example_of_one_response_counts_in_the_curve() -> None:
    one = Example("one", (Message("user", "q"),), ("r",), (1.0,))
    trajectories = [judged(one, (s,), index=i) for i, s in enumerate((1.0, 1.0, 0.0))]
    # scores () are unscored, so only those given count
    verdicts = {"one": settle("one", trajectories, mean_scores, 3)}
    assert credits_at([one], verdicts, mean_scores, 3) == [1.0]
    assert credits_at([one], verdicts, mean_scores, 1) == [pytest.approx(2 / 3)]


@pytest.mark.slow
def test_the_figure_is_written_as_png_and_svg(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("matplotlib")
    points = {k: estimate([0.0, 1.0, 1.0]) for k in (1, 2, 4)}
    paths = save_figure(curve_figure({"rl": points}, "t"), tmp_path / "f")
    assert [p.suffix for p in paths] == [".png", ".svg"]
    assert all(p.stat().st_size > 1000 for p in paths)
    again = save_figure(curve_figure({"rl": points}, "t"), tmp_path / "again")
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]
