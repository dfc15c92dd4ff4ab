"""`spct batch`: a vendor that reorders, drops and errs, until everything is there."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from spct.models import batch
from tests.engines.fault_server import chat_reply


def vendor(request_file: Path, chance: random.Random) -> list[dict[str, Any]]:
    """What a batch API makes of a file of requests: a tenth dropped, a tenth failed, shuffled."""
    lines: list[dict[str, Any]] = []
    for text in request_file.read_text().splitlines():
        asked = json.loads(text)
        assert asked["method"] == "POST" and asked["url"] == "/v1/chat/completions"
        line = {"id": "x", "custom_id": asked["custom_id"], "response": None, "error": None}
        fate = chance.random()
        if fate < 0.1:
            continue
        if fate < 0.2:
            line["error"] = {"code": "batch_expired", "message": "too late"}
        elif fate < 0.3:
            line["response"] = {"status_code": 500, "body": {"error": {"message": "down"}}}
        else:
            body = chat_reply(asked["body"])
            if fate < 0.4:
                body["choices"] = body["choices"][:1]
            line["response"] = {"status_code": 200, "body": body}
        lines.append(line)
    chance.shuffle(lines)
    return lines


def test_a_round_trip_through_a_vendor_that_reorders_drops_and_errs(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 30)
    rows, folder, chance = tmp_path / "rows.jsonl", tmp_path / "r", random.Random(1)
    row = {"query": "Tide?", "responses": ["ebb", "flood"]}
    rows.write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(40)))
    price = ["--price", "input=2,output=8"]
    write = ["batch", "write", rows, "-k", "4", "--model", "m", *price, "-o", folder]
    for round_ in range(20):
        code, out, err = run(*write)
        assert code == 0, err
        if not out:
            break
        for file in map(Path, out.split()):
            assert len(file.read_text().splitlines()) <= 30
            answer = tmp_path / f"{round_}-{file.name}"
            answer.write_text("".join(json.dumps(one) + "\n" for one in vendor(file, chance)))
            code, _, told = run("batch", "read", folder, answer)
            assert code == 0, told
    assert "nothing is missing" in err and round_ > 1
    assert "40 examples, 160 judgements" in told and "examples lack replies" not in told
    code, out, _ = run("export", folder)
    verdicts = [json.loads(line) for line in out.splitlines()]
    assert [v["id"] for v in verdicts] == [str(i) for i in range(40)]
    assert all(v["k_counted"] == 4 for v in verdicts)
    used = [v["usage"] for v in verdicts]
    cost = sum(u["prompt_tokens"] * 1 + u["completion_tokens"] * 4 for u in used) / 1e6
    assert f"cost: {cost:,.4f} USD" in told, "half the price"
    code, _, told = run("batch", "read", folder, answer)  # once more changes nothing
    assert code == 0 and "replies" not in told.splitlines()[0]


def test_what_is_no_reply_of_this_batch_is_refused(run: Any, tmp_path: Path) -> None:
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "r"
    rows.write_text('{"query": "Tide?", "responses": ["ebb", "flood"]}\n')
    code, _, err = run("batch", "write", rows, "-o", folder)
    assert code == 2 and "name its model" in err
    code, _, err = run("batch", "write", rows, "--model", "m", "--stop", "exact", "-o", folder)
    assert code == 2 and "stopping rule" in err
    folder = tmp_path / "good"
    assert run("batch", "write", rows, "--model", "m", "-o", folder)[0] == 0
    answer = tmp_path / "a.jsonl"
    for text, said in (
        ('{"custom_id": "other", "response": null}\n', "is not of this run"),
        ('{"custom_id": "o', "not a whole file of JSON lines"),
        ("[1]\n", "expected a JSON object"),
    ):
        answer.write_text(text)
        code, _, err = run("batch", "read", folder, answer)
        assert code == 2 and said in err, err
    code, _, err = run("batch", "read", folder, tmp_path / "absent.jsonl")
    assert code == 2 and "absent.jsonl" in err
    code, _, err = run("batch", "read", tmp_path, answer)
    assert code == 5 and "is not the run of a batch" in err
