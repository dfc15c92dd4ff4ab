import pytest

from spct.errors import TrainError
from spct.train.pairs import PairFunnel, pairs_of
from spct.types import Example, Message

QUERY = (Message("user", "q"),)


def example(*gold: float, responses: str = "abcdef") -> Example:
    return Example("e", QUERY, tuple(responses[: len(gold)]), gold)


def test_n_way_rows_become_every_pair_with_a_winner() -> None:
    funnel = PairFunnel()
    pairs = pairs_of([example(1.0, 3.0, 1.0)], funnel)
    assert [(p.chosen, p.rejected, p.margin) for p in pairs] == [(1, 0, 2.0), (1, 2, 2.0)]
    assert (funnel.pairs, funnel.ties) == (2, 1)


def test_every_skip_is_counted_by_its_reason() -> None:
    funnel = PairFunnel()
    ungolden = Example("u", QUERY, ("a", "b"))
    rows = [
        example(1.0, 0.0),
        example(1.0, 1.0),
        example(1.0),
        ungolden,
        example(1.0, float("nan")),
        example(2.0, 1.0, responses="aa"),
    ]
    assert len(pairs_of(rows, funnel)) == 1
    assert str(funnel) == (
        "examples 6, no_gold 1, not_finite 1, single 1, ties 1, equal_responses 1, pairs 1"
    )


def test_no_pair_with_a_winner_at_all_is_an_error_with_the_counts() -> None:
    with pytest.raises(TrainError, match=r"got none .*ties 1"):
        pairs_of([example(0.5, 0.5)], PairFunnel())
