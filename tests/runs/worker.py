"""A process that judges examples over a store, made to be killed.

    python -m tests.runs.worker FOLDER LOG --examples 200

It appends to LOG what happens, one write each, so that a kill tears no line:

    drawn ID SEED       the engine answered: a call that was paid for
    reply ID SEED SHA   the store acknowledged the reply, whose text has this digest
    verdict ID          the store acknowledged the verdict

SIGTERM ends it after a clean flush with code 143, a StoreError with code 5.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from spct.errors import StoreError
from spct.protocols import Engine
from spct.runs.engines import RecordingEngine
from spct.runs.store import Store
from spct.types import Completion, Prompt, SamplingParams
from tests.runs.nouns import params_of, prompt_of, reply_of, verdict_of

IN_FLIGHT = 16
SEEDS = {(0, 1): (1, 2), (1, 0): (3, 4)}  # a prompt's order, and its samples


class LoggedEngine(Engine):
    """Answers within a few milliseconds, and logs every answer."""

    fingerprint = "test"

    def __init__(self, log: int) -> None:
        self._log = log

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        await asyncio.sleep(random.uniform(0, 0.004))
        for seed in params.seeds:
            os.write(self._log, f"drawn {prompt.example_id} {seed}\n".encode())
        return [reply_of(prompt, seed) for seed in params.seeds]

    async def aclose(self) -> None:
        pass


def digest_of(reply: Completion) -> str:
    return hashlib.sha256(reply.text.encode()).hexdigest()


async def judge(engine: RecordingEngine, store: Store, log: int, i: int) -> None:
    drawn = []
    for order, seeds in SEEDS.items():
        prompt = prompt_of(f"id-{i}", order)
        replies = await engine.sample(prompt, len(seeds), params_of(*seeds))
        for seed, reply in zip(seeds, replies, strict=True):
            os.write(log, f"reply {prompt.example_id} {seed} {digest_of(reply)}\n".encode())
            drawn.append((prompt, seed, reply))
    await store.put_verdict(verdict_of(f"id-{i}", drawn), position=i)
    os.write(log, f"verdict id-{i}\n".encode())


async def work(store: Store, inner: Engine, log: int, examples: int) -> None:
    finished = set(store.finished_ids())
    todo: Iterator[int] = (i for i in range(examples) if f"id-{i}" not in finished)
    engine = RecordingEngine(inner, store)

    async def worker() -> None:
        for i in todo:
            await judge(engine, store, log, i)

    task = asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    finally:
        await engine.aclose()


def engine_for(base_url: str | None, log: int) -> Engine:
    if base_url is None:
        return LoggedEngine(log)
    from spct.engines.openai import OpenAIEngine

    return OpenAIEngine(base_url=base_url, model="mock-judge", max_concurrency=IN_FLIGHT)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--file-size", type=int, help="RLIMIT_FSIZE in bytes")
    parser.add_argument("--base-url", help="an endpoint to draw from; without it a fake engine")
    args = parser.parse_args()
    log = os.open(args.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if args.file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (args.file_size, args.file_size))
    try:
        with Store.open(args.folder, {}) as store:
            engine = engine_for(args.base_url, log)
            asyncio.run(work(store, engine, log, args.examples))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except StoreError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
