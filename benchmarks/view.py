"""`spct view` on a large run: first screen, filters, the server's memory, and the export.

    python -m benchmarks.view [--examples 100000] [--folder DIR] [--only export|write|serve]

A run of pairs with four samples each is written by the store itself (DIR keeps it, so that the
parts can be measured one after the other where a machine is quiet for minutes only). The server is
the command that a person types, in a process of its own whose memory is read from outside; a
screen is what the page asks for before it can draw: the page, its script and style, and the list.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from benchmarks.store import words
from spct.core.settle import settle
from spct.runs.store import Store
from spct.types import (
    Completion,
    Example,
    Judgement,
    Message,
    Principle,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import mean_scores

SPCT = [sys.executable, "-c", "from spct.cli.main import main; main()"]
CONFIG = {"engine": "openai/host/judge", "judge.vote": "mean", "judge.format": "pointwise"}
TEMPLATE = words(3000)
K, BATCH, SUBSETS = 4, 500, ("chat", "code", "maths", "safety")
FILTERS = (
    {"outcome": "wrong"},
    {"outcome": "unscored", "reason": "truncated"},
    {"agreement": "0.5"},
    {"flips": "1"},
    {"subset": "code", "outcome": "wrong", "sort": "margin", "order": "desc"},
    {"n": "2", "sort": "tokens", "order": "desc"},
    {"sort": "head", "offset": "50000"},
    {"sort": "margin", "order": "desc", "offset": "50000"},
    {"q": "etaoin"},
    {"q": "no such words anywhere"},
)


def example_of(i: int, rng: random.Random) -> tuple[Example, Verdict]:
    query, responses = words(600), (words(900), words(700))
    example = Example(
        f"pair-{i}",
        (Message("user", query),),
        responses,
        gold=(1.0, 0.0),
        subset=SUBSETS[i % len(SUBSETS)],
    )
    lean = rng.gauss(1.0, 1.5)
    trajectories = []
    for sample in range(K):
        order = (0, 1) if sample % 2 == 0 else (1, 0)
        shown = "\n".join(f"[Response {j + 1}]\n{responses[o]}" for j, o in enumerate(order))
        prompt = Prompt(
            example.id, (Message("user", f"{TEMPLATE}\n{query}\n{shown}\nNow write."),), order
        )
        critique = f'Response 1 says "{responses[order[0]][:30]}". {words(800)}'
        scores = tuple(
            float(min(10, max(1, round(5 + s * lean + rng.gauss(0, 2))))) for s in (1, -1)
        )
        outcome = (
            Unscored("truncated", "no verdict before the last token")
            if rng.random() < 0.05
            else Judgement((Principle("Fit", "60%", words(120)),), critique, scores)
        )
        reply = Completion(f"{critique} \\boxed{{{scores}}}", usage=Usage(900, 250, sample < 2))
        trajectories.append(
            Trajectory(example.id, sample, i + sample, prompt, reply, outcome, "openai/host/judge")
        )
    return example, settle(example.id, trajectories, mean_scores, K)


def write_run(folder: Path, n: int) -> int:
    """A run of `n` examples; returns the bytes of its queries, responses and replies."""
    rng = random.Random(0)
    n_bytes = 0

    async def write(store: Store) -> None:
        nonlocal n_bytes
        for start in range(0, n, BATCH):
            pairs = [(i, *example_of(i, rng)) for i in range(start, min(start + BATCH, n))]
            await asyncio.gather(
                *(store.put_verdict(verdict, example, position=i) for i, example, verdict in pairs)
            )
            for _, example, verdict in pairs:
                texts = [*(m.content for m in example.query), *example.responses]
                texts += [t.completion.text for t in verdict.trajectories]
                n_bytes += sum(len(text.encode()) for text in texts)

    with Store.open(folder, CONFIG) as store:
        asyncio.run(write(store))
    return n_bytes


@contextmanager
def served(run: Path):
    """(process, address, seconds until it answered) of `spct view RUN`."""
    with tempfile.TemporaryFile("w+") as log:  # a file: nobody has to read a pipe
        started = time.perf_counter()
        command = [*SPCT, "view", str(run), "--no-browser"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while "http://" not in (said := _read(log)):
                if process.poll() is not None or time.perf_counter() - started > 120:
                    raise SystemExit(f"spct view did not start: {said}")
                time.sleep(0.01)
            address = said[said.index("http://") :].split()[0]
            get(address)
            yield process, address, time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(30)


def _read(log) -> str:
    log.seek(0)
    return log.read()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=120) as reply:
        return reply.read()


def screen(address: str, query: dict[str, str] | None = None) -> tuple[float, dict]:
    """Seconds until the page has what it draws, and the list's answer."""
    started = time.perf_counter()
    if query is None:
        for path in ("", "style.css", "app.js"):
            get(address + path)
    asked = urllib.parse.urlencode({"run": 0, "limit": 50, **(query or {})})
    found = json.loads(get(f"{address}api/list?{asked}"))
    return time.perf_counter() - started, found


def megabytes(process: subprocess.Popen, name: str) -> float:
    """A line of the process's /proc status: VmRSS is now, VmHWM its most so far."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def cpu_seconds(process: subprocess.Popen) -> float:
    """What the process has used: on a busy machine the figure that says something."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_server(run: Path, n: int) -> None:
    for kind in ("no index yet", "indexed"):
        with served(run) as (process, address, ready):
            seconds, found = screen(address)
            assert len(found["rows"]) == 50, found
            print(f"{kind}: starts in {ready:.2f} s, first screen {seconds:.2f} s (at most 1)")
            started = time.perf_counter()
            slowest = 0.0
            while found["indexed"] < n:
                seconds, found = screen(address)
                slowest = max(slowest, seconds)
                time.sleep(0.5)
            if slowest:
                took = time.perf_counter() - started
                print(f"  indexed in {took:.0f} s; slowest screen meanwhile {slowest:.2f} s")
            for query in FILTERS if kind == "indexed" else ():
                before = cpu_seconds(process)
                seconds, found = screen(address, query)
                used = cpu_seconds(process) - before
                total = found["total"]
                print(f"  {seconds:.2f} s (at most 0.5; {used:.2f} of CPU), {total} rows: {query}")
            started = time.perf_counter()
            get(f"{address}api/figures?run=0")
            print(f"  figures {time.perf_counter() - started:.2f} s")
            most, now = megabytes(process, "VmHWM"), megabytes(process, "VmRSS")
            print(f"  memory {most:.0f} MB at most (at most 200), {now:.0f} MB now")


def measure_export(folder: Path, n: int) -> None:
    n_bytes = write_run(folder / "small", n)
    page = folder / "page.html"
    started = time.perf_counter()
    subprocess.run([*SPCT, "view", str(folder / "small"), "--export", str(page)], check=True)
    seconds, size = time.perf_counter() - started, page.stat().st_size
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(
        f"export of {n} examples: {seconds:.2f} s (at most 5; {used:.2f} of CPU), {size:,} bytes,"
        f" {size / n_bytes:.2f} times query, responses and replies (at most 3)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keeps the large run for the next call")
    parser.add_argument("--only", choices=("export", "write", "serve"), help="one part of it")
    args = parser.parse_args()
    parts = (args.only,) if args.only else ("export", "write", "serve")
    with tempfile.TemporaryDirectory() as spare:
        run = (args.folder or Path(spare)) / "large"
        if "export" in parts:
            measure_export(Path(spare), 1000)
        if "write" in parts and not run.exists():
            started = time.perf_counter()
            write_run(run, args.examples)
            print(f"wrote {args.examples} examples in {time.perf_counter() - started:.0f} s")
        if "serve" in parts:
            for index in run.glob("view.db*"):
                index.unlink()
            measure_server(run, args.examples)


if __name__ == "__main__":
    main()
