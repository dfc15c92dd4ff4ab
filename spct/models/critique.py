"""The semi-scalar reward model (CLoud): a written critique, then a head that reads it.

For each response an engine writes k critiques; one pooled forward over query, response and critique
gives a logit each; the reward is their mean (Eq. 12). Any engine can write the critiques. A sample
counts only if all n responses got a critique that ended by itself: a cut or failed critique is left
out with its reason.

Departure from CLoud's own serving: that runs text and head in one forked engine; here the head is a
second pass, so that any engine will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

from spct.core.orders import sample_seed
from spct.core.recipe import DEFAULT_PARAMS, changed, params_identity, settings_of
from spct.core.settle import settle
from spct.core.stream import stream
from spct.errors import EXAMPLE_FAULTS, ConfigError, first_error
from spct.models.encode import Conversation
from spct.models.formats import CRITIQUE
from spct.protocols import Engine, Scorer, Traits
from spct.text.format import Format
from spct.types import (
    JSON,
    Completion,
    Example,
    Judgement,
    Message,
    Prompt,
    Reason,
    SamplingParams,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import mean_scores

_REASONS: dict[str, Reason] = {"length": "truncated", "content_filter": "refused"}


@dataclass(frozen=True, eq=False)
class CritiqueScalarRM:
    """Rewards are logits on query, response and critique, averaged over k critiques."""

    engine: Engine
    scorer: Scorer
    fmt: Format = CRITIQUE
    _: KW_ONLY
    k: int = 1
    params: SamplingParams = DEFAULT_PARAMS
    seed: int = 0
    concurrency: int = 16

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k is {self.k}; a reward needs at least one critique")

    @property
    def fingerprint(self) -> str:
        """What the rewards come from: critic, wording and scorer."""
        return f"{self.engine.fingerprint}/{self.fmt.fingerprint}/{self.scorer.fingerprint}"

    @property
    def traits(self) -> Traits:
        """Any number of responses; more critiques help a little."""
        return Traits(
            gains_from_samples=True,
            takes_reference=self.fmt.shows_reference,
            settings=settings_of(self),
            answers="logits",
        )

    @property
    def usage(self) -> Usage:
        """What the head has read so far."""
        return self.scorer.usage

    def identity(self) -> Mapping[str, JSON]:
        """Critic, wording, head and recipe."""
        return {
            "engine": self.engine.fingerprint,
            "format": self.fmt.fingerprint,
            "scorer": self.scorer.fingerprint,
            "k": self.k,
            "vote": mean_scores.name,
            "seed": self.seed,
            **params_identity(self.params),
        }

    def with_(self, **changes: Any) -> Self:
        """A copy with other settings; those of `params` may be named by themselves."""
        return changed(self, changes)

    async def open(self) -> None:
        """Let the critic find out what its fingerprint needs."""
        await self.engine.open()

    async def judge(self, example: Example) -> Verdict:
        """Write k critiques of each response, score all, average."""
        prompts = [critique_prompt(example, i, self.fmt) for i in range(example.n)]
        seeds = [sample_seed(self.seed, example.id, j) for j in range(self.k)]
        try:
            critiques_N = await self._critiques(prompts, seeds)
            trajectories = await self._score(example, prompts, seeds, critiques_N)
        except EXAMPLE_FAULTS as error:
            gone = Completion("", "error", error=str(error))
            trajectories = [
                self._trajectory(example, prompts, j, seeds[j], [gone] * example.n, None)
                for j in range(self.k)
            ]
        return self.settle(example.id, trajectories, self.k)

    def judge_many(self, examples: Iterable[Example]) -> AsyncGenerator[Verdict, None]:
        """Judge a stream with bounded concurrency."""
        return stream(self.judge, examples, self.concurrency)

    def settle(self, example_id: str, trajectories: Sequence[Trajectory], k: int) -> Verdict:
        """The mean over the samples whose critiques are all usable (Eq. 12)."""
        return settle(example_id, trajectories, mean_scores, k)

    async def aclose(self) -> None:
        """Close the critic and the scorer."""
        await self.engine.aclose()
        await self.scorer.aclose()

    async def _critiques(
        self, prompts: Sequence[Prompt], seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """The critiques of each prompt; equal responses have equal prompts, and share theirs."""
        params = replace(self.params, seeds=tuple(seeds))
        # an engine computes each prompt once, and equal texts must not get different rewards
        unique = list({prompt.messages: prompt for prompt in prompts}.values())
        with first_error():
            async with asyncio.TaskGroup() as group:
                tasks = {
                    prompt.messages: group.create_task(
                        self.engine.sample(prompt, len(seeds), params)
                    )
                    for prompt in unique
                }
        return [tasks[prompt.messages].result() for prompt in prompts]

    async def _score(
        self,
        example: Example,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        critiques_N: Sequence[Sequence[Completion]],
    ) -> list[Trajectory]:
        """One trajectory per sample: its n critiques and, if all are usable, their n logits."""
        rows = [list(row) for row in zip(*critiques_N, strict=True)]  # by sample, then response
        usable = [j for j, row in enumerate(rows) if all(map(is_usable, row))]
        conversations = {
            j: [
                critique_conversation(prompt, critique.text)
                for prompt, critique in zip(prompts, rows[j], strict=True)
            ]
            for j in usable
        }
        scores, too_long = await self._logits(conversations, example.n)
        for j, why in too_long.items():
            rows[j] = [replace(c, finish_reason="error", error=why) for c in rows[j]]
        return [
            self._trajectory(example, prompts, j, seeds[j], row, scores.get(j))
            for j, row in enumerate(rows)
        ]

    async def _logits(
        self, conversations: Mapping[int, Sequence[Conversation]], n: int
    ) -> tuple[dict[int, tuple[float, ...]], dict[int, str]]:
        """The n logits of each sample, in one call; where one does not fit, sample by sample."""
        together = [c for several in conversations.values() for c in several]
        try:
            logits = await self.scorer.score(together) if together else []
        except EXAMPLE_FAULTS as error:
            if len(conversations) == 1:
                return {}, dict.fromkeys(conversations, str(error))
            parts = [await self._logits({j: c}, n) for j, c in conversations.items()]
            return (
                {j: s for scores, _ in parts for j, s in scores.items()},
                {j: why for _, too_long in parts for j, why in too_long.items()},
            )
        return {j: tuple(logits[i * n : (i + 1) * n]) for i, j in enumerate(conversations)}, {}

    def _trajectory(
        self,
        example: Example,
        prompts: Sequence[Prompt],
        index: int,
        seed: int,
        critiques: Sequence[Completion],
        scores: tuple[float, ...] | None,
    ) -> Trajectory:
        text = "\n\n".join(
            f"Response {i}: {critique.text}" for i, critique in enumerate(critiques, 1)
        )
        outcome: Judgement | Unscored
        if scores is None:
            broken = next(c for c in critiques if not is_usable(c))
            outcome = why_unusable(broken)
        else:
            outcome = Judgement((), text, scores)
        return Trajectory(
            example_id=example.id,
            index=index,
            seed=seed,
            prompt=Prompt(
                example.id, tuple(m for p in prompts for m in p.messages), tuple(range(example.n))
            ),
            completion=Completion(text, usage=sum((c.usage for c in critiques), Usage())),
            outcome=outcome,
            fingerprint=self.fingerprint,
        )


def critique_prompt(example: Example, i: int, fmt: Format = CRITIQUE) -> Prompt:
    """What the critic reads: the query and response `i` alone."""
    return fmt.render(replace(example, responses=(example.responses[i],)), (0,))


def critique_conversation(prompt: Prompt, critique: str) -> Conversation:
    """What the head reads: the critic's prompt and its critique, verbatim."""
    return (*prompt.messages, Message("assistant", critique))


def is_usable(critique: Completion) -> bool:
    """Whether a critique ended by itself and says something."""
    return critique.finish_reason == "stop" and bool(critique.text.strip())


def why_unusable(critique: Completion) -> Unscored:
    """What is wrong with a critique that is not usable."""
    if critique.finish_reason == "stop":
        return Unscored("empty", "a critique without text")
    reason = _REASONS.get(critique.finish_reason, "failed")
    return Unscored(reason, critique.error or critique.text[:200])
