"""Draw trajectories for training: any engine in, verdicts with their trajectories out.

Every stage that samples goes through here, and this through `plan`, `read` and `settle` and the
loop that judges and stores. Each
sample shuffles the responses afresh (the paper says so for inference and nothing for data). A
single response is asked for 0 or 1, several for one score each, so a pair of formats is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from spct.core.plan import Call, plan
from spct.core.settle import read, settle
from spct.errors import EXAMPLE_FAULTS, first_error
from spct.protocols import Engine
from spct.runs.engines import RecordingEngine
from spct.runs.judging import Tally, judge_into
from spct.runs.run import look_back
from spct.runs.store import Store
from spct.text.format import FORMATS, POINTWISE, SINGLE, Format, load_format
from spct.train.outcome import gold_problem
from spct.types import JSON, Completion, Example, SamplingParams, Trajectory, Verdict
from spct.votes.vote import mean_scores


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

    def identity(self, engine: Engine, formats: Formats) -> dict[str, JSON]:
        """All that the trajectories depend on, but for the examples."""
        return {
            "n_samples": self.n_samples,
            "hinted": self.hinted,
            "temperature": self.params.temperature,
            "max_tokens": self.params.max_tokens,
            "seed": self.seed,
            "engine": engine.fingerprint,
            "formats": formats.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws of each example what a stage asks for: a `Judge` for the loop that judges and stores.

    It votes too, but what training takes from a verdict are its trajectories.
    """

    engine: Engine
    formats: Formats
    what: Draw
    concurrency: int

    @property
    def fingerprint(self) -> str:
        """Engine and formats."""
        return f"{self.engine.fingerprint}/{self.formats.fingerprint}"

    async def judge(self, example: Example) -> Verdict:
        """Sample one example. The hinted sample has index `n_samples`; a single gets no hint."""
        fmt, n, seed = self.formats.of(example), self.what.n_samples, self.what.seed
        calls = plan(example, fmt, n, orders="random", seed=seed) if n else []
        if self.what.hinted and example.n > 1 and example.gold is not None:
            best = example.gold.index(max(example.gold))
            calls += plan(
                example, fmt, n + 1, orders="random", seed=seed, hint=best, start=n, stop=n + 1
            )
        with first_error():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._sample(call, fmt)) for call in calls]
        trajectories = [trajectory for task in tasks for trajectory in task.result()]
        return settle(example.id, trajectories, mean_scores, len(trajectories))

    async def _sample(self, call: Call, fmt: Format) -> list[Trajectory]:
        params = replace(self.what.params, seeds=call.seeds)
        try:
            completions = await self.engine.sample(call.prompt, len(call.indices), params)
        except EXAMPLE_FAULTS as error:  # of this call alone: its siblings may fit
            completions = [Completion("", "error", error=str(error))] * len(call.indices)
        return read(call, completions, fmt, f"{self.engine.fingerprint}/{fmt.fingerprint}")


async def draw_into(
    store: Store,
    examples: Iterable[Example],
    engine: Engine,
    formats: Formats,
    what: Draw,
    concurrency: int,
    *,
    retry_unscored: bool = False,
) -> Tally:
    """Sample what the store does not hold yet; raise `OverBudget` if nothing of it is usable.

    Nothing is asked about an example whose gold cannot decide: no judgement of it can train.
    With `retry_unscored` what is stored and does not count is drawn once more.
    """
    before = look_back(store, retry_unscored=retry_unscored)
    sampler = Sampler(RecordingEngine(engine, store, before.again), formats, what, concurrency)
    tally = await judge_into(
        sampler,
        examples,
        put=store.put_verdict,
        finished=before.finished,
        wanted=lambda example: gold_problem(example.gold, example.n) is None,
    )
    before.add_to(tally, store)
    tally.check()
    return tally
