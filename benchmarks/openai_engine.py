"""What the openai engine costs: calls a second, CPU and memory, beside bare aiohttp and the SDK.

    python -m benchmarks.openai_engine [--calls 100000] [--rounds 3] [--quick]

A mock endpoint in a process of its own answers every call with a canned chat reply of about 1.2 KB
after 50 ms; prompts are about 3.6 KB and all different. Every client runs in a process of its own
on uvloop with as many worker tasks as calls in flight, so its CPU time and peak memory are its own.
Rounds interleave the clients, since the machine is shared, and each ratio is taken within a round;
the table shows the median.

- bare: aiohttp `session.post(json=...)`, `await reply.json()`, the text taken out; nothing checked
- sdk: `AsyncOpenAI().chat.completions.create(...)` as it comes, without retries; sdk-aiohttp: the
  same with its own aiohttp transport
- engine: `OpenAIEngine.sample`, and engine+store: the same through `RecordingEngine` on a run store
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from spct.types import Message, Prompt, SamplingParams

LATENCY_S = 0.05
Call = Callable[[int], Awaitable[str]]

_random = random.Random(0)
WORDS = ["".join(_random.choices("etaoinshrdlu", k=_random.randint(2, 9))) for _ in range(2000)]
TEXTS = [" ".join(_random.choices(WORDS, k=560))[:3500] for _ in range(200)]
REPLY = " ".join(_random.choices(WORDS, k=130))[:750] + "\n\nScores: \\boxed{8, 5}"


def question(i: int) -> str:
    return f"{i}: {TEXTS[i % len(TEXTS)]}"


# --- the endpoint -----------------------------------------------------------------------------


async def serve() -> None:
    from tests.engines.fault_server import FaultServer, Served, chat_reply

    reply = chat_reply({"messages": [{"content": ""}]})
    reply["choices"][0]["message"]["content"] = REPLY
    canned = Served(json.dumps(reply).encode(), headers={"content-type": "application/json"})
    async with FaultServer(always=lambda call: canned, latency=LATENCY_S, keep=0) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


@contextmanager
def endpoint() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.openai_engine", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


# --- the clients ------------------------------------------------------------------------------


@asynccontextmanager
async def bare(url: str, in_flight: int) -> AsyncIterator[Call]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(i: int) -> str:
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": question(i)}],
                "temperature": 0.5,
                "max_tokens": 1024,
                "seed": i,
            }
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                return str((await reply.json())["choices"][0]["message"]["content"])

        yield call


@asynccontextmanager
async def sdk(url: str, in_flight: int, http_client: Any = None) -> AsyncIterator[Call]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=url, api_key="EMPTY", max_retries=0, timeout=600, http_client=http_client
    ) as client:

        async def call(i: int) -> str:
            reply = await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": question(i)}],
                temperature=0.5,
                max_tokens=1024,
                seed=i,
            )
            return str(reply.choices[0].message.content)

        yield call


@asynccontextmanager
async def engine(url: str, in_flight: int, stored: bool = False) -> AsyncIterator[Call]:
    from spct.engines.openai import OpenAIEngine
    from spct.runs.engines import RecordingEngine
    from spct.runs.store import Store

    made = OpenAIEngine(base_url=url, model="m", max_concurrency=in_flight)
    with tempfile.TemporaryDirectory() as folder, Store.open(folder, {}) as store:
        sampler = RecordingEngine(made, store) if stored else made

        async def call(i: int) -> str:
            prompt = Prompt(f"e{i}", (Message("user", question(i)),), (0, 1))
            (completion,) = await sampler.sample(prompt, 1, SamplingParams(seeds=(i,)))
            return completion.text

        yield call
        await made.aclose()


def sdk_aiohttp(url: str, in_flight: int) -> Any:
    from openai import DefaultAioHttpClient

    return sdk(url, in_flight, DefaultAioHttpClient())


def engine_and_store(url: str, in_flight: int) -> Any:
    return engine(url, in_flight, stored=True)


CLIENTS: dict[str, Callable[[str, int], Any]] = {
    "bare": bare,
    "sdk": sdk,
    "sdk-aiohttp": sdk_aiohttp,
    "engine": engine,
    "engine+store": engine_and_store,
}


async def drive(name: str, url: str, in_flight: int, n_calls: int) -> dict[str, float]:
    async with CLIENTS[name](url, in_flight) as call:
        numbers = iter(range(n_calls))

        async def work() -> None:
            for i in numbers:
                assert await call(i) == REPLY

        start, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        took, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": n_calls / took, "cpu_ms": 1000 * used / n_calls, "peak_mb": peak}


def measure(name: str, url: str, in_flight: int, n_calls: int) -> dict[str, float]:
    """Run one client in a process of its own."""
    args = ["--client", name, "--url", url, "--in-flight", str(in_flight), "--calls", str(n_calls)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.openai_engine", *args],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {str(k): float(v) for k, v in json.loads(done.stdout).items()}


# --- the report -------------------------------------------------------------------------------


def report(n_calls: int, rounds: int, n_short: int) -> None:
    cases = [("bare", 512), ("engine", 512), ("engine+store", 512), ("engine+store", 1024)]
    seen: dict[tuple[str, int], list[dict[str, float]]] = {}
    with endpoint() as url:
        for _ in range(rounds):
            for name, in_flight in cases:
                got = measure(name, url, in_flight, n_short)
                seen.setdefault((name, in_flight), []).append(got)
            for name in ("sdk", "sdk-aiohttp"):
                got = measure(name, url, 512, max(n_short // 10, 1000))
                seen.setdefault((name, 512), []).append(got)
        long = measure("engine+store", url, 512, n_calls)
    print(f"{'client':14} {'in flight':>9} {'calls/s':>8} {'CPU ms/call':>12} {'peak MB':>8}")
    for (name, in_flight), runs in seen.items():
        rate, cpu, peak = (
            statistics.median(run[key] for run in runs) for key in ("rate", "cpu_ms", "peak_mb")
        )
        print(f"{name:14} {in_flight:9} {rate:8.0f} {cpu:12.2f} {peak:8.0f}")
    name = f"{n_calls:,} calls"
    print(f"{name:14} {512:9} {long['rate']:8.0f} {long['cpu_ms']:12.2f} {long['peak_mb']:8.0f}")
    print()

    def ratio(over: tuple[str, int], under: tuple[str, int], key: str = "rate") -> float:
        pairs = zip(seen[over], seen[under], strict=True)
        return statistics.median(a[key] / b[key] for a, b in pairs)

    rows = [
        ("engine+store / bare aiohttp, 512", ratio(cases[2], cases[0]), ">= 0.5"),
        ("engine / bare aiohttp, 512", ratio(cases[1], cases[0]), ""),
        ("CPU of engine+store / bare aiohttp, 512", ratio(cases[2], cases[0], "cpu_ms"), ""),
        ("engine+store / OpenAI SDK, 512", ratio(cases[2], ("sdk", 512)), ">= 3"),
        ("engine+store / SDK on aiohttp, 512", ratio(cases[2], ("sdk-aiohttp", 512)), ""),
        ("engine+store, 1,024 / 512", ratio(cases[3], cases[2]), ">= 0.8"),
        (f"CPU ms a call, {n_calls:,} calls", long["cpu_ms"], "<= 1.5"),
        (f"peak MB, {n_calls:,} calls", long["peak_mb"], "<= 300"),
    ]
    for what, value, goal in rows:
        print(f"{what:42} {value:8.2f}   {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls, one round")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=list(CLIENTS), help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, default=512, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve or options.client:
        import uvloop

        if options.serve:
            uvloop.run(serve())
        else:
            run = drive(options.client, options.url, options.in_flight, options.calls)
            print(json.dumps(uvloop.run(run)))
    elif options.quick:
        report(options.calls // 10, 1, 5_000)
    else:
        report(options.calls, options.rounds, 20_000)


if __name__ == "__main__":
    main()
