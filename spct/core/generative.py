"""sample and settle: the one way from an example to a verdict.

`settle` (pure) turns what an engine brought back into a verdict, and `GenerativeRM` puts an engine
between `plan` and `settle`. Everything that judges - evaluator, server, data builder, RL reward -
goes through these.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from spct.core.format import POINTWISE, Format, meta_conversation
from spct.core.plan import Call, Orders, plan
from spct.core.stopping import Stopping
from spct.core.vote import Vote, best, mean_scores
from spct.errors import ConfigError, ContextOverflow, EngineError
from spct.types import (
    Completion,
    Engine,
    Example,
    SamplingParams,
    Scorer,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)


def read(
    call: Call,
    completions: Sequence[Completion],
    fmt: Format,
    fingerprint: str,
    *,
    lenient: bool = False,
) -> list[Trajectory]:
    """Parse what a call brought back; one trajectory a sample, in the original order."""
    return [
        Trajectory(
            call.prompt.example_id,
            index,
            seed,
            call.prompt,
            completion,
            fmt.read(completion, call.prompt.order, lenient=lenient),
            fingerprint,
        )
        for index, seed, completion in zip(call.indices, call.seeds, completions, strict=True)
    ]


def settle(
    example_id: str, trajectories: Iterable[Trajectory], vote: Vote, k_asked: int
) -> Verdict:
    """Vote. Every trajectory is kept in the verdict, by sample index; the unscored do not count."""
    drawn = tuple(sorted(trajectories, key=lambda t: t.index))
    counted = [t for t in drawn if vote.counts(t)]
    rewards = vote(counted)
    top = () if rewards is None else best(rewards)
    agreeing = sum(best(t.judgement.scores) == top for t in counted if t.judgement)
    return Verdict(
        example_id=example_id,
        rewards=rewards,
        best=top,
        trajectories=drawn,
        k_asked=k_asked,
        k_drawn=len(drawn),
        k_counted=len(counted),
        agreement=agreeing / len(counted) if counted and rewards is not None else None,
        usage=sum((t.completion.usage for t in drawn), Usage()),
    )


class GenerativeRM:
    """A generative reward model: an engine, a format, k samples and a vote.

    `stopping` draws in waves and stops once the vote is decided; `meta` scores trajectories for
    meta-guided votes; `grammar` gives, for n responses, an EBNF that forces the output format on a
    model not trained on it, or None for no force; `concurrency` bounds the examples that
    `judge_many` has in flight.
    """

    def __init__(
        self,
        engine: Engine,
        fmt: Format = POINTWISE,
        *,
        k: int = 8,
        vote: Vote = mean_scores,
        orders: Orders = "balanced",
        params: SamplingParams | None = None,
        seed: int = 0,
        lenient: bool = False,
        stopping: Stopping | None = None,
        meta: Scorer | None = None,
        grammar: Callable[[int], str | None] | None = None,
        concurrency: int = 64,
    ) -> None:
        if k < 1:
            raise ConfigError(f"k is {k}; a verdict needs at least one judgement")
        if vote.needs == "meta" and meta is None:
            raise ConfigError(f"the vote {vote.name!r} needs a meta RM: pass meta=... (--meta)")
        params = params or SamplingParams()
        if vote.needs == "logprobs" and not params.top_logprobs:
            raise ConfigError(
                f"the vote {vote.name!r} needs top_logprobs of at least 1 (--top-logprobs)"
            )
        if stopping is not None:
            stopping.check(vote)
        self.engine, self.fmt, self.k, self.vote = engine, fmt, k, vote
        self.orders, self.params, self.seed, self.lenient = orders, params, seed, lenient
        self.stopping, self.meta, self.grammar = stopping, meta, grammar
        self.concurrency = concurrency

    @property
    def fingerprint(self) -> str:
        """Engine, model and format: what the scores come from."""
        return f"{self.engine.fingerprint}/{self.fmt.fingerprint}"

    async def judge(self, example: Example) -> Verdict:
        """Judge one example; every failure is in the verdict, none is a number."""
        self.fmt.check(example)
        ends = self.stopping.waves(self.k, example.n) if self.stopping else (self.k,)
        trajectories: list[Trajectory] = []
        for end in ends:
            trajectories += await self._draw(example, len(trajectories), end)
            if (
                self.stopping
                and end < self.k
                and self.stopping.should_stop(
                    trajectories, self.vote, self.fmt.score_scale, self.k - end, len(ends) - 1
                )
            ):
                break
        return await self._settled(example, trajectories)

    async def judge_drawn(self, example: Example, n_drawn: int) -> Verdict:
        """The verdict on the first `n_drawn` judgements: what a stored run holds of it."""
        return await self._settled(example, await self._draw(example, 0, n_drawn))

    async def _settled(self, example: Example, trajectories: list[Trajectory]) -> Verdict:
        if self.meta is not None:
            trajectories = await with_meta_scores(self.meta, example, trajectories)
        return settle(example.id, trajectories, self.vote, self.k)

    def judge_many(self, examples: Iterable[Example]) -> AsyncGenerator[Verdict, None]:
        """Judge a stream; verdicts come as they finish, `examples` is read as it is needed."""
        return stream(self.judge, examples, self.concurrency)

    async def aclose(self) -> None:
        """Close the engine."""
        await self.engine.aclose()

    async def _draw(self, example: Example, start: int, stop: int) -> list[Trajectory]:
        calls = plan(
            example, self.fmt, self.k, orders=self.orders, seed=self.seed, start=start, stop=stop
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._sample(call)) for call in calls]
        except BaseExceptionGroup as errors:  # one task's error; the others were cancelled for it
            raise errors.exceptions[0] from None
        return [trajectory for task in tasks for trajectory in task.result()]

    async def _sample(self, call: Call) -> list[Trajectory]:
        params = replace(self.params, seeds=call.seeds)
        if self.grammar is not None:
            params = replace(params, grammar=self.grammar(len(call.prompt.order)))
        try:
            completions = await self.engine.sample(call.prompt, len(call.indices), params)
        except ContextOverflow as error:  # this example's fault, not the engine's
            failed = Completion("", "error", error=str(error))
            completions = [failed] * len(call.indices)
        trajectories = read(call, completions, self.fmt, self.fingerprint, lenient=self.lenient)
        if self.vote.needs == "logprobs":
            _require_logprobs(trajectories, self.engine.fingerprint)
            return [_with_probability(t) for t in trajectories]
        return trajectories


def _require_logprobs(trajectories: Sequence[Trajectory], engine: str) -> None:
    for t in trajectories:
        if t.judgement and not t.completion.logprobs:
            raise EngineError(
                f"the vote needs token probabilities, and {engine} gave none; use an engine with "
                "log probabilities (spct doctor shows which) or another vote"
            )


def _with_probability(t: Trajectory) -> Trajectory:
    """The trajectory; unscored if its verdict's tokens have no usable distribution."""
    if t.judgement is None or t.judgement.expected is not None:
        return t
    why = "too little of the verdict's probability is on tokens that the engine reported"
    return replace(t, outcome=Unscored("no_probability", why))


async def with_meta_scores(
    meta: Scorer, example: Example, trajectories: Sequence[Trajectory]
) -> list[Trajectory]:
    """The trajectories, with a meta score (a logit) on each that has a judgement."""
    scored = [t for t in trajectories if t.judgement is not None]
    scores = await meta.score([meta_conversation(example, t) for t in scored]) if scored else []
    by_index = {t.index: score for t, score in zip(scored, scores, strict=True)}
    return [replace(t, meta_score=by_index.get(t.index)) for t in trajectories]


async def stream(
    judge: Callable[[Example], Awaitable[Verdict]], examples: Iterable[Example], concurrency: int
) -> AsyncGenerator[Verdict, None]:
    """Run `judge` over examples, at most `concurrency` at once; the first exception ends it."""
    source: Iterator[Example] = iter(examples)
    done: asyncio.Queue[Verdict | Exception | None] = asyncio.Queue(maxsize=concurrency)

    async def work() -> None:
        try:
            for example in source:  # shared: each worker takes the next one
                await done.put(await judge(example))
            await done.put(None)
        except Exception as error:
            await done.put(error)

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    running = concurrency
    try:
        while running:
            item = await done.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
