"""One stored run of judgements gives one number, whichever command shows it.

A judge with noise, ties and unreadable replies is recorded once. Everything below judges by
replaying that run: an engine that answers from its store alone, so a figure that differs can only
come from the arithmetic.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from spct.cli.runs import export
from spct.core.generative import GenerativeRM
from spct.data.rows import read_examples
from spct.engines.scripted import ScriptedEngine
from spct.measure.benchmarks import ours
from spct.measure.compare import Comparison, compare
from spct.measure.intervals import Interval
from spct.measure.loading import load_benchmark
from spct.measure.report import Settings, benchmark_report
from spct.measure.runner import Job, run_job
from spct.runs.engines import RecordingEngine
from spct.runs.judging import Tally
from spct.runs.store import Store
from spct.train.config import RftDataConfig
from spct.train.dev import accuracy_of
from spct.train.evaluate import EvaluateConfig, Report, evaluate
from spct.train.rft import build
from spct.train.sampling import Formats
from spct.types import Example, Prompt, Verdict
from tests.measure.makers import write

K, KS = 8, (1, 2, 4, 8)
Found = dict[str, Any]


def noisy(prompt: Prompt, seed: int) -> str:
    """Right two times of three, now and then a tie or no verdict at all."""
    rng = random.Random(seed)
    if rng.random() < 0.12:
        return "I would rather not."
    shown = prompt.messages[0].content.split("[The Begin of Response ")[1:]
    right, low = rng.random() < 0.67, rng.choice((3, 8))
    scores = [8 if ("good" in text) == right else low for text in shown]
    return f"Analysis: a\nScores: \\boxed{{{', '.join(map(str, scores))}}}"


def unasked(prompt: Prompt, seed: int) -> str:
    raise AssertionError(f"{prompt.example_id} is not in the run")


def judge(engine: Any, *, k: int = K, temperature: float = 0.5) -> GenerativeRM:
    """As the pipeline samples: a fresh order for each sample."""
    return GenerativeRM(engine, k=k, orders="random").with_(temperature=temperature)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = random.Random(5)
    rows = []
    for i in range(40):
        n = 2 + i % 2
        best = rng.randrange(n)
        rows.append(
            {
                "id": f"e{i}",
                "query": f"query {i // 2}",  # two examples a prompt: they are resampled together
                "responses": [f"{'good' if j == best else 'bad'} {i} {j}" for j in range(n)],
                "gold": [float(j == best) for j in range(n)],
            }
        )
    write(tmp_path / "data.jsonl", rows)
    return tmp_path / "data.jsonl"


async def recorded(data: Path, folder: Path) -> tuple[dict[str, Verdict], dict[str, Verdict]]:
    """The run: sampled verdicts, then greedy ones, in one store."""
    with Store.open(folder, {"made": "once"}) as store:
        engine = RecordingEngine(ScriptedEngine(noisy), store)
        found = []
        for rm in (judge(engine), judge(engine, k=1, temperature=0.0)):
            verdicts = rm.judge_many(read_examples(str(data)))
            found.append({v.example_id: v async for v in verdicts})
    return found[0], found[1]


async def bench_shows(engine: Any, data: Path, folder: Path) -> tuple[Found, list[Found]]:
    loaded = load_benchmark(ours(data))
    parts = await run_job(Job({"m": judge(engine)}, K), [loaded], folder)
    report = benchmark_report(loaded, parts[data.name], Settings(KS))
    return report["rows"][0], report["rows"][1:]


async def pipeline_shows(engine: Any, examples: list[Example], folder: Path) -> Report:
    config = EvaluateConfig(k=K, full=("m",), guided=())
    return await evaluate({"m": engine}, examples, Formats(), config, folder)


async def test_the_same_judgements_give_the_same_number_through_every_command(
    data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    sampled, greedy_verdicts = await recorded(data, tmp_path / "run")
    examples = list(read_examples(str(data)))
    with Store.read(tmp_path / "run") as store:
        engine = RecordingEngine(ScriptedEngine(unasked), store)
        greedy, rows = await bench_shows(engine, data, tmp_path / "bench")
        compared: Comparison = await compare(examples, {"m": judge(engine)}, ks=KS, n_timed=1)
        piped = (await pipeline_shows(engine, examples, tmp_path / "pipeline")).models["m"]
    watched = accuracy_of(examples, greedy_verdicts, greedy_verdicts)

    # accuracy at each k, with the same interval
    bench = [Interval(**row["shared"]["overall"]) for row in rows]
    assert [p.accuracy for p in compared.curves[0].points] == bench
    assert [piped.voting[k] for k in KS] == bench
    assert len(set(bench)) == len(KS)  # four figures, not one four times
    # greedy
    assert piped.greedy == Interval(**greedy["shared"]["overall"])
    assert watched.forward == pytest.approx(piped.greedy.point)
    # what stands beside
    tally = Tally()
    for verdict in sampled.values():
        tally.add(verdict)
    assert 0.05 < tally.unscored_share < 0.2
    failures = {row["abstention"]["parse_failure_rate"] for row in rows}
    assert failures == {tally.unscored_share} == {piped.health.unscored}
    beside = [row["abstention"] for row in rows]
    points = compared.curves[0].points
    assert [p.unscored for p in points] == [a["unscored_rate"] for a in beside]
    assert [p.ties for p in points] == [a["tie_rate"] for a in beside]
    # what `spct export` writes of the same verdicts, read as anybody would
    export(tmp_path / "bench", str(tmp_path / "verdicts.csv"))
    with (tmp_path / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        earned = [float(r["correct"]) for r in csv.DictReader(file) if r["mode"] == "sampled"]
    assert len(earned) == len(examples)
    assert sum(earned) / len(earned) == pytest.approx(bench[-1].point)


async def test_every_command_with_a_store_asks_again_for_what_does_not_count(
    data: Path, tmp_path: Path
) -> None:
    examples = list(read_examples(str(data)))
    config = RftDataConfig(n_samples=K)
    numbers = {2: "8, 3", 3: "8, 3, 1"}
    mended = ScriptedEngine(
        lambda prompt, seed: f"Scores: \\boxed{{{numbers[len(prompt.order)]}}}", name="noisy"
    )

    async def benched(engine: Any, *, retry: bool) -> int:
        job = Job({"m": judge(engine)}, K, greedy=False, retry_unscored=retry)
        (part,) = (await run_job(job, [load_benchmark(ours(data))], tmp_path / "b"))[data.name]
        return sum(sum(v.unscored.values()) for v in part.verdicts.values())

    async def compared(engine: Any, *, retry: bool) -> int:
        with Store.open(tmp_path / "c", {}) as store:
            kept = tmp_path / "kept"
            await compare(examples, {"m": judge(engine)}, ks=(K,), n_timed=1, store=store,
                          verdicts=kept, retry_unscored=retry)  # fmt: skip
        with Store.read(kept / "m") as store:
            return sum(sum(v.unscored.values()) for v in store.verdicts())

    async def drawn(engine: Any, *, retry: bool) -> int:
        await build(examples, engine, Formats(), config, tmp_path / "d", retry_unscored=retry)
        with Store.read(tmp_path / "d") as store:
            return sum(sum(v.unscored.values()) for v in store.verdicts())

    for command in (benched, compared, drawn):
        lacking = await command(ScriptedEngine(noisy, name="noisy"), retry=False)
        assert lacking > 10
        before = mended.n_samples
        again = await command(mended, retry=False)
        assert again == lacking and mended.n_samples - before <= K  # at most what cost is timed on
        assert await command(mended, retry=True) == 0
        assert mended.n_samples - before <= lacking + 2 * K
