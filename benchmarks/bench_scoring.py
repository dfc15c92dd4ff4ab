"""Scoring and bootstrap of stored judgements: seconds and peak memory.

    python -m benchmarks.bench_scoring [--judgements 100000] [-k 8] [--resamples 10000]

It writes verdicts of `k` judgements each into a store, as a run does, then in a process of its own
reads the store, votes, scores by the official and by the shared rule, measures bias, calibration
and cost, and bootstraps both scores. The goal is 10 s and 500 MB for 100,000 judgements.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spct.core.settle import settle
from spct.measure.benchmarks import ours
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.report import Settings, benchmark_report
from spct.measure.rows import Part, without_texts
from spct.runs.store import Store
from spct.types import Completion, Example, Judgement, Message, Prompt, Trajectory, Usage
from spct.votes.vote import mean_scores

TEXT = "word " * 200


def write_data(path: Path, n: int) -> None:
    rng = random.Random(0)
    with path.open("w") as file:
        for i in range(n):
            row = {
                "id": f"p{i}",
                "query": f"query {i} {TEXT}",
                "responses": [f"a {i} " + "x" * rng.randint(1, 400), f"b {i} {TEXT}"],
                "gold": [1, 0] if rng.random() < 0.5 else [0, 1],
                "subset": f"subset {i % 20}",
            }
            file.write(json.dumps(row) + "\n")


async def fill(store: Store, loaded: Loaded, k: int) -> None:
    rng = random.Random(1)
    batch = []
    for position, example in enumerate(loaded.examples):
        some = [_trajectory(example, i, rng) for i in range(k)]
        verdict = settle(example.id, some, mean_scores, k)
        batch.append(store.put_verdict(verdict, example, position=position))
        if len(batch) == 256:
            await asyncio.gather(*batch)
            batch = []
    await asyncio.gather(*batch)


def _trajectory(example: Example, index: int, rng: random.Random) -> Trajectory:
    order = (0, 1) if index % 2 == 0 else (1, 0)
    prompt = Prompt(example.id, (Message("user", TEXT * 3),), order)
    scores = (float(rng.randint(1, 10)), float(rng.randint(1, 10)))
    completion = Completion(TEXT, usage=Usage(600, 200, int(index < 2)))
    outcome = Judgement((), TEXT, scores)
    return Trajectory(example.id, index, index, prompt, completion, outcome, "fake")


def score(folder: Path, k: int, resamples: int) -> None:
    """What is timed: from the store on disk to every figure of the report."""
    loaded = load_benchmark(ours(folder / "data.jsonl"))
    started, cpu = time.perf_counter(), time.process_time()
    with Store.read(folder / "run") as store:
        verdicts = {v.example_id: without_texts(v) for v in store.verdicts()}
    read = time.perf_counter()
    part = Part("m", "sampled", verdicts, {})
    report = benchmark_report(loaded, [part], Settings((k,), resamples))
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = report["rows"][0]
    print(
        f"{row['abstention']['n_samples']} judgements in {len(verdicts)} verdicts,"
        f" {resamples} resamples: read {read - started:.2f} s, score and bootstrap"
        f" {done - read:.2f} s, together {done - started:.2f} s (CPU"
        f" {time.process_time() - cpu:.2f} s), peak {peak:.0f} MB; score {row['score']['overall']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judgements", type=int, default=100_000)
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="internal: score what is there")
    args = parser.parse_args()
    if args.folder:
        score(args.folder, args.k, args.resamples)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data.jsonl", args.judgements // args.k)
        loaded = load_benchmark(ours(folder / "data.jsonl"))
        with Store.open(folder / "run", {"made": "by bench_scoring"}) as store:
            asyncio.run(fill(store, loaded, args.k))
        command = [sys.executable, "-m", "benchmarks.bench_scoring", "--folder", name]
        command += ["-k", str(args.k), "--resamples", str(args.resamples)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
