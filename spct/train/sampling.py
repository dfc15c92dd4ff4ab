"""Draw trajectories for training: any engine in, verdicts with their trajectories out.

Every stage that samples goes through here, and this goes through `plan`, `read` and `settle`. Each
sample shuffles the responses afresh (the paper says so for inference and nothing for data). A
single response is asked for 0 or 1, several for one score each, so a pair of formats is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from spct.core.format import FORMATS, POINTWISE, SINGLE, Format, load_format
from spct.core.generative import stream
from spct.core.plan import Call, plan
from spct.core.settle import read, settle
from spct.core.vote import mean_scores
from spct.errors import ContextOverflow
from spct.runs.engines import RecordingEngine
from spct.runs.store import Store
from spct.types import Completion, Engine, Example, SamplingParams, Trajectory, Verdict


@dataclass(frozen=True, slots=True)
class Formats:
    """The format for several responses and the one (0/1 scale) for a single response."""

    several: Format = POINTWISE
    single: Format = SINGLE

    def of(self, example: Example) -> Format:
        """The format that shows this example."""
        return self.for_n(example.n)

    def for_n(self, n: int) -> Format:
        """The format that shows `n` responses."""
        return self.single if n == 1 else self.several

    @property
    def fingerprint(self) -> str:
        """Names both templates."""
        return f"{self.several.fingerprint}+{self.single.fingerprint}"


def formats_from(several: str, single: str) -> Formats:
    """Formats by shipped name or by template file."""
    return Formats(_format(several, POINTWISE), _format(single, SINGLE))


def _format(name: str, like: Format) -> Format:
    return FORMATS[name] if name in FORMATS else load_format(Path(name), like)


@dataclass(frozen=True, slots=True)
class Draw:
    """What to draw of each example: `n_samples` non-hinted ones, and one hinted if `hinted`."""

    n_samples: int
    hinted: bool = False
    params: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0


async def draw(example: Example, engine: Engine, formats: Formats, what: Draw) -> Verdict:
    """Sample one example. The hinted sample has the index `n_samples`; a single gets no hint."""
    fmt, n = formats.of(example), what.n_samples
    calls = plan(example, fmt, n, orders="random", seed=what.seed) if n else []
    if what.hinted and example.n > 1 and example.gold is not None:
        best = example.gold.index(max(example.gold))
        calls += plan(
            example, fmt, n + 1, orders="random", seed=what.seed, hint=best, start=n, stop=n + 1
        )
    parts = await asyncio.gather(*(_sample(call, engine, fmt, what.params) for call in calls))
    trajectories = [trajectory for part in parts for trajectory in part]
    return settle(example.id, trajectories, mean_scores, len(trajectories))


async def _sample(
    call: Call, engine: Engine, fmt: Format, params: SamplingParams
) -> list[Trajectory]:
    params = replace(params, seeds=call.seeds)
    try:
        completions = await engine.sample(call.prompt, len(call.indices), params)
    except ContextOverflow as error:  # this example's fault: counted as unscored, the rest goes on
        completions = [Completion("", "error", error=str(error))] * len(call.indices)
    return read(call, completions, fmt, f"{engine.fingerprint}/{fmt.fingerprint}")


async def draw_many(
    examples: Iterable[Example], engine: Engine, formats: Formats, what: Draw, concurrency: int
) -> AsyncIterator[Verdict]:
    """Sample a stream of examples, at most `concurrency` at once, as they finish."""

    async def one(example: Example) -> Verdict:
        return await draw(example, engine, formats, what)

    async for verdict in stream(one, examples, concurrency):
        yield verdict


async def draw_into(
    store: Store,
    examples: Iterable[Example],
    engine: Engine,
    formats: Formats,
    what: Draw,
    concurrency: int,
) -> None:
    """Sample what the store does not hold yet; every reply is committed before it is read."""
    finished = store.finished_ids()
    recording = RecordingEngine(engine, store)
    positions: dict[str, tuple[int, Example]] = {}

    def left() -> Iterable[Example]:
        for position, example in enumerate(examples):
            if example.id not in finished:
                positions[example.id] = (position, example)
                yield example

    async for verdict in draw_many(left(), recording, formats, what, concurrency):
        position, example = positions.pop(verdict.example_id)
        await store.put_verdict(verdict, example, position=position)
