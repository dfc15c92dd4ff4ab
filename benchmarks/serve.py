"""Load figures of the gateway: python benchmarks/serve.py [--quick] [--json FILE].

The gateway runs in a process of its own on loopback; this process is the load. Both need a core.

- instant: 64 connections, closed loop, a backend that answers at once: requests a second, latency
- decided: the same on /v1/systemone, a state and three questions
- added: a backend of 20 ms at half the load that `instant` took, open loop: latency less 20 ms
- overload: a backend of 400 examples a second: its peak in a closed loop, then 800 offered in an
  open one: goodput, refusals' latency
- leak: 1,000 connections for a minute: memory, open files, requests and slots left afterwards
- grouped: slime's wire, 64 connections, groups of 8 put together by the gateway
- scripted: the shipped fake judge, k = 8, two responses of 200 words: what a judgement itself costs

Every request has a body of its own, so nothing is answered from what is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

WORDS = "the quick brown fox jumps over a lazy dog and writes about it at some length " * 60
_serial = count()


@dataclass
class Tally:
    """What came back: latencies of successes and of refusals in seconds, and failures by kind."""

    ok: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def fail(self, kind: str) -> None:
        self.failed[kind] = self.failed.get(kind, 0) + 1


class Connection:
    """One keep-alive connection that speaks just enough HTTP, so that the load costs little."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> int:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        status = int(head[9:12])
        if b"connection: close" in head.lower():
            await self.close()
        return status

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def body(size: int = 5000) -> bytes:
    """A request of about `size` bytes that no other equals."""
    half = size // 2
    responses = [WORDS[:half], WORDS[half : 2 * half - 200]]
    return json.dumps({"query": f"question {next(_serial)}", "responses": responses}).encode()


async def one(
    connection: Connection, tally: Tally, payload: bytes, path: str = "/v1/rewards"
) -> None:
    started = time.perf_counter()
    try:
        status = await connection.post(path, payload)
    except (OSError, EOFError, asyncio.IncompleteReadError) as error:
        tally.fail(type(error).__name__)
        await connection.close()
        return
    took = time.perf_counter() - started
    if status == 200:
        tally.ok.append(took)
    elif status in (429, 503):
        tally.refused.append(took)
    else:
        tally.fail(str(status))


QUESTIONS = {
    "good": {"type": "noul", "instructions": "Is it good?"},
    "kind": {"type": "choice", "instructions": "Which?", "criteria": {"a": None, "b": "beside"}},
    "level": {"type": "score", "instructions": "How good?", "criteria": ["bad", "fair", "good"]},
}


def asked(size: int = 5000) -> bytes:
    """A state of about `size` bytes that no other equals, with three questions."""
    state = f"state {next(_serial)} {WORDS[:size]}"
    return json.dumps({"state": state, "questions": QUESTIONS}).encode()


async def closed_loop(
    port: int,
    connections: int,
    seconds: float,
    pause_s: float = 0.0,
    *,
    path: str = "/v1/rewards",
    payload: Callable[[], bytes] = body,
) -> Tally:
    """Each connection sends its next request when the last one is answered."""
    tally, end = Tally(), time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() < end:
            await one(connection, tally, payload(), path)
            if pause_s:
                await asyncio.sleep(pause_s)
        await connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return tally


async def groups_loop(port: int, connections: int, size: int, seconds: float) -> Tally:
    """Each connection sends one member of a group, then of the next; a group's members meet."""
    tally, end = Tally(), time.perf_counter() + seconds
    begun: dict[int, int] = {}  # bundle -> its last step: a member ends with its bundle

    async def member(index: int) -> None:
        connection, bundle = Connection(port), index // size
        for step in count():
            if time.perf_counter() >= end and step > begun[bundle]:
                break
            begun[bundle] = max(step, begun.get(bundle, 0))
            prompt = f"bundle {bundle} step {step} {WORDS[:1000]}"
            sample = {"prompt": prompt, "response": f"{index} {WORDS[:2000]}", "label": None}
            await one(connection, tally, json.dumps(sample).encode(), "/remote_rm")
        await connection.close()

    await asyncio.gather(*(member(index) for index in range(connections)))
    return tally


async def open_loop(port: int, rate: float, seconds: float, warm_s: float = 0.0) -> Tally:
    """Requests leave at fixed times, whether or not the earlier ones are answered.

    Those of the first `warm_s` seconds, which open the connections, are sent but not counted.
    """
    tally, warming, free, tasks = Tally(), Tally(), [], []
    started, n = time.perf_counter(), int(rate * (warm_s + seconds))

    async def send(payload: bytes, counted: Tally) -> None:
        connection = free.pop() if free else Connection(port)
        await one(connection, counted, payload)
        free.append(connection)

    payloads = [body() for _ in range(n)]
    for i, payload in enumerate(payloads):
        wait = started + i / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        counted = warming if i < warm_s * rate else tally
        tasks.append(asyncio.create_task(send(payload, counted)))
    await asyncio.gather(*tasks)
    await asyncio.gather(*(connection.close() for connection in free))
    return tally


def at(latencies: list[float], share: float) -> float | None:
    """A percentile in milliseconds; None of nothing."""
    if not latencies:
        return None
    ordered = sorted(latencies)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3, 2)


# ---- the gateway's side


def serve(kind: str, delay_s: float, concurrency: int, queue: int) -> None:
    """Run a gateway; its port is printed."""
    from spct.core.generative import GenerativeRM
    from spct.engines.readouts.decision import Answer, Answers
    from spct.engines.scripted import ScriptedEngine
    from spct.models.base import FrozenModel
    from spct.protocols import Traits
    from spct.serve.app import create_app
    from spct.serve.config import ServeConfig
    from spct.serve.server import run
    from spct.types import Usage, Verdict

    class Backend(FrozenModel):
        """Answers every example with the same rewards after `delay_s`; questions at once."""

        fingerprint = "bench"
        traits = Traits(answers="itself")
        concurrency = 64

        async def decide(self, state: str, questions: Any) -> Answers:
            each = [Answer((1 / len(q.options),) * len(q.options)) for q in questions]
            return Answers(each, Usage(100, 0, 1))

        async def judge(self, example: Any) -> Verdict:
            if delay_s:
                await asyncio.sleep(delay_s)
            rewards = tuple(float(i) for i in range(example.n))
            return Verdict(example.id, rewards, (example.n - 1,), (), 1, 1, 1, 1.0)

    model: Any = Backend() if kind == "backend" else GenerativeRM(ScriptedEngine(), k=8)
    config = ServeConfig(
        port=0,
        max_concurrency=concurrency,
        max_queue=queue,
        keep_s=1.0,
        group_size=8,
        on_unscored="error",
    )
    sys.exit(run(create_app(model, config, environ={}), config))


class Gateway:
    """A gateway process; `async with` gives its port."""

    def __init__(
        self,
        kind: str = "backend",
        delay_s: float = 0.0,
        concurrency: int = 4096,
        queue: int = 4096,
    ) -> None:
        self._args = ["--serve", kind, str(delay_s), str(concurrency), str(queue)]

    async def __aenter__(self) -> Gateway:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *self._args], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        self.port = int(line.rsplit(":", 1)[1])
        await closed_loop(self.port, 8, 1.0)  # warm
        return self

    async def __aexit__(self, *error: object) -> None:
        self.process.terminate()
        code = await asyncio.to_thread(self.process.wait, 120)
        if code:
            raise SystemExit(f"the gateway ended with code {code}")

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def gauges(self) -> dict[str, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        names = ("spct_requests_in_flight", "spct_judging", "spct_waiting")
        rows = [line.split() for line in text.splitlines() if line.startswith(names)]
        return {row[0]: float(row[1]) for row in rows}


# ---- the figures


async def instant(seconds: float) -> dict[str, Any]:
    async with Gateway() as gateway:
        tally = await closed_loop(gateway.port, 64, seconds)
    return {
        "requests_per_s": round(len(tally.ok) / seconds, 1),
        "p50_ms": at(tally.ok, 0.5),
        "p99_ms": at(tally.ok, 0.99),
        "failed": tally.failed,
        "goal": "at least 1000 requests/s, p99 at most 250 ms",
    }


async def decided(seconds: float) -> dict[str, Any]:
    async with Gateway() as gateway:
        tally = await closed_loop(gateway.port, 64, seconds, path="/v1/systemone", payload=asked)
    return {
        "requests_per_s": round(len(tally.ok) / seconds, 1),
        "p50_ms": at(tally.ok, 0.5),
        "p99_ms": at(tally.ok, 0.99),
        "failed": tally.failed,
        "goal": "at least 1000 requests/s",
    }


async def added(seconds: float, rate: float) -> dict[str, Any]:
    async with Gateway(delay_s=0.02) as gateway:
        tally = await open_loop(gateway.port, rate, seconds, warm_s=1.0)
    less = [latency - 0.02 for latency in tally.ok]
    return {
        "offered_per_s": round(rate, 1),
        "added_p50_ms": at(less, 0.5),
        "added_p99_ms": at(less, 0.99),
        "failed": tally.failed,
        "goal": "p50 at most 5 ms, p99 at most 30 ms",
    }


async def overload(seconds: float) -> dict[str, Any]:
    async with Gateway(delay_s=0.04, concurrency=16, queue=32) as gateway:
        at_peak = await closed_loop(gateway.port, 48, seconds)  # as many as it holds
        twice = await open_loop(gateway.port, 800, seconds)
    peak = len(at_peak.ok) / seconds
    return {
        "peak_per_s": round(peak, 1),
        "goodput_at_2x_per_s": round(len(twice.ok) / seconds, 1),
        "goodput_share_of_peak": round(len(twice.ok) / len(at_peak.ok), 3),
        "refused_per_s": round(len(twice.refused) / seconds, 1),
        "refusal_p50_ms": at(twice.refused, 0.5),
        "refusal_p99_ms": at(twice.refused, 0.99),
        "refusal_max_ms": at(twice.refused, 1.0),
        "accepted_p99_ms": at(twice.ok, 0.99),
        "failed": twice.failed,
        "goal": "goodput at least 0.9 of peak, refusals within 100 ms",
    }


async def leak(seconds: float) -> dict[str, Any]:
    async with Gateway() as gateway:
        await closed_loop(gateway.port, 1000, 5, pause_s=1.0)  # pools and caches reach their size
        await asyncio.sleep(2)
        before_mb, before_fds = gateway.memory_mb(), gateway.open_files()
        tally = await closed_loop(gateway.port, 1000, seconds, pause_s=1.0)
        await asyncio.sleep(2)
        result = {
            "connections": 1000,
            "seconds": seconds,
            "answered": len(tally.ok),
            "failed": tally.failed,
            "memory_before_mb": round(before_mb, 1),
            "memory_after_mb": round(gateway.memory_mb(), 1),
            "open_files_before": before_fds,
            "open_files_after": gateway.open_files(),
            **await gateway.gauges(),
            "goal": "no request, slot or file left; memory as before",
        }
    return result


async def grouped(seconds: float) -> dict[str, Any]:
    async with Gateway() as gateway:
        tally = await groups_loop(gateway.port, 64, 8, seconds)
    return {
        "samples_per_s": round(len(tally.ok) / seconds, 1),
        "p50_ms": at(tally.ok, 0.5),
        "p99_ms": at(tally.ok, 0.99),
        "failed": tally.failed,
    }


async def scripted(seconds: float) -> dict[str, Any]:
    async with Gateway("scripted") as gateway:
        tally = await closed_loop(gateway.port, 8, seconds)
    return {
        "requests_per_s": round(len(tally.ok) / seconds, 1),
        "p50_ms": at(tally.ok, 0.5),
        "failed": tally.failed,
    }


async def measure(quick: bool) -> dict[str, Any]:
    short = 2.0 if quick else 15.0
    figures: dict[str, Any] = {}

    async def run(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        figures[name] = await work()
        print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr, flush=True)

    await run("instant", lambda: instant(short))
    await run("decided", lambda: decided(short))
    half = figures["instant"]["requests_per_s"] / 2
    await run("added", lambda: added(short, half))
    await run("overload", lambda: overload(short))
    await run("leak", lambda: leak(5.0 if quick else 60.0))
    await run("grouped", lambda: grouped(short))
    await run("scripted", lambda: scripted(short))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    if arguments.serve:
        kind, delay_s, concurrency, queue = arguments.serve
        serve(kind, float(delay_s), int(concurrency), int(queue))
        return
    import uvloop

    started = time.time()
    figures = uvloop.run(measure(arguments.quick))
    machine = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        "seconds": round(time.time() - started, 1),
    }
    result = {"machine": machine, **figures}
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
