import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spct.cli.compare import compare
from spct.errors import ConfigError, DataError
from spct.view.run import runs_in
from tests.models.tiny import toy_example

app = typer.Typer()
app.command()(compare)


def run(*args: str) -> str:
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "examples.jsonl"
    rows = [
        {
            "id": e.id,
            "query": e.query[0].content,
            "responses": list(e.responses),
            "gold": list(e.gold or ()),
        }
        for e in map(toy_example, range(6))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_compare_prints_the_tables_and_writes_the_figure(data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = run(data, "--model", "fake=scripted", "--out", str(out), "-k", "1,2,4", "--timed", "2")
    assert "6 examples; left out: none" in shown
    assert shown.count("| fake |") == 4
    assert {p.name for p in out.iterdir()} >= {"compare.md", "accuracy_vs_k.png", "report.html"}
    (view,) = runs_in([out])  # what the model said is a run; the store of replies is none
    assert view.name == "out/verdicts/fake" and view.facts()["n"] == 6
    assert all(row["outcome"] != "no gold" for row in view.page({}, offset=0, limit=9)["rows"])
    view.close()


def test_compare_prints_json_alone_on_stdout(data: str, tmp_path: Path) -> None:
    shown = run(data, "--model", "scripted", "--out", str(tmp_path / "o"), "-k", "1,2", "--json")
    found = json.loads(shown)
    assert found["n_examples"] == 6
    assert [p["k"] for p in found["curves"][0]["points"]] == [1, 2]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model", "scripted", "-k", "1,x"], "compare.samples"),
        (["--model", "a=scripted", "--model", "a=scripted"], "names must differ"),
        (["--model", "a=/absent"], "no such folder"),
    ],
)
def test_wrong_options_are_named(data: str, tmp_path: Path, args: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(data, *args, "--out", str(tmp_path / "o"))


def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"query": "q", "responses": []}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        run(str(path), "--model", "scripted", "--out", str(tmp_path / "o"))
