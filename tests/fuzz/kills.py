"""kill -9 at random moments over sample, bench, compare and rft data: what is lost or paid twice.

    python -m tests.fuzz.kills --kills 1000 --seed 1

An endpoint on loopback counts what it was paid for. A request is named by its example and its first
seed; one that is paid stays so. Checked of every session and at the end of every run:

- paid twice: a request whose replies were in the store when the session began is asked again
- lost: a reply that had left the endpoint a second before the kill is not in the store after it
- doubled or missing: the finished run has not exactly one row for each example, k calls each, or
  its verdicts are not those of a run that nobody killed

Replies that were under way at the kill cannot be known to the client, and are asked for again; they
are counted apart. `compare` measures cost on its first example afresh, which is left out here.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from spct.runs.store import Store
from tests.engines.fault_server import judge_text

EXAMPLES, K, FIRST = 120, 4, "id-0"
GRACE_S = 1.0  # a reply that left the endpoint so long before the kill has long been received
Asked = tuple[str, int, bool]  # an example, the first seed of a request, and whether it is greedy


@dataclass
class Endpoint:
    """Answers as a judge after a while; half of its runs ignore n, as many endpoints do."""

    latency_s: float = 0.03
    takes_n: bool = True
    asked: list[Asked] = field(default_factory=list)
    sent: dict[Asked, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.reply({"object": "list", "data": [{"id": "m"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                prompt = body["messages"][-1]["content"]
                [number] = set(re.findall(r"Which tide is number (\d+)\?", prompt))
                greedy = body.get("temperature") == 0
                named = f"id-{number}", int(body.get("seed", 0)), greedy
                endpoint.asked.append(named)
                time.sleep(endpoint.latency_s * random.uniform(0.3, 2))
                n = body.get("n", 1) if endpoint.takes_n else 1
                texts = [judge_text(prompt, named[1] * 8 + i) for i in range(n)]
                messages = [{"role": "assistant", "content": text} for text in texts]
                choices = [
                    {"index": i, "finish_reason": "stop", "message": message}
                    for i, message in enumerate(messages)
                ]
                usage = {"prompt_tokens": 10, "completion_tokens": 20 * n, "total_tokens": 30 * n}
                self.reply({"id": "x", "model": "m", "choices": choices, "usage": usage})
                endpoint.sent[named] = time.monotonic()

            def reply(self, content: object) -> None:
                data = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:  # the client was killed
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Clients that are killed reset their connections."""

        server = Server(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"


def write_inputs(root: Path, url: str) -> None:
    """A file of examples, and the judge as a TOML file for the commands that name models."""
    with (root / "rows.jsonl").open("w") as file:
        for i in range(EXAMPLES):
            gold = [1.0, 0.0] if i % 2 else [0.0, 1.0]
            row = {"id": f"id-{i}", "query": f"Which tide is number {i}?"}
            file.write(json.dumps({**row, "responses": ["ebb", "flood"], "gold": gold}) + "\n")
    (root / "judge.toml").write_text(
        f'[engine]\nkind = "openai"\nbase_url = "{url}"\nmodel = "m"\nmax_concurrency = 8\n'
    )


def commands(root: Path, url: str) -> dict[str, tuple[list[str], Callable[[Path], list[Path]]]]:
    """Each command without its --out, and where its stores are."""
    rows, judge = str(root / "rows.jsonl"), f"m={root / 'judge.toml'}"
    endpoint = ["--engine", "openai", "--base-url", url, "--model", "m", "-j", "8"]
    return {
        "sample": (["sample", rows, *endpoint, "-k", str(K), "--progress", "none"], one_store),
        "bench": (
            ["bench", judge.partition("=")[2], "-b", rows, "-k", str(K)],
            lambda out: sorted(out.glob("parts/*/*/*")),
        ),
        "compare": (
            ["compare", rows, "-m", judge, "-k", str(K), "--timed", "1"],
            lambda out: [out / "replies"],
        ),
        "rft": (["data", "rft", rows, *endpoint, "--n-samples", str(K)], one_store),
    }


def one_store(out: Path) -> list[Path]:
    return [out]


def stored(folders: list[Path]) -> set[Asked]:
    """The requests whose replies are in the stores."""
    found: set[Asked] = set()
    for folder in folders:
        if not (folder / "run.db").is_file():
            continue
        with closing(sqlite3.connect(folder / "run.db")) as db:
            try:
                rows = db.execute("SELECT example_id, seed FROM calls").fetchall()
            except sqlite3.OperationalError:  # killed before the tables were made
                continue
        greedy = folder.name == "greedy"  # of bench: each mode has a store of its own
        found |= {(bytes(example).decode(), seed, greedy) for example, seed in rows}
    return found


@dataclass
class Count:
    """What came out."""

    kills: int = 0
    runs: int = 0
    asked: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        told = ", ".join(f"{self.faults[what]} {what}" for what in FAULTS)
        return (
            f"{name}: {self.kills} kills in {self.runs} runs, {self.asked} requests, {told}; "
            f"{self.repeated} asked again that were under way at a kill"
        )


FAULTS = ("lost", "doubled or missing", "paid twice", "other errors")


def spct(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from spct.cli.main import main; main()", *arguments]


def one_run(
    name: str, out: Path, endpoint: Endpoint, root: Path, kills: int, dice: random.Random
) -> tuple[Count, list[str]]:
    """Start, kill and start again until the command ends by itself; then look at the whole."""
    arguments, stores = commands(root, endpoint.url)[name]
    count, told = Count(runs=1), []
    endpoint.asked = []
    everything: set[Asked] = set()
    while True:
        before, at = stored(stores(out)) if out.exists() else set(), len(endpoint.asked)
        endpoint.sent = {}  # what was under way at the kill before never arrived
        process = subprocess.Popen(
            spct(*arguments, "--out", str(out)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        killed_at = None
        if count.kills < kills and wait_a_while(process, endpoint, dice):
            process.send_signal(signal.SIGKILL)
            killed_at, count.kills = time.monotonic(), count.kills + 1
        errors = process.communicate()[1]
        asked = [one for one in endpoint.asked[at:] if name != "compare" or one[0] != FIRST]
        count.asked += len(asked)
        count.repeated += len(everything & set(asked))
        everything |= set(asked)
        if again := before & set(asked):
            count.faults["paid twice"] += len(again)
            told.append(f"{name}: paid twice: {sorted(again)[:3]}")
        if killed_at is not None:
            time.sleep(0.2)  # the endpoint's threads finish what they were at
            have = stored(stores(out))
            sent = {
                one
                for one, when in endpoint.sent.items()
                if when < killed_at - GRACE_S and (name != "compare" or one[0] != FIRST)
            }
            if gone := sent - have:
                count.faults["lost"] += len(gone)
                told.append(f"{name}: lost: {sorted(gone)[:3]}")
        elif process.returncode:
            count.faults["other errors"] += 1
            told.append(f"{name}: exit {process.returncode}: {errors[-600:]}")
            return count, told
        else:
            return count, told


def wait_a_while(process: subprocess.Popen[str], endpoint: Endpoint, dice: random.Random) -> bool:
    """Until so many requests came, or for a time that may fall into start or end; is it alive?"""
    enough = len(endpoint.asked) + dice.randrange(1, 60)
    end = time.monotonic() + (dice.uniform(0.2, 4) if dice.random() < 0.3 else 60)
    while process.poll() is None and len(endpoint.asked) < enough and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(dice.uniform(0, 0.05))
    return process.poll() is None


def wrong_in(folders: list[Path], name: str, reference: dict[str, Any]) -> list[str]:
    """What is not as in a run that nobody killed."""
    wrong = []
    for i, folder in enumerate(folders):
        with Store.read(folder) as store:
            verdicts = {v.example_id: v for v in store.verdicts()}
            counts = store.counts()
        calls = counts["calls"]
        known = reference.setdefault(f"{name}-{i}", (verdicts, calls))
        if known != (verdicts, calls):
            wrong.append(f"{name}: {folder.name} differs from the run that nobody killed")
        if counts["quarantine"]:
            wrong.append(f"{name}: {counts['quarantine']} damaged rows")
    return wrong


def runs_of(names: list[str], kills: int, dice: random.Random) -> Iterator[tuple[str, Count]]:
    root = Path(tempfile.mkdtemp(prefix="spct-kills-"))
    endpoints = [Endpoint(takes_n=takes_n) for takes_n in (True, False)]
    try:
        for name in names:
            total, number = Count(), 0
            references: list[dict[str, Any]] = [{}, {}]
            while total.kills < kills and total.faults.total() < 20:
                which = number % 2
                endpoint = endpoints[which]
                write_inputs(root, endpoint.url)
                # The first run over each endpoint is left alone: the others are held against it.
                wanted = 0 if number < 2 else min(10, kills - total.kills)
                out = root / f"{name}-{number}"
                count, told = one_run(name, out, endpoint, root, wanted, dice)
                stores = commands(root, endpoint.url)[name][1](out)
                if not told:
                    for wrong in wrong_in(stores, name, references[which]):
                        count.faults["doubled or missing"] += 1
                        told.append(wrong)
                for line in told:
                    print(line, flush=True)
                total.kills += count.kills
                total.runs += count.runs
                total.asked += count.asked
                total.repeated += count.repeated
                total.faults += count.faults
                number += 1
                shutil.rmtree(out, ignore_errors=True)
                if number % 10 == 0:
                    print(f"  {total.line(name)}", file=sys.stderr, flush=True)
            yield name, total
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["sample", "bench", "compare", "rft"])
    args = parser.parse_args()
    each = -(-args.kills // len(args.only))
    n_faults = 0
    for name, count in runs_of(args.only, each, random.Random(args.seed)):
        print(count.line(name), flush=True)
        n_faults += sum(count.faults.values())
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
