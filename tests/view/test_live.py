"""A page that is open while runs are written: what begins later is taken in and followed."""

import time

from starlette.testclient import TestClient

from spct.view.api import create_app
from spct.view.run import follow_all, runs_in
from tests.view.runs import a_run, judged, write_run


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never true"
        time.sleep(0.02)


def test_a_part_that_begins_later_gets_a_place_behind_the_others(tmp_path, caplog):
    a_run(tmp_path / "parts" / "m" / "b" / "sampled")
    runs = runs_in([tmp_path])
    stop = follow_all(runs, [tmp_path], every_s=0.05)
    with TestClient(create_app(runs), base_url="http://127.0.0.1") as client:
        later = tmp_path / "parts" / "a" / "b" / "greedy"
        later.mkdir(parents=True)
        (later / "run.db").write_bytes(b"at its beginning")
        until(lambda: "not shown yet" in caplog.text)
        (later / "run.db").unlink()
        write_run(later, [judged("one", [(9.0, 1.0)])])
        until(lambda: len(runs) == 2)
        until(lambda: client.get("/api/runs").json()["runs"][1]["n"] == 1)
        names = [one["name"] for one in client.get("/api/runs").json()["runs"]]
        assert [name.rpartition("parts/")[2] for name in names] == ["m/b/sampled", "a/b/greedy"]
        write_run(later, [judged("two", [(1.0, 9.0)])], start=1)
        until(lambda: client.get("/api/list", params={"run": 1}).json()["total"] == 2)
        assert client.get("/api/example", params={"run": 1, "id": "two"}).json()["winner"] == 1
    stop.set()
    for one in runs:
        one.close()
