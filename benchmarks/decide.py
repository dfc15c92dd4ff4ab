"""Decisions in this process: python -m benchmarks.decide [--pairs 100].

- judgements per second: pairs whose prompt has about 300 tokens, one choice each, against a greedy
  written judgement of the same pairs (a few of them) by the shipped judge in the same engine;
- the reader's time over that of a bare forward over the same tokens by the same compiled model;
- 8 questions of about 25 tokens on one state of about 1,000, against one.

Goals: 5 times, 1.1 and 1.5. Run it alone; parts are measured in turns, so that a slow minute hits
all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from benchmarks.embedded import SENTENCES
from spct.config import Config, JudgeConfig
from spct.engines.readouts.decision import Question
from spct.engines.readouts.local import LocalReader
from spct.engines.readouts.openvino import OpenVINOBackend
from spct.engines.readouts.packing import packed
from spct.models.decision import DecisionRM, asking
from spct.models.judges import build_judge
from spct.types import Example, Message


def pair(seed: int, n_sentences: int) -> Example:
    """A pair whose texts are drawn by the seed."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choice(SENTENCES) for _ in range(n_sentences)) for _ in range(2)]
    query = (Message("user", f"Describe place {seed}."),)
    return Example(f"e{seed}", query, tuple(texts))


class Bare:
    """A backend that also remembers what it was asked, so that it can be forwarded again."""

    def __init__(self, backend: OpenVINOBackend) -> None:
        self.backend, self.asked = backend, list[list[int]]()

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def masses(self, shared, rests, wanted):
        self.asked += [[*shared, *rest] for rest in rests]
        return self.backend.masses(shared, rests, wanted)

    def forward(self, ids: list[int]) -> float:
        (row,) = packed((), [ids])
        started = time.perf_counter()
        self.backend._forward(row)
        return time.perf_counter() - started


async def timed(awaitable) -> float:
    started = time.perf_counter()
    await awaitable
    return time.perf_counter() - started


async def main(args: argparse.Namespace) -> None:
    backend = Bare(OpenVINOBackend())
    reader = LocalReader(backend, min_mass=0.0)
    model = DecisionRM(reader, asking("choice"), n_orders=1)
    judge = build_judge(Config(judge=JudgeConfig(k=1, temperature=0.0)))
    await model.judge(pair(0, 2))
    await judge.judge(pair(0, 2))
    backend.asked.clear()
    every = max(1, args.pairs // args.written)
    decided, bare, written, n_written = 0.0, 0.0, 0.0, 0
    for i in range(args.pairs):
        example = pair(i + 1, args.sentences)
        decided += await timed(model.judge(example))
        bare += backend.forward(backend.asked[-1])
        if i % every == 0:
            written, n_written = written + await timed(judge.judge(example)), n_written + 1
    await judge.aclose()
    tokens = sum(map(len, backend.asked)) / args.pairs
    per_s, written_per_s = args.pairs / decided, n_written / written
    state = " ".join(random.Random(7).choice(SENTENCES) for _ in range(args.state_sentences))
    questions = [
        Question(f"q{i}", "yes_no", f"{SENTENCES[i]} Is that said of the place above?")
        for i in range(8)
    ]
    one, eight = 0.0, 0.0
    for i in range(args.rounds):
        one += await timed(reader.answer(f"{i} {state}", questions[:1]))
        eight += await timed(reader.answer(f"{i} {state}", questions))
    n_state = len(backend.ids((Message("user", state),)))
    await reader.aclose()
    print(
        f"{args.pairs} pairs of {tokens:.0f} tokens: {per_s:.2f} decisions/s, "
        f"{written_per_s:.3f} written judgements/s: {per_s / written_per_s:.1f} times (goal 5)\n"
        f"decision over a bare forward: {decided / bare:.3f} (goal 1.1)\n"
        f"8 questions on a state of {n_state} tokens over one: {eight / one:.2f} (goal 1.5)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--written", type=int, default=10, help="pairs that are also written about")
    parser.add_argument("--sentences", type=int, default=7, help="of each response")
    parser.add_argument("--state-sentences", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args()))
