"""The seams: what may stand behind an engine, a scorer or a reward model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from spct.types import (
    JSON,
    Completion,
    Example,
    Message,
    Prompt,
    SamplingParams,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)


class Engine(Protocol):
    """Turns one prompt into n completions: the only I/O on the way to a verdict.

    An engine that derives from this class inherits what it does not need: `open`, `probe`,
    `retries` and `endpoints` of an engine that has nothing to find out, to report or to try again.
    """

    @property
    def fingerprint(self) -> str:
        """Names the engine, model and revision; equal fingerprints may share stored replies."""
        ...

    @property
    def retries(self) -> int:
        """How many requests were tried again so far."""
        return 0

    @property
    def endpoints(self) -> Sequence[str]:
        """How each of several endpoints does, a line each, for people who watch."""
        return ()

    async def open(self) -> None:
        """Find out what the fingerprint needs, such as the one model that is served."""
        return None

    async def probe(self, on_step: Callable[[str], None] | None = None) -> Probed | None:
        """Try out what the engine can do, with a handful of small requests.

        `on_step` is called with what is tried next, as this may take minutes.
        """
        return None

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Return exactly n completions of one prompt; raise `EngineError` if it cannot go on."""
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory. Idempotent."""


class Probed(Protocol):
    """What an engine reports of itself: a dataclass, whose fields are shown to people."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def is_usable(self) -> bool:
        """Whether judging with this engine can work at all."""
        ...


class Scorer(Protocol):
    """A head on a backbone: a conversation in, one unbounded number (a logit) out."""

    @property
    def fingerprint(self) -> str:
        """Names the model and revision."""
        ...

    @property
    def usage(self) -> Usage:
        """Tokens read and conversations scored so far."""
        ...

    async def score(self, conversations: Sequence[tuple[Message, ...]]) -> list[float]:
        """Return one finite float per conversation, in order; higher is better."""
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory. Idempotent."""
        ...


class Source(Protocol):
    """Where a judge's criteria come from, if not from the examples: a file, or a writer."""

    @property
    def fingerprint(self) -> str:
        """Names all lists that it may give: equal fingerprints give equal lists."""
        ...

    async def attach(self, example: Example, engine: Engine) -> tuple[Example | Unscored, Usage]:
        """The example with its criteria or why there are none, and what that cost."""
        ...


Need = Literal["logprobs", "meta"]
# How a model comes to a probability for each option of a typed question: it has `decide` (a
# decision model), from the logits of the options' texts, from their summed pairwise margins, or
# from the share of its judgements that an option wins.
AnswersBy = Literal["itself", "logits", "margins", "votes"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What callers must know of a reward model, so that nobody asks for its class.

    `settings` are the names that `with_` takes. `gains_from_samples` says whether a larger k can
    change a verdict. `scale` bounds its scores; None where they are unbounded logits. `needs` is
    what its engine or its judgements must bring. `joins_groups` says whether members of one group
    may be asked for in several calls, as through a gateway. `answers` says how it answers typed
    questions (spct/models/answering.py); None: it does not. `takes_criteria` says whether it holds
    responses to an example's list.
    """

    min_responses: int = 1
    max_responses: int | None = None
    gains_from_samples: bool = False
    takes_reference: bool = True
    scale: tuple[float, float] | None = None
    needs: frozenset[Need] = frozenset()
    settings: frozenset[str] = frozenset()
    joins_groups: bool = False
    answers: AnswersBy | None = None
    takes_criteria: bool = False

    def takes(self, n: int) -> bool:
        """Whether the model judges n responses at once."""
        return self.min_responses <= n and (self.max_responses is None or n <= self.max_responses)


class RewardModel(Protocol):
    """Anything that judges: every paradigm is called through this.

    A reward model is frozen: `with_` gives a changed copy, which shares engine and scorer.
    """

    @property
    def fingerprint(self) -> str:
        """Names what writes the judgements: model, revision, wording."""
        ...

    @property
    def traits(self) -> Traits:
        """What it takes, needs and gains."""
        ...

    @property
    def engine(self) -> Engine | None:
        """What its texts come from; None for a model that asks no language model."""
        ...

    @property
    def concurrency(self) -> int:
        """How many examples `judge_many` has in flight."""
        ...

    @property
    def usage(self) -> Usage:
        """What its head has read so far. The engine's work is in the usage of each verdict."""
        ...

    def identity(self) -> Mapping[str, JSON]:
        """All that its verdicts depend on, flat, by the name of the setting."""
        ...

    def with_(self, **changes: Any) -> Self:
        """A copy with other settings; a name that is not in `traits.settings` is an error."""
        ...

    async def open(self) -> None:
        """Find out what the fingerprint needs. Idempotent."""
        ...

    async def judge(self, example: Example) -> Verdict:
        """Judge one example."""
        ...

    def judge_many(self, examples: Iterable[Example]) -> AsyncIterator[Verdict]:
        """Judge a stream with bounded concurrency; verdicts come as they finish."""
        ...

    def settle(self, example_id: str, trajectories: Sequence[Trajectory], k: int) -> Verdict:
        """Vote on trajectories that are stored, as `judge` does on those that it has drawn."""
        ...

    async def aclose(self) -> None:
        """Close engine and scorer. Idempotent."""
        ...
