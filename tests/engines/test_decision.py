import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.engines.readouts.decision import (
    Answer,
    Question,
    averaged,
    checked,
    labels_of,
    normalised,
    read_labels,
    rotations,
    tempered,
)
from spct.errors import ConfigError, DataError
from spct.types import Unscored


def logs(**probabilities):
    return {token: math.log(p) for token, p in probabilities.items()}


def test_spellings_of_a_label_are_added_up_and_the_rest_is_mass():
    top = logs(A=0.3, B=0.2, C=0.1) | {" A": math.log(0.1), "Sure": math.log(0.3)}
    answer = read_labels(top, ("A", "B"))
    assert answer.probabilities == pytest.approx((0.4 / 0.6, 0.2 / 0.6))
    assert answer.option_mass == pytest.approx(0.6)


def test_two_tokens_whose_probability_is_known():
    answer = read_labels(logs(yes=0.8, no=0.2), ("yes", "no"))
    assert answer.probabilities == pytest.approx((0.8, 0.2)) and answer.expected == pytest.approx(
        0.2
    )


@pytest.mark.parametrize("bad", [float("nan"), 0.7, float("inf")])
def test_a_log_probability_that_cannot_be_is_unscored(bad):
    found = read_labels({"yes": math.log(0.9), "no": bad}, ("yes", "no"))
    assert isinstance(found, Unscored) and found.reason == "no_probability"


def test_minus_infinity_is_zero():
    answer = read_labels({"yes": math.log(0.9), "no": -math.inf}, ("yes", "no"))
    assert answer.probabilities == (1.0, 0.0)


def test_too_little_mass_is_unscored_and_says_how_much():
    found = read_labels(logs(yes=0.2, no=0.1, Well=0.7), ("yes", "no"))
    assert isinstance(found, Unscored) and "0.300" in found.detail


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ((0.5, 0.5, 0.0), "wrong_count"),
        ((0.5, float("nan")), "not_a_number"),
        ((0.5, -0.1), "not_a_number"),
        ((0.5, 0.1), "out_of_range"),
        ((0.9, 0.9), "out_of_range"),
    ],
)
def test_what_an_endpoint_calls_probabilities_must_be_a_distribution(given, reason):
    found = checked(given, 2)
    assert isinstance(found, Unscored) and found.reason == reason


def test_absolute_masses_above_one_are_no_probabilities():
    assert isinstance(normalised((0.8, 0.8)), Unscored)
    assert isinstance(normalised((0.0, 0.0), min_mass=0.0), Unscored)


def test_confidence_is_zero_for_uniform_and_one_for_certain():
    assert Answer((0.25,) * 4).confidence == pytest.approx(0.0)
    assert Answer((1.0, 0.0)).confidence == 1.0
    # H(0.9, 0.1) / ln 2 = 0.469
    assert Answer((0.9, 0.1)).confidence == pytest.approx(1 - 0.46899559, abs=1e-7)


def test_rotations_are_averaged_back_in_the_options_order():
    orders = rotations(3, 3)
    assert orders == ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    # a reader that always gives the first place 0.6, the second 0.3, the third 0.1
    found = averaged([(order, Answer((0.6, 0.3, 0.1), 0.9)) for order in orders])
    assert found.probabilities == pytest.approx(
        (1 / 3,) * 3
    ) and found.option_mass == pytest.approx(0.9)


def test_one_order_that_cannot_be_read_leaves_the_question_unscored():
    lost = Unscored("failed", "down")
    assert averaged([((0, 1), Answer((0.5, 0.5))), ((1, 0), lost)]) is lost


@given(st.floats(0.01, 0.99), st.floats(0.1, 10))
def test_a_temperature_divides_the_log_odds(p, temperature):
    a, b = tempered(Answer((p, 1 - p)), temperature).probabilities
    assert math.log(a / b) == pytest.approx(math.log(p / (1 - p)) / temperature, abs=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "choice", "options": ("a", "a")},
        {"kind": "choice", "options": tuple(map(str, range(256)))},
        {"kind": "score", "options": ("only",)},
        {"kind": "choice", "options": ("a", "b"), "texts": ("one",)},
    ],
)
def test_questions_that_cannot_be_asked_are_data_errors(bad):
    with pytest.raises(DataError):
        Question("q", instructions="?", **bad)


def test_labels_are_one_token_each_or_refused():
    assert labels_of(Question("q", "score", "?", tuple("abc"))) == ("0", "1", "2")
    assert labels_of(Question("q", "choice", "?", tuple("abc"))) == ("A", "B", "C")
    with pytest.raises(ConfigError, match="27 options"):
        labels_of(Question("q", "choice", "?", tuple(map(str, range(27)))))
