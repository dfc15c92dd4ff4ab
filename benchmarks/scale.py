"""Endpoints, shards, long inputs and merging, each as a ratio within one run or against a limit.

    python -m benchmarks.scale [endpoints] [shards] [rows] [resume] [merge] [ray] [--quick]

- endpoints: four mock endpoints of 50 ms, 16 in flight each, beside one; expected at least 3.6x
- shards: 8 processes beside one with 8 times their examples in flight; expected at least 0.9x
- rows: `spct sample` on a file of 1,000,000 rows: when a fresh run sends its first request, and how
  long and in how much memory one shard of 100,000 takes: all rows are read, checked and given their
  ids, and about ten are judged
- resume: the same command on a run that has all verdicts of such a file; expected in 60 s at most
- merge: 8 shards of the scripted judge, their rows copied to 100,000, put together; expected in 20
  s at most
- ray: `--ray local` with 2 actors beside two shards, over 60 s; expected at least 0.8x. It installs
  Ray in an environment of its own, and runs only where it is named

The mocks run in processes of their own on the same machine, so a busy one lowers every ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from spct.cli.process import fast_loop
from spct.engines.openai import OpenAIEngine
from spct.engines.openai.endpoints import Endpoint
from spct.errors import StoreError
from spct.runs.codec import encode
from spct.runs.rows import verdict_row
from spct.runs.shards import merge
from spct.runs.store import Store
from spct.types import Message, Prompt, SamplingParams
from tests.external.environments import RAY, environment
from tests.runs.conftest import endpoints

SPCT = [sys.executable, "-c", "from spct.cli.main import main; main()"]


def write_rows(file: Path, n: int) -> None:
    with file.open("w") as out:
        for i in range(n):
            row = {"id": f"e{i}", "query": f"Tide {i}? " + "why " * 100, "responses": ["ebb", "no"]}
            out.write(json.dumps(row) + "\n")


async def rate(urls: list[str], seconds: float) -> float:
    """Calls a second with 16 in flight for each endpoint."""
    made = OpenAIEngine(
        base_url=[Endpoint(url) for url in urls], model="mock-judge", max_concurrency=16
    )
    await made.open()
    done, end = 0, time.perf_counter() + seconds

    async def work(worker: int) -> None:
        nonlocal done
        i = worker
        while time.perf_counter() < end:
            prompt = Prompt(f"e{i}", (Message("user", f"Which, {i}?"),), (0, 1))
            await made.sample(prompt, 1, SamplingParams(seeds=(i,)))
            done, i = done + 1, i + 1000

    start = time.perf_counter()
    await asyncio.gather(*(work(w) for w in range(16 * len(urls))))
    await made.aclose()
    return done / (time.perf_counter() - start)


def endpoints_part(quick: bool) -> None:
    ratios = []
    with endpoints(4, "--latency=0.05") as servers:
        urls = [server.url for server in servers]
        for _ in range(2 if quick else 4):
            with asyncio.Runner(loop_factory=fast_loop) as runner:
                one, four = runner.run(rate(urls[:1], 5)), runner.run(rate(urls, 5))
            ratios.append(four / one)
            print(f"endpoints: one {one:.0f} calls/s, four {four:.0f}, {four / one:.2f}x")
    print(f"endpoints: best {max(ratios):.2f}x of rounds {[round(r, 2) for r in ratios]}")


class Field(NamedTuple):
    """Where runs are timed."""

    folder: Path

    def rate(self, seconds: float, in_flight: int, *runs: list[str], python: str = "") -> float:
        """Verdicts a second of runs beside each other, from when each has stored its first."""
        args = [python or sys.executable, *SPCT[1:], "sample", str(self.folder / "rows.jsonl")]
        args += ["-k", "2", "--model", "mock-judge", "--endpoints", str(self.folder / "pool")]
        args += ["-j", "64", "--examples-in-flight", str(in_flight), "--progress", "none"]
        made = [Path(tempfile.mkdtemp(dir=self.folder)) for _ in runs]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        going = [
            subprocess.Popen([*args, *flags, "-o", str(out)], **quiet)
            for out, flags in zip(made, runs, strict=True)
        ]
        while not all(map(n_stored, made)):
            assert all(one.poll() is None for one in going), "a run ended before it judged"
            time.sleep(0.1)
        begun = time.time()
        time.sleep(seconds)
        for one in going:
            one.terminate()
        for one in going:
            one.wait()
        found = 0
        for out in made:
            with closing(sqlite3.connect(out / "run.db")) as db:
                query = "SELECT count(*) FROM verdicts WHERE created BETWEEN ? AND ?"
                found += db.execute(query, (begun, begun + seconds)).fetchone()[0]
        return found / seconds


@contextmanager
def field(n_endpoints: int) -> Iterator[Field]:
    """A long file of rows and endpoints of 50 ms."""
    with (
        tempfile.TemporaryDirectory() as name,
        endpoints(n_endpoints, "--latency=0.05") as servers,
    ):
        folder = Path(name)
        write_rows(folder / "rows.jsonl", 200_000)
        (folder / "pool").write_text("".join(f"{server.url}\n" for server in servers))
        yield Field(folder)


def shards_part(quick: bool) -> None:
    seconds = 10 if quick else 40
    with field(2) as there:
        single = there.rate(seconds, 64, [])
        eight = there.rate(seconds, 8, *(["--shard", f"{i}/8"] for i in range(1, 9)))
    print(
        f"shards: one process {single:.0f} rows/s, 8 shards {eight:.0f} rows/s, each over "
        f"{seconds} s after the start of all: {eight / single:.2f}x"
    )


def ray_part(quick: bool) -> None:
    seconds = 15 if quick else 60
    python = str(environment("ray", *RAY))
    with field(2) as there:
        shards = there.rate(seconds, 32, *(["--shard", f"{i}/2"] for i in (1, 2)), python=python)
        actors = there.rate(seconds, 32, ["--ray", "local", "--ray-actors", "2"], python=python)
    print(
        f"ray: two shards {shards:.0f} rows/s, --ray local with 2 actors {actors:.0f} rows/s, each "
        f"over {seconds} s after the start of all: {actors / shards:.2f}x"
    )


def rows_part(quick: bool) -> None:
    n = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as name, endpoints(1) as (server,):
        folder = Path(name)
        file = folder / "rows.jsonl"
        write_rows(file, n)
        args = [*SPCT, "sample", str(file), "-k", "2", "--progress", "none"]
        mock = ["--base-url", server.url, "--model", "mock-judge"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        begun = time.perf_counter()
        with subprocess.Popen([*args, *mock, "-o", str(folder / "fresh")], **quiet) as running:
            while running.poll() is None and not server.stats()["calls"]:
                time.sleep(0.02)
            first = time.perf_counter() - begun
            running.kill()
        shard = ["--engine", "scripted", "--shard", f"1/{n // 10}", "-o", str(folder / "shard")]
        begun = time.perf_counter()
        reading = subprocess.Popen([*args, *shard], **quiet)
        _, status, used = os.wait4(reading.pid, 0)
        took = time.perf_counter() - begun
        assert status == 0
        size = file.stat().st_size / 1e6
    print(
        f"rows: {n:,} in {size:.0f} MB: first request after {first:.1f} s; the whole pass took "
        f"{took:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of a core), at most "
        f"{used.ru_maxrss / 1024:.0f} MB"
    )


def resume_part(quick: bool) -> None:
    n = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", n)
        args = [*SPCT, "sample", str(folder / "rows.jsonl"), "-k", "2", "--progress", "none"]
        args += ["--engine", "scripted", "-o", str(folder / "run")]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(args, stdout=quiet, stderr=quiet) as begun:
            while n_stored(folder / "run") < 1:
                time.sleep(0.05)
            begun.kill()
        finish(folder / "run", n)
        start = time.perf_counter()
        again = subprocess.Popen(args, stdout=quiet, stderr=subprocess.PIPE, text=True)
        assert again.stderr is not None
        said = again.stderr.read()
        _, status, used = os.wait4(again.pid, 0)
        took = time.perf_counter() - start
        assert status == 0 and f" {n} examples were finished before" in said, said
        size = (folder / "run" / "run.db").stat().st_size / 1e6
    print(
        f"resume: {n:,} verdicts in {size:.0f} MB are found finished, and the file is read, in "
        f"{took:.1f} s, at most {used.ru_maxrss / 1024:.0f} MB"
    )


def n_stored(run: Path) -> int:
    """How many verdicts a run has so far."""
    try:
        with Store.read(run) as store:
            return store.counts()["verdicts"]
    except StoreError:
        return 0


def finish(run: Path, n: int) -> None:
    """Give every row of the file the verdict on the first one that was judged, under its own id."""
    with Store.read(run) as store:
        record = next(store.records())
    plain, named = encode(record), encode({"id": record["id"]})[1:-1]
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        for i in range(n):
            payload = plain.replace(named, encode({"id": f"e{i}"})[1:-1])
            db.execute(*verdict_row(f"e{i}", i, 0, zlib.compress(payload, 1)))


def merge_part(quick: bool) -> None:
    n, times = 2_000, 3 if quick else 50
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", n)
        args = [*SPCT, "sample", str(folder / "rows.jsonl"), "--engine", "scripted", "-k", "2"]
        shards = [folder / f"s{i}" for i in range(1, 9)]
        for i, shard in enumerate(shards, 1):
            flags = ["--shard", f"{i}/8", "-o", str(shard), "--progress", "none"]
            subprocess.run([*args, *flags], check=True, capture_output=True)
            multiply(shard, times)
        size = sum((shard / "run.db").stat().st_size for shard in shards) / 1e6
        begun = time.perf_counter()
        n_verdicts = merge(shards, folder / "merged")
        took = time.perf_counter() - begun
        print(f"merge: {n_verdicts:,} examples of 8 shards, {size:.0f} MB, in {took:.1f} s")


def multiply(shard: Path, times: int) -> None:
    """Copy every row under other ids: judging so many would take longer than all the rest."""
    copies = "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT n"
    copies += " FROM c)"
    with closing(sqlite3.connect(shard / "run.db")) as db, db:
        db.execute(
            "INSERT INTO verdicts SELECT CAST(example_id || '-' || n AS BLOB), position, n_failed,"
            f" payload, checksum, created FROM verdicts, {copies}",
            (times - 1,),
        )
        db.execute(
            "INSERT INTO calls SELECT randomblob(32), CAST(example_id || '-' || n AS BLOB), seed,"
            f" payload, checksum, created FROM calls, {copies}",
            (times - 1,),
        )
    config = json.loads((shard / "config.json").read_text())
    config["identity"]["examples"] *= times
    (shard / "config.json").write_text(json.dumps(config))


PARTS = {
    "endpoints": endpoints_part,
    "shards": shards_part,
    "rows": rows_part,
    "resume": resume_part,
    "merge": merge_part,
    "ray": ray_part,
}
UNASKED = [part for part in PARTS if part != "ray"]  # it makes an environment of its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    args = parser.parse_args()
    for part in args.parts or UNASKED:
        PARTS[part](args.quick)


if __name__ == "__main__":
    main()
