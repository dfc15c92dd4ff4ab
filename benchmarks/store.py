"""What the store costs: rows a second and CPU a call at 512 and 1,024 in flight, and a resume scan.

    python -m benchmarks.store [--calls 100000] [-k 1] [--folder DIR]

Each part runs in a process of its own, so that its peak memory is its own. "bare" awaits the same
engine without a store: the difference is what the store adds. Replies are 1.2 KB of random words,
prompts 3.6 KB; `-k` is the number of trajectories in each verdict that is written and scanned.
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
from collections.abc import Iterator
from pathlib import Path

from spct.protocols import Engine
from spct.runs.engines import RecordingEngine
from spct.runs.store import Store
from spct.types import (
    Completion,
    Judgement,
    Message,
    Principle,
    Prompt,
    SamplingParams,
    Trajectory,
    Usage,
    Verdict,
)

_RANDOM = random.Random(0)
WORDS = ["".join(_RANDOM.choices("etaoinshrdlu", k=_RANDOM.randint(2, 9))) for _ in range(2000)]


def words(size: int) -> str:
    """Text that compresses no better than prose does (to about a half)."""
    return " ".join(_RANDOM.choices(WORDS, k=size // 6))[:size]


REPLIES = [words(1200) for _ in range(500)]
QUESTIONS = [words(3600) for _ in range(500)]
REWARDS = (8.0, 5.0)


class EchoEngine(Engine):
    """Answers after `latency` seconds."""

    fingerprint = "echo"

    def __init__(self, latency: float) -> None:
        self._latency = latency

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        await asyncio.sleep(self._latency)
        return [reply_of(seed) for seed in params.seeds]

    async def aclose(self) -> None:
        pass


def reply_of(seed: int) -> Completion:
    return Completion(REPLIES[seed % len(REPLIES)], usage=Usage(900, 300, 1))


def prompt_of(i: int, order: tuple[int, ...] = (0, 1)) -> Prompt:
    text = f"{i} {QUESTIONS[i % len(QUESTIONS)]} {order}"
    return Prompt(f"example-{i}", (Message("user", text),), order)


async def drive(engine: Engine, calls: int, in_flight: int) -> None:
    numbers: Iterator[int] = iter(range(calls))

    async def worker() -> None:
        for i in numbers:
            await engine.sample(prompt_of(i), 1, SamplingParams(seeds=(i,)))

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def run_calls(folder: Path, calls: int, in_flight: int, kind: str) -> dict[str, float]:
    engine = EchoEngine(0.05)
    started, cpu = time.perf_counter(), time.process_time()
    if kind == "bare":
        asyncio.run(drive(engine, calls, in_flight))
    else:
        with Store.open(folder, {}, durable=kind == "durable") as store:
            asyncio.run(drive(RecordingEngine(engine, store), calls, in_flight))
    return measured(calls, started, cpu)


def trajectory_of(i: int, index: int, prompt: Prompt) -> Trajectory:
    drawn = reply_of(i + index)
    principle = Principle("Accuracy", "60%", drawn.text[:100])
    judgement = Judgement((principle,) * 3, drawn.text[300:], REWARDS)
    return Trajectory(prompt.example_id, index, i, prompt, drawn, judgement, "echo")


def verdict_of(i: int, k: int) -> Verdict:
    prompts = prompt_of(i), prompt_of(i, (1, 0))
    trajectories = tuple(trajectory_of(i, index, prompts[index % 2]) for index in range(k))
    return Verdict(prompts[0].example_id, REWARDS, (0,), trajectories, k, k, k, 1.0)


def write_verdicts(folder: Path, calls: int, k: int) -> dict[str, float]:
    numbers: Iterator[int] = iter(range(calls))
    started, cpu = time.perf_counter(), time.process_time()
    with Store.open(folder, {}) as store:

        async def worker() -> None:
            for i in numbers:
                await store.put_verdict(verdict_of(i, k), position=i)

        async def every() -> None:
            await asyncio.gather(*(worker() for _ in range(512)))

        asyncio.run(every())
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {**measured(calls, started, cpu), "file_mb": round(size / 2**20)}


def scan(folder: Path, calls: int) -> dict[str, float]:
    started, cpu = time.perf_counter(), time.process_time()
    with Store.open(folder, {}) as store:
        assert len(store.finished_ids()) == calls
    return measured(calls, started, cpu)


def measured(rows: int, started: float, cpu: float) -> dict[str, float]:
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds),
        "cpu_ms_per_row": round(1000 * (time.process_time() - cpu) / rows, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def run_part(part: str, folder: Path, calls: int, k: int) -> dict[str, float]:
    match part.split("@"):
        case ["verdicts"]:
            return write_verdicts(folder, calls, k)
        case ["scan"]:
            return scan(folder, calls)
        case [kind, in_flight]:
            return run_calls(folder, calls, int(in_flight), kind)
    raise ValueError(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("-k", type=int, default=1, help="trajectories of a verdict (default: 1)")
    parser.add_argument("--folder", type=Path, help="where to put the runs (default: a temporary)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(run_part(args.part, args.folder, args.calls, args.k)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        for name in ("bare@512", "store@512", "store@1024", "durable@512", "verdicts", "scan"):
            run = "verdicts" if name == "scan" else name
            folder = Path(temporary) / run
            command = [sys.executable, "-m", "benchmarks.store", "--part", name]
            command += ["--calls", str(args.calls), "-k", str(args.k), "--folder", str(folder)]
            print(f"{name:12}", subprocess.check_output(command, text=True).strip(), flush=True)


if __name__ == "__main__":
    main()
