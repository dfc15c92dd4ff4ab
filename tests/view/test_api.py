import json

import pytest
from starlette.testclient import TestClient

from spct.view.api import create_app
from spct.view.run import RunView
from spct.view.shell import script, style
from tests.view.runs import HOSTILE, a_run, judged, write_run


@pytest.fixture
def client(tmp_path):
    runs = [RunView(a_run(tmp_path / "first"), "first")]
    runs[0].index.follow()
    with TestClient(create_app(runs), base_url="http://127.0.0.1:9") as client:
        yield client


def token(client):
    boot = client.get("/").text.split('id="boot">')[1].split("</script>")[0]
    return json.loads(boot)["token"]


def test_the_page_lets_nothing_in_but_its_own_files(client):
    reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert reply.text.count("<script") == 2 and "http://" not in reply.text.split("<body>")[0]
    assert "onclick=" not in reply.text.lower()


def test_all_scripts_and_styles_are_small_and_offline():
    assert len(script().encode()) + len(style().encode()) < 250_000
    assert "cdn" not in script().lower()


def test_list_example_and_figures(client):
    page = client.get("/api/list", params={"run": 0, "outcome": "wrong"}).json()
    assert [row["id"] for row in page["rows"]] == ["wrong", "flips"] and page["stored"] == 6
    found = client.get("/api/example", params={"run": 0, "id": "flips"}).json()
    assert found["outcome"] == "wrong"
    assert [v["running"] for v in found["votes"]["each"]] == [[0], [0], [0], [0]]
    assert [o["flips"] for o in found["votes"]["orders"]] == [False, True]
    figures = client.get("/api/figures", params={"run": 0}).json()
    assert figures["curve"]["k"] == [1, 2] and len(figures["rows"]) == 6


def test_the_head_counts_what_the_store_holds(client):
    (run,) = client.get("/api/runs").json()["runs"]
    assert (run["n"], run["ties"], run["unscored"], run["scale"]) == (6, 1, 1, [1, 10])
    # right 1, wrong 0, tie 1/2, unscored 0, flips 0: three halves of five
    assert run["accuracy"]["point"] == pytest.approx(1.5 / 5)


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/api/example", {"run": 0, "id": "nobody"}, 404),
        ("/api/example", {"run": 7, "id": "right"}, 404),
        ("/api/list", {"run": 0, "sort": "text"}, 404),
        ("/api/list", {"run": 0, "limit": 10**9}, 422),
        ("/api/list", {"run": "x"}, 422),
    ],
)
def test_what_is_not_there_is_said(client, path, params, status):
    reply = client.get(path, params=params)
    assert reply.status_code == status and reply.json()


def test_another_host_is_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_person_marks_and_agreement_is_counted(client):
    headers = {"x-spct-token": token(client)}
    for id, mark in (("right", 0), ("wrong", 0), ("tied", "tie"), ("three", "skip")):
        body = {"run": 0, "id": id, "mark": mark, "note": "n"}
        assert client.post("/api/mark", json=body, headers=headers).status_code == 200
    human = client.get("/api/runs").json()["runs"][0]["human"]
    assert (human["n"], human["agreement"]) == (3, pytest.approx(2 / 3))
    # shares: person 0, 0, tie; judge 0, 1, tie -> chance 2/9 + 1/9, kappa (2/3 - 1/3) / (2/3)
    assert human["kappa"] == pytest.approx(0.5)
    found = client.get("/api/example", params={"run": 0, "id": "wrong"}).json()
    assert found["human"] == {"mark": 0, "note": "n"}


@pytest.mark.parametrize("mark", [2, -1, True, 0.5, "yes", None, [0]])
def test_a_mark_that_is_no_verdict_is_refused_and_not_kept(client, tmp_path, mark):
    body = {"run": 0, "id": "right", "mark": mark}
    reply = client.post("/api/mark", json=body, headers={"x-spct-token": token(client)})
    assert reply.status_code == 404 and "expected" in reply.json()["error"]
    assert not (tmp_path / "first" / "human.jsonl").exists()


def test_a_write_without_the_pages_token_is_refused(client):
    assert client.post("/api/mark", json={"run": 0, "id": "right", "mark": 0}).status_code == 403
    wrong = {"x-spct-token": "guess"}
    reply = client.post("/api/mark", json={"run": 0, "id": "right", "mark": 0}, headers=wrong)
    assert reply.status_code == 403


def test_hostile_texts_leave_as_ascii_json(tmp_path):
    folder = write_run(tmp_path / "h", [judged("h", [(9.0, 1.0)], query=HOSTILE, text=HOSTILE)])
    run = RunView(folder, "</script><script>window.pwned=1</script>")
    run.index.follow()
    with TestClient(create_app([run]), base_url="http://127.0.0.1") as client:
        assert "<script>window" not in client.get("/").text
        body = client.get("/api/example", params={"run": 0, "id": "h"}).content
    assert body.isascii() and json.loads(body)["example"]["query"][0]["content"] == HOSTILE


def test_two_runs_are_compared_by_what_changed(tmp_path):
    pairs = [judged(f"e{i}", [(9.0, 1.0)], gold=(1.0, 0.0), query=f"q{i}") for i in range(4)]
    worse = [
        judged(f"e{i}", [(9.0, 1.0) if i else (1.0, 9.0)], gold=(1.0, 0.0), query=f"q{i}")
        for i in range(4)
    ]
    runs = [RunView(write_run(tmp_path / n, p), n) for n, p in (("a", pairs), ("b", worse))]
    for run in runs:
        run.index.follow()
    with TestClient(create_app(runs), base_url="http://127.0.0.1") as client:
        found = client.get("/api/compare", params={"a": 0, "b": 1}).json()
    assert [c["id"] for c in found["changed"]] == ["e0"] and found["n_both"] == 4
    assert found["difference"]["point"] == pytest.approx(-0.25)


@pytest.mark.parametrize(
    ("price", "run_cost", "example_cost"),
    [
        # 40 tokens read and 28 written in the run, half of them for each example
        ("input=1000,cached=10,output=2000", "0.0960 USD", "0.0480 USD"),
        ("prices.toml", None, None),  # a file that was not kept in the run
        (None, None, None),
    ],
)
def test_a_run_with_a_price_says_what_it_cost(tmp_path, price, run_cost, example_cost):
    pairs = [judged(id, [(9.0, 1.0)] * 2) for id in ("a", "b")]
    folder = write_run(tmp_path / "run", pairs)
    settings = {"settings": {"engine": {"price": price}}}
    (folder / "config.json").write_text(json.dumps(settings))
    run = RunView(folder, "run")
    run.index.follow()
    facts = run.facts()
    assert (facts["price"], run.example("a")["price"]) == (run_cost, example_cost)
    assert 0 <= facts["seconds"] < 60
