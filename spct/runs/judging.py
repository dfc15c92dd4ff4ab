"""The one loop that judges and stores: examples through any reward model, whatever asks for it.

`sample`, `judge`, `bench`, `compare` and the data builders of training differ in what they do with
a verdict, and hand that in as `on_verdict`. Every reply is committed before it is parsed, every
verdict before it is handed on. What is wrong with one example stays with that example: it is
unscored with its reason, counted, and the run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import aclosing

from spct.core.generative import stream
from spct.errors import ContextOverflow, DataError, FormatError, SpctError
from spct.runs.tally import Tally
from spct.types import (
    Completion,
    Example,
    Prompt,
    RewardModel,
    Trajectory,
    Unscored,
    Verdict,
)

# Faults of one example: its template raises, its roles are odd, it does not fit the context.
OF_THE_EXAMPLE = (FormatError, DataError, ContextOverflow)

OnVerdict = Callable[[Example, Verdict], None]
Put = Callable[[Verdict, Example, int], Awaitable[None]]  # the last is its place in the input

_log = logging.getLogger(__name__)


async def judge_into(
    model: RewardModel,
    examples: Iterable[Example],
    *,
    put: Put | None = None,
    finished: Collection[str] = (),
    on_verdict: OnVerdict | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Judge what is not `finished`; return what it came to.

    `put` commits a verdict (`Store.put_verdict`), and only then `on_verdict` sees it. Verdicts come
    as they finish, at most `model.concurrency` examples are in flight, and `examples` is read as
    they are needed. An error that concerns the run as a whole (an endpoint that refuses the key, a
    full disk) ends it.
    """
    tally = Tally() if tally is None else tally
    in_flight: dict[str, tuple[Example, int]] = {}

    def unfinished() -> Iterator[Example]:
        for place, example in enumerate(examples):
            if example.id not in finished:
                if example.id in in_flight:
                    raise DataError(f"two examples have the id {example.id!r}; ids must be unique")
                in_flight[example.id] = example, place
                yield example

    async def judge(example: Example) -> Verdict:
        verdict = await judged(model, example)
        if put is not None:
            await put(verdict, example, in_flight[example.id][1])
        return verdict

    async with aclosing(stream(judge, unfinished(), model.concurrency)) as verdicts:
        async for verdict in verdicts:
            example, _ = in_flight.pop(verdict.example_id)
            tally.add(verdict)
            if on_verdict is not None:
                on_verdict(example, verdict)
    return tally


async def judged(model: RewardModel, example: Example) -> Verdict:
    """Judge one example; a fault of its own is a verdict without rewards that says why."""
    try:
        return await model.judge(example)
    except OF_THE_EXAMPLE as error:
        return without_judgement(model, example, str(error))
    except (SpctError, OSError, MemoryError):
        raise
    except Exception as error:
        # A bug in reading one odd row must not cost the thousands of good ones beside it; it is
        # counted with its name, the log has the place, and a run of nothing else exits with 3.
        _log.warning("judging example %r: %r", example.id, error, exc_info=True)
        return without_judgement(model, example, f"{type(error).__name__}: {error}")


def without_judgement(model: RewardModel, example: Example, why: str) -> Verdict:
    """The verdict on an example that could not be asked about: one unscored trajectory."""
    trajectory = Trajectory(
        example_id=example.id,
        index=0,
        seed=0,
        prompt=Prompt(example.id, (), tuple(range(example.n))),
        completion=Completion("", "error", error=why),
        outcome=Unscored("failed", why),
        fingerprint=model.fingerprint,
    )
    return Verdict(
        example_id=example.id,
        rewards=None,
        best=(),
        trajectories=(trajectory,),
        k_asked=1,
        k_drawn=1,
        k_counted=0,
        agreement=None,
    )
