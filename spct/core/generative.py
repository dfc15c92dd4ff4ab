"""GenerativeRM: an engine between `plan` and `settle`; the only I/O on the way to a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterable,
    Mapping,
)
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, Self

from spct.core.cells import read_all
from spct.core.orders import Orders
from spct.core.plan import Call, plan
from spct.core.recipe import DEFAULT_PARAMS, changed, grammar_digest, params_identity, settings_of
from spct.core.settle import settle, unjudged
from spct.core.stream import stream
from spct.errors import EXAMPLE_FAULTS, ConfigError, first_error
from spct.protocols import Engine, Scorer, Source, Traits
from spct.text.format import POINTWISE, Format
from spct.text.parse import Parse
from spct.types import (
    JSON,
    Completion,
    Example,
    SamplingParams,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.criteria import check_criteria_recipe, criteria_identity, needs_of, scale_of
from spct.votes.guided import with_meta_scores
from spct.votes.stopping import Stopping, warn_if_idle
from spct.votes.vote import Vote, mean_scores

_LONG = 20_000  # characters of an example


@dataclass(frozen=True, eq=False)
class GenerativeRM:
    """A generative reward model: an engine, a format, k samples and a vote.

    `stopping` draws in waves and stops once the vote is decided; `meta` scores trajectories for
    meta-guided votes; `grammar` gives, for n responses, an EBNF that forces the output format on a
    model not trained on it, or None for no force; `source` gives an example its criteria;
    `concurrency` bounds the examples that `judge_many` has in flight.
    """

    engine: Engine
    fmt: Format = POINTWISE
    _: KW_ONLY
    k: int = 8
    vote: Vote = mean_scores
    orders: Orders = "balanced"
    params: SamplingParams = DEFAULT_PARAMS
    seed: int = 0
    parse: Parse = "strict"
    stopping: Stopping | None = None
    meta: Scorer | None = None
    grammar: Callable[[int], str | None] | None = None
    source: Source | None = None
    concurrency: int = 64

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k is {self.k}; a verdict needs at least one judgement")
        if self.vote.needs == "meta" and self.meta is None:
            raise ConfigError(
                f"the vote {self.vote.name!r} needs a meta RM: pass meta=... (--meta)"
            )
        if self.vote.needs == "logprobs" and not self.params.top_logprobs:
            raise ConfigError(
                f"the vote {self.vote.name!r} needs top_logprobs of at least 1 (--top-logprobs)"
            )
        if self.stopping is not None:
            self.stopping.check(self.vote)
        check_criteria_recipe(self.fmt, self.vote, self.params)

    @property
    def fingerprint(self) -> str:
        """Engine, model and format: what the scores come from."""
        return f"{self.engine.fingerprint}/{self.fmt.fingerprint}"

    @property
    def traits(self) -> Traits:
        """Those of its format and its vote."""
        fewest, most = self.fmt.sizes
        return Traits(
            fewest,
            most,
            gains_from_samples=True,
            takes_reference=self.fmt.shows_reference,
            scale=scale_of(self.fmt, self.vote),
            needs=needs_of(self.fmt, self.vote),
            settings=settings_of(self),
            takes_criteria=self.fmt.shows_criteria,
            answers="votes",
        )

    @property
    def usage(self) -> Usage:
        """What the meta RM has read."""
        return Usage() if self.meta is None else self.meta.usage

    def identity(self) -> Mapping[str, JSON]:
        """Engine, wording, recipe: all that a verdict depends on."""
        return {
            "engine": self.engine.fingerprint,
            "format": self.fmt.fingerprint,
            "pattern": self.fmt.pattern,
            "scale": [self.fmt.scale.low, self.fmt.scale.high],
            "k": self.k,
            "vote": self.vote.name,
            "stopping": None if self.stopping is None else self.stopping.name,
            "orders": self.orders,
            "seed": self.seed,
            **params_identity(self.params),
            "parse": self.parse,
            "grammar": grammar_digest(self.grammar),
            "meta": None if self.meta is None else self.meta.fingerprint,
            **criteria_identity(self.fmt, self.vote, self.source),
        }

    def with_(self, **changes: Any) -> Self:
        """A copy with other settings; those of `params` may be named by themselves."""
        return changed(self, changes)

    async def open(self) -> None:
        """Let the engine find out what its fingerprint needs."""
        await self.engine.open()

    async def judge(self, example: Example) -> Verdict:
        """Judge one example; every failure is in the verdict, none is a number."""
        if self.source is not None:
            found, used = await self.source.attach(example, self.engine)
            if isinstance(found, Unscored):
                verdict = unjudged(example, found, self.k, self.fingerprint)
            else:
                verdict = await self._judge(found)
            return replace(verdict, usage=verdict.usage + used)
        return await self._judge(example)

    async def _judge(self, example: Example) -> Verdict:
        self.fmt.check(example)
        if self.stopping:
            warn_if_idle(self.stopping, self.k, example.n)
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

    async def _settled(self, example: Example, trajectories: list[Trajectory]) -> Verdict:
        if self.meta is not None:
            trajectories = await with_meta_scores(self.meta, example, trajectories)
        return settle(example.id, trajectories, self.vote, self.k)

    def judge_many(self, examples: Iterable[Example]) -> AsyncGenerator[Verdict, None]:
        """Judge a stream; verdicts come as they finish, `examples` is read as it is needed."""
        return stream(self.judge, examples, self.concurrency)

    def settle(self, example_id: str, trajectories: Iterable[Trajectory], k: int) -> Verdict:
        """Vote on trajectories that are stored."""
        return settle(example_id, trajectories, self.vote, k)

    async def aclose(self) -> None:
        """Close the engine and the meta RM."""
        await self.engine.aclose()
        if self.meta is not None:
            await self.meta.aclose()

    async def _draw(self, example: Example, start: int, stop: int) -> list[Trajectory]:
        planned = partial(
            plan,
            example,
            self.fmt,
            self.k,
            orders=self.orders,
            seed=self.seed,
            start=start,
            stop=stop,
        )
        # Long texts take a while to neutralise: not on the loop that other callers share.
        size = sum(map(len, example.responses)) + sum(len(turn.content) for turn in example.query)
        calls = await asyncio.to_thread(planned) if size > _LONG else planned()
        with first_error():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._sample(call)) for call in calls]
        drawn = [(call, task.result()) for call, task in zip(calls, tasks, strict=True)]
        return read_all(drawn, example, self.fmt, self.vote, self.fingerprint, self.parse)

    async def _sample(self, call: Call) -> list[Completion]:
        params = replace(self.params, seeds=call.seeds)
        if self.grammar is not None:
            params = replace(params, grammar=self.grammar(len(call.prompt.order)))
        try:
            return await self.engine.sample(call.prompt, len(call.indices), params)
        except EXAMPLE_FAULTS as error:  # this example's fault, not the engine's
            return [Completion("", "error", error=str(error))] * len(call.indices)
