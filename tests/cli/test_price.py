"""`--price`: the bill of a run, cached tokens, the forecast, a budget in dollars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spct.engines.openai.openai_wire import read_reply
from spct.errors import ConfigError
from spct.types import Usage
from spct.votes.budget import read_budget
from spct.votes.price import Price


def test_the_cost_of_tokens_by_hand() -> None:
    price = Price.parse("input=2, output=10,cached=0.5")
    # 600,000 read anew at 2, 400,000 from the cache at 0.5, 100,000 written at 10
    assert price.cost(Usage(1_000_000, 100_000, 7, 400_000)) == pytest.approx(1.2 + 0.2 + 1.0)
    assert Price.parse("input=2,output=10").cached == 2
    assert Price.parse(str(price)) == price
    assert read_budget("20-usd", price).cost(Usage(1_000_000)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2", "expected input=0.25,output=2"),
        ("input=2", "output is missing"),
        ("input=-1,output=2", "input = -1"),
        ("input=nan,output=2", "input = nan"),
        ("inptu=1,output=2", "did you mean 'input'"),
    ],
)
def test_a_price_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Price.parse(text)


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 64}}, 64),
        ({"prompt_cache_hit_tokens": 64}, 64),
        ({"prompt_tokens_details": {"cached_tokens": 1000}}, 100),  # never more than were read
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
        ({"prompt_tokens_details": None}, 0),
    ],
)
def test_cached_tokens_are_read_and_shared_out_once(usage: Any, cached: int) -> None:
    choices = [{"index": i, "message": {"content": "x"}, "finish_reason": "stop"} for i in (0, 1)]
    usage = {"prompt_tokens": 100, "completion_tokens": 10, **usage}
    reply = read_reply(json.dumps({"choices": choices, "usage": usage}).encode(), 2)
    assert [c.usage.cached_tokens for c in reply.completions] == [cached, 0]
    assert sum((c.usage for c in reply.completions), Usage()) == Usage(100, 10, 1, cached)


def test_the_bill_is_in_the_summary_the_run_and_what_reads_it(run: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"query": "Tide?", "responses": ["ebb", "flood"]}
    rows.write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(10)))
    table = tmp_path / "prices.toml"
    table.write_text("[mine]\ninput = 1\noutput = 4\n[other]\ninput = 2\noutput = 8\n")
    args = ["sample", rows, "--engine", "scripted", "-k", "2", "-o", tmp_path / "r"]
    code, out, err = run(*args, "--price", table, "--model", "mine", "--dry-run")
    assert code == 0 and "10 examples, 20 judgements in 20 requests" in out
    assert "USD to read, at most" in out and not (tmp_path / "r").exists()
    code, _, first = run(*args, "--price", table, "--model", "mine")
    assert code == 0 and "cost: 0.0" in first
    bill = next(line for line in first.splitlines() if line.startswith("cost: "))
    code, _, again = run(*args, "--price", table, "--model", "mine")  # the bill is the whole run's
    assert code == 0 and bill in again
    assert bill in run("rescore", tmp_path / "r")[2]
    code, _, err = run(*args, "--price", table, "--model", "mien")
    assert code == 2 and "no table for the model 'mien'; did you mean 'mine'?" in err
    args[-1] = tmp_path / "b"
    code, _, err = run(*args, "--budget", "1-usd")
    assert code == 2 and "give --price too" in err
    code, _, err = run(*args, "--budget", "1-usd", "--price", "input=1,output=4")
    assert code == 0 and "usd; examples by judgements" in err


def test_the_bill_stands_in_the_reports_of_bench_and_compare(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"query": "Tide?", "responses": ["ebb", "flood"], "gold": [1, 0]}
    rows = [json.dumps(row | {"id": str(i), "query": f"Tide {i}?"}) for i in range(6)]
    Path("rows.jsonl").write_text("\n".join(rows))
    Path("mine.toml").write_text('[engine]\nkind = "scripted"\nprice = "input=1,output=4"\n')
    for models in (["mine.toml"], ["mine.toml", "--seed", "0", "--seed", "1"]):
        flags = [
            "-b",
            "rows.jsonl",
            "-k",
            "2",
            "--out",
            f"bench{len(models)}",
            "--progress",
            "none",
        ]
        args = ["bench", "first", *models, *flags, "--progress", "none", "--json"]
        code, out, err = run(*args)
        assert code == 0, err
        report = json.loads(out)
        price = Price.parse(report["prices"]["mine"])
        for one in report["benchmarks"][0]["rows"]:
            cost = price.cost(Usage(**one["cost"]))
            assert one.get("usd") == (None if one["model"].startswith("first") else cost)
    assert "| USD |" in Path("bench1/report.md").read_text()
    args = ["compare", "rows.jsonl", "-m", "first", "-m", "mine.toml", "-k", "1,2", "--out", "c"]
    code, out, err = run(*args, "--progress", "none")
    assert code == 0 and "USD / 1,000" in out, err
    kept = json.loads(Path("c/compare.json").read_text())
    assert list(kept["prices"]) == ["mine.toml"]
    cost = kept["curves"][1]["points"][0]["cost"]
    read, written = 1000 * cost["prompt_tokens"], 1000 * cost["completion_tokens"]
    assert f"{price.cost(Usage(round(read), round(written))):,.4f}" in out
