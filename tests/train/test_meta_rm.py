"""Meta labels, worked by hand."""

import pytest

from spct.errors import TrainError
from spct.train.meta_rm import (
    MetaFunnel,
    meta_rows,
    pos_weight,
)
from spct.types import Example
from tests.train.conftest import PAIR, judged


def test_labels_are_the_outcome_rule_and_everything_left_out_is_counted() -> None:
    no_best = Example("tied", PAIR.query, PAIR.responses, (1.0, 1.0))
    no_gold = Example("blank", PAIR.query, PAIR.responses)
    pairs = [
        (PAIR, judged(PAIR, (8, 3), index=0)),
        (PAIR, judged(PAIR, (3, 8), index=1)),
        (PAIR, judged(PAIR, (5, 5), index=2)),
        (PAIR, judged(PAIR, None, index=3)),
        (PAIR, judged(PAIR, (8, 3), index=4, hint=0)),
        (PAIR, judged(PAIR, (8, 3), index=0)),  # the same again
        (no_best, judged(no_best, (8, 3), index=0)),
        (no_best, judged(no_best, (3, 8), index=1)),
        (no_gold, judged(no_gold, (8, 3))),
    ]
    funnel = MetaFunnel()
    rows = meta_rows(pairs, "rft", funnel)
    assert [row["label"] for row in rows] == [1, 0, 0]
    assert (funnel.offered, funnel.kept) == (9, 3)
    assert (funnel.unscored, funnel.hinted, funnel.duplicates) == (1, 1, 1)
    assert funnel.skipped == {"no unique best": 2, "no gold": 1}
    assert (funnel.right, funnel.wrong) == ({"rft": 1}, {"rft": 2})


def test_a_row_is_the_prompt_without_instructions_and_the_reply() -> None:
    (row,) = meta_rows([(PAIR, judged(PAIR, (8, 3), text="the reply"))], "rft", MetaFunnel())
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"] == "the reply"
    assert "Responses to be Scored" in row["messages"][0]["content"]


def test_the_weight_of_positives_evens_the_classes_and_one_class_is_refused() -> None:
    assert pos_weight([1, 0, 0, 0]) == 3.0
    assert pos_weight([1, 1, 1, 0]) == pytest.approx(1 / 3)
    for one_class in ([1, 1], [0, 0], []):
        with pytest.raises(TrainError, match="both classes"):
            pos_weight(one_class)


def test_runs_that_leave_no_trajectory_say_what_became_of_them() -> None:
    funnel = MetaFunnel()
    assert meta_rows([(PAIR, judged(PAIR, None))], "rft", funnel) == []
    with pytest.raises(
        TrainError, match=r"none is left .*offered 1, hinted 0, unscored 1, skipped"
    ):
        funnel.check()
