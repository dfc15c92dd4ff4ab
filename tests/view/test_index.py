import json
import os
import sqlite3

import pytest

from spct.cli.runs_list import list_runs
from spct.errors import DataError, StoreError
from spct.measure.runner import slug
from spct.view.index import Index
from spct.view.run import RunView
from tests.view.runs import HOSTILE, a_run, judged, write_run


@pytest.fixture
def index(tmp_path):
    index = Index(a_run(tmp_path / "run"))
    index.follow()
    return index


def ids(index, **filters):
    return [row["id"] for row in index.page(filters, offset=0, limit=50)["rows"]]


def test_rows_come_in_the_order_of_the_input_with_a_word_for_each(index):
    rows = index.page({}, offset=0, limit=50)["rows"]
    assert [(r["id"], r["outcome"]) for r in rows] == [
        ("right", "right"),
        ("wrong", "wrong"),
        ("tied", "tie"),
        ("lost", "unscored"),
        ("flips", "wrong"),
        ("three", "no gold"),
    ]
    lost, flips = rows[3], rows[4]
    assert (lost["reason"], lost["winner"], lost["margin"]) == ("truncated", None, None)
    assert (flips["flips"], flips["agreement"], flips["margin"]) == (1, 0.5, 1.5)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"outcome": "wrong"}, ["wrong", "flips"]),
        ({"reason": "truncated"}, ["lost"]),
        ({"subset": "facts"}, ["right", "wrong"]),
        ({"n": "3"}, ["three"]),
        ({"agreement": "0.5"}, ["flips"]),
        ({"flips": "1"}, ["flips"]),
        ({"q": "LAKE"}, ["wrong"]),
        ({"q": "100%"}, []),
        ({"outcome": "wrong", "subset": "odd"}, ["flips"]),
        ({"sort": "margin", "order": "desc"}, ["three", "right", "wrong", "flips", "tied", "lost"]),
    ],
)
def test_filters_and_sorting(index, filters, found):
    assert ids(index, **filters) == found


@pytest.mark.parametrize("filters", [{"sort": "text; DROP TABLE rows"}, {"n": "two"}])
def test_a_filter_that_makes_no_sense_is_a_data_error(index, filters):
    with pytest.raises(DataError, match="expected"):
        ids(index, **filters)
    assert len(ids(index)) == 6


def test_a_page_says_how_many_there_are_in_all(index):
    page = index.page({}, offset=2, limit=2)
    assert ([r["id"] for r in page["rows"]], page["total"]) == (["tied", "lost"], 6)


def test_a_run_that_grows_is_followed_and_a_new_verdict_replaces_the_old(tmp_path):
    folder = write_run(tmp_path, [judged("a", [(9.0, 1.0)], gold=(1.0, 0.0))])
    index = Index(folder)
    assert index.follow() == 1
    write_run(
        folder, [judged("b", [(9.0, 1.0)]), judged("a", [(1.0, 9.0)], gold=(1.0, 0.0))], start=1
    )
    assert index.follow() == 2
    rows = index.page({}, offset=0, limit=9)["rows"]
    assert {r["id"]: r["outcome"] for r in rows} == {"a": "wrong", "b": "no gold"}
    assert index.follow() == 0


def test_texts_of_verdicts_that_were_replaced_are_neither_found_nor_kept(tmp_path):
    folder = write_run(tmp_path, [judged("0", [(9.0, 1.0)], query="the old words")])
    index = Index(folder)
    index.follow()
    for n in range(3):  # a log that is a ring: the same ids again and again
        write_run(folder, [judged("0", [(9.0, 1.0)], query=f"words {n}")], start=n + 1)
        index.follow()
    assert ids(index, q="old words") == [] and ids(index, q="words 2") == ["0"]
    with sqlite3.connect(folder / "view.db") as db:
        assert db.execute("SELECT count(*) FROM texts").fetchone() == (1,)


def test_an_index_of_a_run_that_was_set_aside_is_built_anew(tmp_path):
    index = Index(a_run(tmp_path))
    assert index.follow() == 6
    (tmp_path / "run.db").unlink()
    write_run(tmp_path, [judged("new", [(9.0, 1.0)])])
    assert index.follow() == 1 and ids(index) == ["new"]


def test_a_page_from_the_middle_has_the_rows_that_belong_there(tmp_path):
    pairs = [judged(f"e{i:04}", [(9.0, float(i % 7) + 1)], query="q") for i in range(1300)]
    index = Index(write_run(tmp_path, pairs))
    index.follow()
    for sort in ("head", "margin"):
        whole = index.page({"sort": sort}, offset=0, limit=2000)["rows"]
        assert len(whole) == 1300
        for offset in (0, 940, 1200):
            page = index.page({"sort": sort}, offset=offset, limit=100)["rows"]
            assert page == whole[offset : offset + 100]


def test_the_text_filter_counts_each_example_once_across_batches(tmp_path):
    pairs = [judged(f"e{i:04}", [(9.0, 1.0)], query=f"twin twin {i}") for i in range(300)]
    index = Index(write_run(tmp_path, pairs))
    index.follow()
    page = index.page({"q": "TWIN"}, offset=0, limit=10)
    assert page["total"] == 300 and len(page["rows"]) == 10
    assert ids(index, q="twin 299") == ["e0299"] and ids(index, q="twin 300") == []
    assert ids(index, q="twin 7", outcome="no gold")[:2] == ["e0007", "e0070"]


def test_a_damaged_row_is_left_out_and_the_others_stay(tmp_path):
    folder = a_run(tmp_path / "run")
    with sqlite3.connect(folder / "run.db") as db:
        db.execute("UPDATE verdicts SET payload = x'00' WHERE position = 1")
    index = Index(folder)
    index.follow()
    assert ids(index) == ["right", "tied", "lost", "flips", "three"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_gets_a_temporary_index(tmp_path):
    folder = a_run(tmp_path / "run")
    folder.chmod(0o500)
    index = Index(folder)
    index.follow()
    assert index.is_temporary and len(ids(index)) == 6


def test_a_damaged_row_is_left_out_and_said(tmp_path):
    folder = a_run(tmp_path / "run")
    with sqlite3.connect(folder / "run.db") as db:
        db.execute("UPDATE verdicts SET payload = x'00ff' WHERE rowid = 2")
    view = RunView(folder, "run")
    view.index.follow()
    page = view.page({}, offset=0, limit=50)
    assert (page["indexed"], page["damaged"], page["stored"]) == (5, 1, 6)


def test_a_foreign_file_of_the_indexs_name_is_left_alone(tmp_path):
    folder = a_run(tmp_path / "run")
    (folder / "view.db").write_text(
        "my notes, not a database, and longer than a header of SQLite " * 3
    )
    index = Index(folder)
    index.follow()
    assert index.is_temporary and len(ids(index)) == 6
    assert (folder / "view.db").read_text().startswith("my notes")
    index.close()


def test_hostile_texts_are_indexed(tmp_path):
    folder = write_run(
        tmp_path, [judged("h", [(9.0, 1.0)], query=HOSTILE, responses=(HOSTILE, "b"))]
    )
    index = Index(folder)
    index.follow()
    assert ids(index, q="<script>") == ["h"]


def test_a_first_screen_does_not_wait_for_the_whole_index(tmp_path):
    view = RunView(a_run(tmp_path / "run"), "run")
    with view.index._writing:  # a follower that is at a large run
        page = view.page({}, offset=0, limit=50)  # would wait for ever
        assert page["indexed"] == 0 and page["stored"] == 6
    assert view.page({}, offset=0, limit=50)["indexed"] == 6


def test_a_part_of_a_benchmark_is_voted_as_its_run_says(tmp_path):
    folder = tmp_path / "parts" / slug("m x") / "b" / "sampled"
    write_run(folder, [judged("a", [(9.0, 1.0)] * 2)], {"engine": "e"})
    assert RunView(folder, "m").settings.vote.name == "mean"
    config = {"parts": {"m x": {"b.sampled": {"vote": "majority", "scale": [0, 1]}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = RunView(folder, "m").settings
    assert found.vote.name == "majority" and (found.scale.low, found.scale.high) == (0, 1)


def test_runs_list_shows_every_run_and_says_which_it_left_out(tmp_path, capsys, caplog):
    a_run(tmp_path / "first")
    write_run(tmp_path / "parts" / "second", [judged("x", [(9.0, 1.0)], gold=(1.0, 0.0))])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.db").write_bytes(b"not a database, and long enough " * 40)
    list_runs(tmp_path, as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    root = tmp_path.name
    assert [(run["name"], run["n"]) for run in found] == [
        (f"{root}/first", 6),
        (f"{root}/parts/second", 1),
    ]
    assert found[0]["unscored"] == 1 and found[0]["ties"] == 1
    assert "left out" in caplog.text and "damaged" in caplog.text
    list_runs(tmp_path)
    assert "| examples |" in capsys.readouterr().out
    with pytest.raises(StoreError, match="not a database"):
        list_runs(tmp_path / "damaged")
