"""kill -9 in the middle of many processes and many endpoints: is it still the one run?

    python -m tests.fuzz.scale shards --kills 20     8 shards of one input, over four endpoints
    python -m tests.fuzz.scale endpoints --kills 20  one process, over four endpoints that die

A kill comes when so many requests were asked, numbers drawn at random from the first nine tenths
(the last ones come all at once), and falls on a shard that has stored replies since it started.
Shards are started again, endpoints come back at the same address; one endpoint of the shards' four
dies for good. In the end every id must be there once, the export must equal, byte by byte, that of
one process that nobody killed, and no reply that was stored may have been asked for again: at most
what was in flight at each kill.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from spct.errors import StoreError
from spct.runs.store import Store
from tests.runs.conftest import Endpoint

SPCT = [sys.executable, "-c", "from spct.cli.main import main; main()"]
IN_FLIGHT, K = 8, 4


@dataclass
class Replica:
    """A mock judge at one address, whichever process answers there."""

    port: int
    latency_s: float
    process: subprocess.Popen[str] | None = None
    asked: int = 0  # of processes that are gone

    @property
    def endpoint(self) -> Endpoint:
        assert self.process is not None
        return Endpoint(f"http://127.0.0.1:{self.port}/v1", self.process.pid)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.engines.fault_server", f"--port={self.port}"]
        self.process = subprocess.Popen(
            [*command, f"--latency={self.latency_s}"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("PORT")

    def kill(self) -> None:
        assert self.process is not None
        self.asked += self.endpoint.stats()["calls"]
        self.process.kill()
        self.process.communicate()
        self.process = None

    def n_asked(self) -> int:
        return self.asked + (self.endpoint.stats()["calls"] if self.process else 0)


@dataclass
class Work:
    """A folder with rows, and the endpoints that judge them."""

    folder: Path
    n_rows: int
    latency_s: float = 0.02
    replicas: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = [
            {"id": f"e{i}", "query": f"Tide {i}?", "responses": ["ebb", "flood"]}
            for i in range(self.n_rows)
        ]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with ExitStack() as stack:
            free = [stack.enter_context(socket.socket()) for _ in range(4)]
            for one in free:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in free]
        self.replicas = [Replica(port, self.latency_s) for port in ports]
        for replica in self.replicas:
            replica.start()
        pool = "".join(f"{replica.endpoint.url}\n" for replica in self.replicas)
        (self.folder / "pool").write_text(pool)

    def close(self) -> None:
        for replica in self.replicas:
            if replica.process is not None:
                replica.process.kill()
                replica.process.communicate()

    def start(self, out: str, *flags: str) -> subprocess.Popen[str]:
        args = ["sample", str(self.folder / "rows.jsonl"), "-k", str(K), "--model", "mock-judge"]
        args += ["--endpoints", str(self.folder / "pool"), "--examples-in-flight", str(IN_FLIGHT)]
        args += ["--progress", "none", "-o", str(self.folder / out), *flags]
        return subprocess.Popen(
            [*SPCT, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def export(self, out: str) -> str:
        command = [*SPCT, "export", str(self.folder / out)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def n_asked(self) -> int:
        return sum(replica.n_asked() for replica in self.replicas)

    def check(self, out: str, asked: int, at_most: int) -> str:
        """The run holds every id once and is that of a single process; the line that says so."""
        single = self.start("single")
        _, said = single.communicate()
        assert single.returncode == 0, said
        found = self.export(out)
        ids = [json.loads(line)["id"] for line in found.splitlines()]
        assert sorted(ids) == sorted({f"e{i}" for i in range(self.n_rows)}), (
            "an id is not there once"
        )
        assert found == self.export("single"), "the export differs from that of a single process"
        needed = 2 * self.n_rows  # requests: two orders of two responses
        assert asked <= at_most, f"{asked} requests, at most {at_most} can be explained"
        return f"{self.n_rows} ids once, verdicts equal, {asked - needed} requests asked again"


def ended(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said


@dataclass
class Task:
    """A shard, whichever process judges it."""

    work: Work
    name: str
    flags: tuple[str, ...]
    process: subprocess.Popen[str] = field(init=False)
    before: int = 0  # replies that were stored when it started

    def start(self) -> None:
        self.before = self.n_stored()
        self.process = self.work.start(self.name, *self.flags)

    def n_stored(self) -> int:
        try:
            with Store.read(self.work.folder / self.name) as store:
                return store.counts()["calls"]
        except StoreError:
            return 0

    def is_judging(self) -> bool:
        """Whether it has stored replies since it started, and goes on."""
        return self.process.poll() is None and self.n_stored() > self.before


def shards(folder: Path, kills: int, n: int, n_rows: int, seed: int) -> str:
    """Processes die and start again; in the middle an endpoint dies for good."""
    # Slow replies, so that a shard that starts again finds some left to ask for.
    work, dice = Work(folder, n_rows, latency_s=0.5), random.Random(seed)
    moments = sorted(dice.sample(range(1, 2 * n_rows * 9 // 10), kills))
    tasks = [Task(work, f"s{i}", ("--shard", f"{i}/{n}")) for i in range(1, n + 1)]
    try:
        for task in tasks:
            task.start()
        for done, moment in enumerate(moments):
            if done == kills // 2:
                work.replicas[0].kill()
            while work.n_asked() < moment or not (some := [t for t in tasks if t.is_judging()]):
                assert any(t.process.poll() is None for t in tasks), f"it ended after {done} kills"
                time.sleep(0.01)
            victim = dice.choice(some)
            victim.process.send_signal(signal.SIGKILL)
            victim.process.communicate()
            victim.start()
        for task in tasks:
            ended(task.process)
        asked = work.n_asked()
        out = [str(folder / task.name) for task in tasks]
        merged = [*SPCT, "merge", *out, "-o", str(folder / "merged")]
        subprocess.run(merged, check=True, capture_output=True)
        # Of each kill at most what was in flight, and once that of the endpoint that died.
        most = 2 * n_rows + (kills + n) * 2 * IN_FLIGHT
        said = work.check("merged", asked, most)
        span = f"from request {moments[0]} to {moments[-1]}"
        return f"shards: {kills} kills of processes that were judging, {span}, {said}"
    finally:
        work.close()


def endpoints(folder: Path, kills: int, n_rows: int, seed: int) -> str:
    """Replicas die, one after the other, and come back while the run goes on without them."""
    # Slow replies, so that there are some left when the last replica has started again.
    work, dice = Work(folder, n_rows, latency_s=0.3), random.Random(seed)
    try:
        running, done = work.start("run"), 0
        while done < kills and running.poll() is None:
            before = work.n_asked()
            while running.poll() is None and work.n_asked() < before + dice.randint(2, 8):
                time.sleep(0.01)
            replica = dice.choice(work.replicas)
            replica.kill()
            done += 1
            time.sleep(dice.uniform(0.0, 0.3))
            replica.start()
        ended(running)
        assert done == kills, f"the run ended after {done} kills: it needs more rows"
        asked = work.n_asked()
        said = work.check("run", asked, 2 * n_rows + (kills + 1) * 2 * IN_FLIGHT)
        return f"endpoints: {done} kills, {said}"
    finally:
        work.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["shards", "endpoints"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1000)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        if args.what == "shards":
            print(shards(Path(name), args.kills, 8, args.rows, args.seed))
        else:
            print(endpoints(Path(name), args.kills, args.rows, args.seed))


if __name__ == "__main__":
    main()
