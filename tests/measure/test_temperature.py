import math
import random

import pytest

from spct.errors import DataError
from spct.measure.temperature import binary_ece, fit_temperature, log_loss


def test_the_temperature_against_a_closed_form():
    # margins of +-m that are right with share p: the best T has sigmoid(m / T) = p
    margins, golds = [2.0] * 100, [1] * 80 + [0] * 20
    assert fit_temperature(margins, golds) == pytest.approx(2.0 / math.log(4), rel=1e-3)


def test_a_judge_that_is_calibrated_keeps_its_temperature():
    rng = random.Random(0)
    margins = [rng.gauss(0, 2) for _ in range(20_000)]
    golds = [int(rng.random() < 1 / (1 + math.exp(-m))) for m in margins]
    assert fit_temperature(margins, golds) == pytest.approx(1.0, abs=0.05)
    assert binary_ece(margins, golds) < 0.02
    assert binary_ece([3 * m for m in margins], golds) > 0.1


def test_log_loss_and_ece_by_hand():
    assert log_loss([0.0, 0.0], [1, 0]) == pytest.approx(math.log(2))
    # one bin: confidence sigmoid(ln 3) = 0.75, right half of the time
    assert binary_ece([math.log(3), math.log(3)], [1, 0]) == pytest.approx(0.25)
    assert binary_ece([0.0], [1]) == 0.0


def test_huge_margins_do_not_overflow():
    assert math.isfinite(log_loss([-1e4, 1e4], [1, 0]))


def test_too_few_rows_are_refused():
    with pytest.raises(DataError):
        fit_temperature([1.0], [1])
