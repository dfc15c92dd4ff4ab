"""The gateway's judgement log: a run that the page opens, bounded, and silent about texts."""

import pytest

from spct.config import Config
from spct.errors import StoreError
from spct.models.decision import DecisionRM, asking
from spct.models.judges import build_judge
from spct.runs.store import Store
from spct.serve.config import ServeConfig
from spct.view.run import RunView
from tests.serve.local import scripted, served
from tests.serve.test_decisions import PICK, Reads

SECRET = "my diagnosis is private"


def body(n):
    return {"query": f"{SECRET} {n}", "responses": [f"{SECRET} first", "second"]}


async def test_the_last_verdicts_are_kept_without_texts_and_the_page_follows_them(tmp_path):
    folder = tmp_path / "log"
    config = ServeConfig(judgement_log=folder, judgement_log_max=3)
    async with served(scripted(k=4), config) as client:
        status, _ = await client.post("/v1/judge", body(0))
        assert status == 200
        view = RunView(folder, "log")  # while it is being written
        assert view.index.follow() == 1
        for n in range(1, 5):
            await client.post("/v1/judge", body(n))
        assert view.index.follow() == 3  # the last of five, in a ring of three
    rows = view.page({}, offset=0, limit=9)["rows"]
    assert [row["position"] for row in rows] == [2, 3, 4]
    shown = view.example("0")
    assert shown["example"]["responses"] == [f"[{len(SECRET) + 6} characters]", "[6 characters]"]
    assert shown["trajectories"][0]["scores"] and shown["votes"]["each"]
    view.close()
    for file in folder.iterdir():
        assert b"diagnosis" not in file.read_bytes()
    with Store.read(folder) as store:
        assert all("diagnosis" not in str(record) for record in store.records())


async def test_a_judgement_by_criteria_is_kept_without_their_words(tmp_path):
    criteria = [{"name": "private", "text": SECRET, "weight": 2, "required": True}]
    model = build_judge(Config(engine={"kind": "scripted"}, judge={"format": "met", "k": 2}))
    async with served(model, ServeConfig(judgement_log=tmp_path)) as client:
        status, said = await client.post("/v1/judge", {**body(0), "criteria": criteria})
        assert status == 200, said
    with Store.read(tmp_path) as store:
        (record,) = store.records()
    (item,) = record["criteria"]["items"]
    assert (item["kind"], item["weight"]) == ("met", 2.0) and SECRET not in str(record)


async def test_a_decision_models_answers_are_kept_like_judgements_without_their_words(tmp_path):
    config = ServeConfig(judgement_log=tmp_path)
    lost = {"type": "noul", "instructions": "lost"}
    async with served(DecisionRM(Reads(), asking("choice")), config) as client:
        asked = {"state": SECRET, "questions": {"pick": PICK, "gone": lost}}
        status, said = await client.post("/v1/systemone", asked)
        assert status == 200 and set(said["answers"]) == {"pick"}
    with Store.read(tmp_path) as store:
        picked, gone = store.records()
        assert "diagnosis" not in str([picked, gone])
    assert picked["rewards"] == [0.75, 0.25] and picked["best"] == [0]
    assert gone["rewards"] is None and gone["k_counted"] == 0
    view = RunView(tmp_path, "log")
    assert view.example("0")["trajectories"][0]["scores"] == [0.75, 0.25]
    view.close()


async def test_texts_are_kept_where_the_operator_says_so_and_a_restart_goes_on(tmp_path):
    config = ServeConfig(judgement_log=tmp_path, judgement_log_texts=True)
    for n in range(2):
        async with served(scripted(), config) as client:
            await client.post("/v1/judge", body(n))
    with Store.read(tmp_path) as store:
        assert [r["example"]["query"][0]["content"] for r in store.records()] == [
            f"{SECRET} 0",
            f"{SECRET} 1",
        ]
    async with served(scripted(k=3), config) as client:  # another recipe is another run
        await client.post("/v1/judge", body(2))
    with Store.read(tmp_path) as store:
        assert store.counts()["verdicts"] == 1
    assert (tmp_path / "run-1.db").is_file()


async def test_a_log_in_use_is_refused_before_serving(tmp_path):
    with Store.open(tmp_path, {}), pytest.raises(StoreError, match="in use"):
        async with served(scripted(), ServeConfig(judgement_log=tmp_path)):
            pass
