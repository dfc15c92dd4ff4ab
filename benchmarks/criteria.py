"""Judging by criteria against listwise judging: tokens as counted, and stored results read again.

    python -m benchmarks.criteria [--stored 8000] [--decided ENGINE [--model MODEL]]

n = 8 responses of 300 words and m = 6 criteria of 25 words. Tokens are words, as the scripted
engine counts them: prompts once per call, k samples of one prompt share it. `billed` counts the
cached prefix of a call (the text that an earlier call for the same response began with) at a tenth.
The last line is `spct rescore` on a run of so many stored results (a response's, by 8 criteria).
`--decided openvino` (or hf with a folder, or llamacpp) asks a model in this process 8 yes-or-no
questions of about 25 tokens on one state of about 1,000, against one question.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import random
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from spct.cli.main import main as command
from spct.config import Config, JudgeConfig
from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.runs.folder import write_run_files
from spct.runs.store import Store
from spct.text.format import MET, MET_ONE, POINTWISE
from spct.types import (
    Completion,
    Criteria,
    Criterion,
    Example,
    Message,
    Prompt,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from spct.votes.criteria import weighted

N, M, K = 8, 6, 8
CACHED = 0.1  # of the price of a token


def words(rng: random.Random, count: int) -> str:
    """A text of so many words."""
    return " ".join(f"w{rng.randrange(5000)}" for _ in range(count))


def example(rng: random.Random, n: int, m: int) -> Example:
    """A query of 60 words with n responses and m criteria."""
    items = tuple(Criterion(f"c{i}", words(rng, 25)) for i in range(m))
    query = (Message("user", words(rng, 60)),)
    return Example("e", query, tuple(words(rng, 300) for _ in range(n)), criteria=Criteria(items))


class Counted:
    """Replies of the usual length, and the words of each call with those that a cache holds."""

    def __init__(self) -> None:
        self.read = self.cached = self.written = 0
        self._before: list[list[str]] = []

    def reply(self, prompt: Prompt, seed: int) -> Completion:
        """A listwise critique of 60 words a response, a reason of 12 a criterion, or one token."""
        text = prompt.messages[0].content
        if prompt.criteria and len(prompt.criteria) == 1:
            top = {"1": math.log(0.9), "0": math.log(0.1)}
            return self._done(text, "1", (TokenLogprob("1", top["1"], top),))
        if prompt.criteria:
            ones = ", ".join("1" * len(prompt.criteria))
            reasons = "\n".join("because " * 12 for _ in prompt.criteria)
            return self._done(text, f"Analysis:\n{reasons}\nScores: \\boxed{{{ones}}}")
        told = "so it is " * 20 * len(prompt.order)
        scores = ", ".join(["7"] * len(prompt.order))
        return self._done(text, f"Analysis:\n{told}\nScores: \\boxed{{{scores}}}")

    def _done(
        self, text: str, said: str, tokens: tuple[TokenLogprob, ...] | None = None
    ) -> Completion:
        now = text.split()
        shared = max((_common(now, old) for old in self._before), default=0)
        if now not in self._before:
            self.read, self.cached = self.read + len(now), self.cached + shared
            self._before.append(now)
        self.written += len(said.split())
        return Completion(said, logprobs=tokens, usage=Usage(len(now), len(said.split()), 1))

    @property
    def tokens(self) -> int:
        """All words read and written."""
        return self.read + self.written

    @property
    def billed(self) -> float:
        """The same with cached words at their price."""
        return self.tokens - (1 - CACHED) * self.cached


def _common(a: list[str], b: list[str]) -> int:
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def counted(fmt, k, **settings) -> Counted:  # type: ignore[no-untyped-def]
    """What one judge uses for the example."""
    count = Counted()
    judge = GenerativeRM(ScriptedEngine(count.reply), fmt, k=k, **settings)
    verdict = asyncio.run(judge.judge(example(random.Random(1), N, M)))
    assert verdict.rewards is not None, verdict.unscored
    return count


async def store(folder: Path, n_stored: int) -> None:
    """A run with so many results; 4 responses a verdict."""
    judge = GenerativeRM(ScriptedEngine(Counted().reply), MET, k=1, vote=weighted)
    asked = example(random.Random(2), 4, 8)
    verdict = await judge.judge(asked)
    settings = Config(judge=JudgeConfig(format="met", k=1)).model_dump(mode="json")
    identity = dict(judge.identity())
    with Store.open(folder, identity) as run:
        write_run_files(folder, {"identity": identity, "settings": settings})
        for i in range(n_stored // 4):
            one = replace(verdict.trajectories[0], example_id=f"e{i}")
            one = replace(one, prompt=replace(one.prompt, example_id=one.example_id))
            await run.put_verdict(
                replace(verdict, example_id=one.example_id, trajectories=(one,)),
                replace(asked, id=one.example_id),
                i,
            )


def rescored(n_stored: int) -> float:
    """CPU seconds of `spct rescore` on so many stored results, without the start of Python."""
    with TemporaryDirectory() as root:
        for n in (4, n_stored):  # the first builds the validators
            folder = Path(root) / str(n)
            asyncio.run(store(folder, n))
            begin, told = time.process_time(), io.StringIO()
            with redirect_stdout(told), redirect_stderr(told), suppress(SystemExit):
                command(["rescore", str(folder)])
            spent = time.process_time() - begin
            assert f"{n // 4} verdicts: 0 with another best response, 0 with" in told.getvalue()
    return spent


async def decided(engine: str, model_name: str | None, rounds: int = 3) -> str:
    """How much longer 8 criteria take than one, as questions to a model in this process."""
    from benchmarks.embedded import SENTENCES
    from spct.config import EngineConfig
    from spct.models.readers import DecisionSettings, decision_model

    config = EngineConfig.model_validate({"kind": engine, "model": model_name})
    model = decision_model(DecisionSettings(ask="criteria", min_mass=0.0), config)
    await model.open()
    rng = random.Random(7)
    text = " ".join(rng.choice(SENTENCES) for _ in range(60))
    items = tuple(Criterion(f"c{i}", f"It says: {SENTENCES[i]}") for i in range(8))
    spent, read = {1: 0.0, 8: 0.0}, 0
    for turn in range(rounds + 1):  # the first is a warm-up
        for m in spent:
            query = (Message("user", f"Describe place {turn}{m}."),)  # no cache has it yet
            asked = Example("e", query, (text,), criteria=Criteria(items[:m]))
            begin = time.perf_counter()
            verdict = await model.judge(asked)
            spent[m] += (time.perf_counter() - begin) * (turn > 0)
            assert verdict.rewards is not None, verdict.unscored
            read = verdict.usage.prompt_tokens if m == 1 else read
    await model.aclose()
    return (
        f"{engine}: 8 criteria over one of {read} tokens with its state: {spent[8] / spent[1]:.2f} "
        f"({spent[8] / rounds:.2f} s against {spent[1] / rounds:.2f} s)"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", type=int, default=8000)
    parser.add_argument("--decided", choices=["openvino", "hf", "llamacpp"])
    parser.add_argument("--model")
    options = parser.parse_args()
    if options.decided:
        print(asyncio.run(decided(options.decided, options.model)))
        return
    base = counted(POINTWISE, K)
    rows = {
        f"listwise, k = {K}": base,
        "met, one call a response, k = 1": counted(MET, 1, vote=weighted),
        "met_one, one token a criterion": counted(
            MET_ONE, 1, vote=weighted, params=SamplingParams(top_logprobs=20)
        ),
    }
    print("judge                              tokens  of listwise  billed  of listwise")
    for name, one in rows.items():
        print(
            f"{name:<34} {one.tokens:>6}  {one.tokens / base.tokens:>11.2f}  {one.billed:>6.0f}"
            f"  {one.billed / base.billed:>11.2f}"
        )
    seconds = rescored(options.stored)
    per = seconds / options.stored
    print(
        f"{options.stored} stored results of 8 criteria rescored in {seconds:.2f} s of CPU;",
        end=" ",
    )
    print(f"100,000 at this rate: {1e5 * per:.1f} s")


if __name__ == "__main__":
    main()
