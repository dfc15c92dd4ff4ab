"""The study's page is written from what the pipeline's report holds, through JSON."""

import json

from recipes.synthetic.write import claims_table, guessing_lines, meta_lines, model_table
from spct.measure.intervals import Interval
from spct.measure.metrics import Health, calibrated
from spct.train.evaluate import MetaReport, ModelReport, Report


def record() -> dict[str, object]:
    calibration = calibrated([(0.75, 1.0), (0.25, 0.0)])
    assert calibration is not None
    half = Interval(0.5, 0.4, 0.6)
    model = ModelReport(half, {1: half, 8: Interval(0.75, 0.7, 0.8)}, Health(0.125, 0.25, 70.4))
    report = Report(
        40,
        models={"rl": model},
        meta={"rl": MetaReport(0.75, None, calibration, 0.5)},
        comparisons={
            "rl: Voting@8 - one sample": Interval(0.25, 0.1, 0.4),
            "rl - rft, one sample": Interval(0.01, None, None),
        },
    )
    return json.loads(json.dumps(report.record()))  # type: ignore[no-any-return]


def test_the_tables_say_what_the_report_holds() -> None:
    (models,) = model_table(record())
    row = "| rl | 50.0 [40.0, 60.0] | 50.0 [40.0, 60.0] | 75.0 [70.0, 80.0] |"
    assert row in models and "12.5% / 25.0% / 70" in models
    (claims,) = claims_table(record())
    assert "| Voting@8 above one sample (RL) | 25.0 [10.0, 40.0] | holds |" in claims
    assert "| RL above RFT | 1.0 | not shown |" in claims
    assert "| RFT above cold start | not measured |  |" in claims


def test_guessing_is_taken_off_both_ends_of_an_interval() -> None:
    lines = guessing_lines(record(), 0.45)
    assert "- rl, one sample: 5.0 [-5.0, 15.0] (not shown)" in lines
    assert "- rl, Voting@8: 30.0 [25.0, 35.0] (holds)" in lines


def test_the_meta_rm_s_line_names_what_it_lacks() -> None:
    (line,) = meta_lines(record(), None)
    assert "On 2 test trajectories of `rl` (50.0% right): AUC 0.750" in line
    assert "within an example none (one class), expected calibration error 0.250" in line
