"""Systems ranked by the verdicts on their answers: in the terminal, as JSON, and on the page."""

import json

import pytest

from tests.view.runs import a_run, judged, write_run

NAMES = ["alpha", "beta"]


@pytest.fixture
def folder(tmp_path):
    """alpha wins three of four."""
    scores = [(9.0, 1.0), (8.0, 2.0), (7.0, 3.0), (1.0, 9.0)]
    pairs = [
        judged(f"s{i}", [score], query=f"q{i}", meta={"systems": NAMES})
        for i, score in enumerate(scores)
    ]
    return write_run(tmp_path / "systems", pairs)


def test_rank_prints_a_table_and_json_of_the_same_figures(run, folder):
    code, out, err = run("rank", folder)
    assert code == 0, err
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert rows == ["system", "alpha", "beta"] and "75.0" in out and "4 queries" in out
    code, out, _ = run("rank", folder, "--json")
    first, second = json.loads(out)["systems"]
    assert (first["name"], first["win_rate"]["point"]) == ("alpha", 0.75)
    assert first["strength"]["point"] > 0 > second["strength"]["point"]


def test_rank_without_systems_says_what_rows_need(run, tmp_path):
    code, _, err = run("rank", a_run(tmp_path / "plain"))
    assert code == 2 and "meta.systems" in err


def test_the_page_of_several_runs_ranks_those_that_name_systems(run, tmp_path, folder):
    page = tmp_path / "page.html"
    code, _, err = run("view", a_run(tmp_path / "plain"), folder, "--export", page)
    assert code == 0, err
    held = page.read_text("utf-8").split('id="data">')[1].split("</script>")[0]
    ranking = json.loads(held)["boot"]["ranking"]
    assert [one["name"] for one in ranking["systems"]] == NAMES and ranking["n_queries"] == 4
