"""Criteria on the page: cells, votes, gates, totals, and the formats that have none."""

import json

import pytest

from spct.types import Criteria, Criterion
from spct.view.criteria import by_criteria
from spct.view.run import RunView
from tests.view.runs import BY_CRITERIA, HOSTILE, checked, judged, write_run

# two samples: response 1 holds (1, 1, 0) and (1, 0.5, 0), response 2 (0, 0, 1) and (0, 0.5, 1)
TABLES = [[[1, 1, 0], [0, 0, 1]], [[1, 0.5, 0], [0, 0.5, 1]]]


def test_cells_votes_gates_and_totals_are_those_worked_by_hand():
    found = by_criteria(checked("burn", TABLES)[1])
    assert found["cells"][0] == [
        {"p": 1.0, "votes": [1, 1]},
        {"p": 0.75, "votes": [1, 0.5]},
        {"p": 0.0, "votes": [0, 0]},
    ]
    first, second = found["totals"]
    # (5 + 3 * 0.75) / 8, and (3 * 0.25 - 4) / 8 behind the gate of "cooling"
    assert (first["total"], first["gates"]) == (pytest.approx(7.25 / 8), [])
    assert (second["total"], second["gates"]) == (pytest.approx(-3.25 / 8), [0])
    assert second["clipped"] == 0


def test_a_reply_that_was_not_read_leaves_its_cells_without_a_vote():
    found = by_criteria(checked("burn", [TABLES[0], [[1, 1, 1], None]])[1])
    assert [cell["votes"] for cell in found["cells"][1]] == [[0, None], [0, None], [1, None]]
    assert found["totals"][1]["total"] == pytest.approx(-4 / 8)  # the other sample says it all
    lost = by_criteria(checked("burn", [[[1, 1, 1], None]])[1])
    assert [cell["p"] for cell in lost["cells"][1]] == [None] * 3 and lost["totals"][1] is None


def test_without_criteria_there_is_nothing_to_draw():
    assert by_criteria(judged("plain", [(9.0, 1.0)])[1]) is None


@pytest.fixture
def folder(tmp_path):
    pairs = [checked(f"burn-{i}", TABLES, gold=(1.0, 0.0), text=f"case {i}") for i in range(4)]
    return write_run(tmp_path / "run", pairs, BY_CRITERIA)


def test_totals_are_shown_on_no_scale_and_no_curve_is_made_of_scores_alone(folder):
    view = RunView(folder, "run")
    view.index.follow()
    assert view.facts()["scale"] is None
    assert view.figures()["curve"] is None  # votes over cells, which the index does not keep
    assert view.facts()["accuracy"]["point"] == 1.0
    shown = view.example("burn-0")
    assert shown["by_criteria"]["cells"] and shown["criteria"]["items"][0]["required"]
    assert [v["running"] for v in shown["votes"]["each"]] == [[0], [0]]


def test_a_redacted_page_keeps_kinds_weights_and_votes_and_no_text(run, tmp_path):
    secret = Criteria((Criterion("my secret name", "My secret statement", 2, required=True),))
    folder = write_run(
        tmp_path / "run",
        [checked("e", [[[1], [0]]], criteria=secret, text="a secret reply")],
        BY_CRITERIA,
    )
    page = tmp_path / "page.html"
    code, _, err = run("view", folder, "--export", page, "--redact")
    assert code == 0, err
    held = page.read_text("utf-8").split('id="data">')[1].split("</script>")[0]
    assert "secret" not in held
    found = json.loads(held)["examples"][0]["e"]
    (item,) = found["criteria"]["items"]
    assert (item["kind"], item["weight"], item["required"]) == ("met", 2, True)
    assert found["by_criteria"]["cells"][1][0] == {"p": 0.0, "votes": [0.0]}


def test_an_exported_page_holds_hostile_criteria_as_data(run, tmp_path):
    hostile = Criteria((Criterion(HOSTILE, HOSTILE, 1),))
    pair = checked("e", [[[1], [0]]], criteria=hostile, text=HOSTILE)
    folder = write_run(tmp_path / "run", [pair], BY_CRITERIA)
    code, _, err = run("view", folder, "--export", tmp_path / "page.html")
    assert code == 0, err
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.lower().count("</script") == 2


def test_show_prints_the_criteria_of_a_stored_judgement(run, folder):
    code, out, err = run("show", folder, "burn-1")
    assert code == 0, err
    assert "cooling" in out and "[required]" in out and "total (gates apart)" in out
