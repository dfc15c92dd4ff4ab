"""The one loop that judges and stores: examples through any reward model, whatever asks for it.

`sample`, `judge`, `bench`, `compare` and the data builders of training differ in what they do with
a verdict, and hand that in as `on_verdict`. Every reply is committed before it is parsed, every
verdict before it is handed on. What is wrong with one example stays with that example: it is
unscored with its reason, counted, and the run goes on. `Tally` says what a run came to.

Nothing here loads what stores: a command that only judges reads on without it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from spct.core.settle import unjudged
from spct.core.stream import stream
from spct.errors import ContextOverflow, DataError, FormatError, OverBudget, SpctError
from spct.protocols import Traits
from spct.runs.packed import Counted, Packed
from spct.types import (
    Example,
    Reason,
    Unscored,
    Usage,
    Verdict,
)

_log = logging.getLogger(__name__)

N_REASONS = 3  # so many are printed: the commonest explain nearly all of a run
SKIPPED = 128  # rows in which others get their turn at least once, some milliseconds of reading
_LONGEST = 240  # characters of a detail that are shown
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")  # what differs between two rows with one fault


@dataclass(slots=True)
class Tally:
    """What a run came to so far. Nothing that failed is missing from it."""

    examples: int = 0
    without_rewards: int = 0
    judgements: int = 0
    ties: int = 0
    unscored: dict[Reason, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    unread: Counter[str] = field(default_factory=Counter)  # what examples bring to no use
    _causes: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    _said: dict[tuple[Reason, str], str] = field(default_factory=dict)

    def add(self, verdict: Verdict | Packed, instead_of: Verdict | None = None) -> None:
        """Count one verdict, which may replace an earlier one of the same example."""
        if instead_of is not None:
            self._count(Counted.of(instead_of), -1)
        self._count(verdict.counted if isinstance(verdict, Packed) else Counted.of(verdict), 1)

    def _count(self, verdict: Counted, times: int) -> None:
        used = verdict.usage
        self.examples += times
        self.without_rewards += times * (not verdict.has_rewards)
        self.judgements += times * verdict.k_drawn
        self.ties += times * verdict.is_tie
        self.usage += Usage(
            times * used.prompt_tokens,
            times * used.completion_tokens,
            times * used.calls,
            times * used.cached_tokens,
        )
        for unscored in verdict.unscored:
            reason, detail = unscored.reason, " ".join(unscored.detail.split())
            self.unscored[reason] = self.unscored.get(reason, 0) + times
            # Details quote the row that they are about: numbers and quoted words are left out
            # of what makes two of them the same cause.
            cause = reason, _VARYING.sub("", detail)[:_LONGEST]
            self._causes[cause] += times
            self._said.setdefault(cause, detail[:_LONGEST])

    @property
    def n_unscored(self) -> int:
        """Trajectories that could not be counted."""
        return sum(self.unscored.values())

    @property
    def unscored_share(self) -> float:
        """The unscored among the judgements drawn; 0 for an empty tally."""
        return self.n_unscored / self.judgements if self.judgements else 0.0

    @property
    def nothing_scored(self) -> bool:
        """Whether there were examples, and none of them has rewards."""
        return 0 < self.examples == self.without_rewards

    def summary(self) -> str:
        """One line for people, and one for each of the commonest reasons (see `check`)."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.unscored.items()))
        line = (
            f"{self.examples} examples, {self.judgements} judgements"
            f" ({self.unscored_share:.1%} unscored{': ' + reasons if reasons else ''}),"
            f" {self.without_rewards} without rewards, {self.ties} ties,"
            f" {self.usage.prompt_tokens} + {self.usage.completion_tokens} tokens"
            f" in {self.usage.calls} calls"
        )
        ignored = [
            f"  {count} of {self.examples} examples bring {what}, which this judge does not read"
            for what, count in sorted(self.unread.items())
        ]
        return "\n".join([line, *ignored, *([] if self.nothing_scored else self.reasons())])

    def reasons(self) -> list[str]:
        """The commonest causes of unscored judgements with their counts, one line each."""
        lines = []
        for cause, count in self._causes.most_common(N_REASONS):
            detail = f": {self._said[cause]}" if self._said[cause] else ""
            lines.append(f"  unscored, {count} of {self.judgements}: {cause[0]}{detail}")
        if more := len(self._causes) - N_REASONS:
            rest = self.n_unscored - sum(n for _, n in self._causes.most_common(N_REASONS))
            lines += [f"  unscored, {rest} of {self.judgements}: {more} other causes"] * (more > 0)
        return lines

    def check(self, max_unscored: float = 1.0) -> None:
        """Raise `OverBudget` if nothing was scored, with the reasons, or too little was."""
        if self.nothing_scored:
            heading = (
                f"nothing was scored: none of {self.examples} examples has rewards, "
                f"{self.n_unscored} of {self.judgements} judgements are unscored "
                "(`spct doctor` tries the engine out):"
            )
            raise OverBudget("\n".join([heading, *self.reasons()]))
        if self.unscored_share > max_unscored:
            raise OverBudget(
                f"{self.unscored_share:.1%} of the judgements are unscored, allowed is "
                f"{max_unscored:.1%} (--max-unscored); the reasons are above and in the records"
            )


# Faults of one example: its template raises, its roles are odd, it does not fit the context.
OF_THE_EXAMPLE = (FormatError, DataError, ContextOverflow)


V = TypeVar("V", Verdict, Verdict | Packed)
V_co = TypeVar("V_co", bound=Verdict | Packed, covariant=True)


class Judge(Protocol[V_co]):
    """What the loop asks of a reward model, and of what training draws with.

    One that judges elsewhere gives the verdict packed, and this process stores it unread.
    """

    @property
    def fingerprint(self) -> str:
        """Names what writes the judgements."""
        ...

    @property
    def concurrency(self) -> int:
        """How many examples may be in flight."""
        ...

    async def judge(self, example: Example) -> V_co:
        """Judge one example."""
        ...


OnVerdict = Callable[[Example, V], None]
Put = Callable[[V, Example, int], Awaitable[None]]  # the last is its place in the input


async def judge_into(
    model: Judge[V],
    examples: Iterable[Example],
    *,
    put: Put[V] | None = None,
    finished: Container[str] = (),
    wanted: Callable[[Example], bool] | None = None,
    on_verdict: OnVerdict[V] | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Judge what is `wanted` (all of it if None) and not `finished`; return what it came to.

    `put` commits a verdict (`Store.put_verdict`), and only then `on_verdict` sees it. Verdicts come
    as they finish, at most `model.concurrency` examples are in flight, and `examples` is read as
    they are needed. An error that concerns the run as a whole (an endpoint that refuses the key, a
    full disk) ends it.
    """
    tally = Tally() if tally is None else tally
    in_flight: dict[str, tuple[Example, int]] = {}

    def unfinished() -> Iterator[Example | None]:
        for place, example in enumerate(examples):
            if (wanted is not None and not wanted(example)) or example.id in finished:
                if place % SKIPPED == 0:
                    yield None
            else:
                if example.id in in_flight:
                    raise DataError(f"two examples have the id {example.id!r}; ids must be unique")
                in_flight[example.id] = example, place
                yield example

    async def judge(example: Example) -> V:
        verdict = await judged(model, example)
        if put is not None:
            await put(verdict, example, in_flight[example.id][1])
        return verdict

    async with aclosing(stream(judge, unfinished(), model.concurrency)) as verdicts:
        async for verdict in verdicts:
            example, _ = in_flight.pop(verdict.example_id)
            tally.add(verdict)
            tally.unread.update(unread(model, example))
            if on_verdict is not None:
                on_verdict(example, verdict)
    return tally


def unread(model: Judge[V], example: Example) -> list[str]:
    """What an example brings that a reward model leaves out of what it reads."""
    traits = getattr(model, "traits", None)  # what only draws training data has none
    if not isinstance(traits, Traits):
        return []
    ignored = []
    if example.reference is not None and not traits.takes_reference:
        ignored.append("a reference")
    if example.criteria is not None and not traits.takes_criteria:
        ignored.append("criteria")
    return ignored


async def judged(model: Judge[V], example: Example) -> V:
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


def without_judgement(model: Judge[V], example: Example, why: str) -> Verdict:
    """The verdict on an example that could not be asked about: one unscored trajectory."""
    return unjudged(example, Unscored("failed", why), 1, model.fingerprint)
