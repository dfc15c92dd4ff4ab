"""What the released sample code reads, right or wrong: only for comparison with its numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.text.format import POINTWISE
from spct.text.parse import TEN, Reading
from spct.text.released import read_released
from spct.types import Completion, Judgement


def scores(text, n=2):
    reading = read_released(text, n, TEN)
    return reading.group.scores if isinstance(reading, Reading) else reading.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Scores: \\boxed{8, 9}", (8, 9)),
        ("Scores: \\\\boxed{8, 9}", (8, 9)),
        ("Scores: [8, 9]", (8, 9)),
        ("\\boxed{8, 9} no, \\boxed{9, 8}", (9, 8)),
        ("Scores: \\boxed{0, 12}", (1, 10)),
        ("Scores: \\boxed{8, nine, 3}", (8, 3)),
        ("[[8, 1]]", "wrong_count"),
        ("\\boxed{8, 9} (see [1])", "wrong_count"),
        ("\\boxed{8/10, 9/10}", "wrong_count"),
        ("\\boxed{\\text{8}, \\text{9}}", "wrong_count"),
        ("\\boxed{8}, \\boxed{9}", "wrong_count"),
        ("8, 9", "no_verdict"),
    ],
)
def test_by_hand(text, expected):
    assert scores(text) == expected


def test_a_cut_reply_counts_only_there():
    cut = Completion("Scores: \\boxed{8, 9} and", "length")
    assert isinstance(POINTWISE.read(cut, (1, 0), parse="released"), Judgement)
    assert not isinstance(POINTWISE.read(cut, (1, 0)), Judgement)


@given(st.text())
def test_it_never_raises_and_never_leaves_the_scale(text):
    found = read_released(text, 2, TEN)
    assert not isinstance(found, Reading) or all(score in TEN for score in found.group.scores)
