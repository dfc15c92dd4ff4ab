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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from spct.core.format import Format
from spct.core.generative import settle, stream
from spct.core.plan import sample_seed
from spct.core.vote import mean_scores
from spct.errors import ConfigError, ContextOverflow
from spct.models.encode import Conversation
from spct.models.formats import CRITIQUE
from spct.types import (
    Completion,
    Engine,
    Example,
    Judgement,
    Message,
    Prompt,
    Reason,
    SamplingParams,
    Scorer,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

_REASONS: dict[str, Reason] = {"length": "truncated", "content_filter": "refused"}


class CritiqueScalarRM:
    """Rewards are logits on query, response and critique, averaged over k critiques."""

    vote = mean_scores

    def __init__(
        self,
        engine: Engine,
        scorer: Scorer,
        fmt: Format = CRITIQUE,
        *,
        k: int = 1,
        params: SamplingParams | None = None,
        seed: int = 0,
        concurrency: int = 16,
    ) -> None:
        if k < 1:
            raise ConfigError(f"k is {k}; a reward needs at least one critique")
        self.engine, self.scorer, self.fmt, self.k = engine, scorer, fmt, k
        self.params, self.seed, self.concurrency = params or SamplingParams(), seed, concurrency

    @property
    def fingerprint(self) -> str:
        """What the rewards come from: critic, wording and scorer."""
        return f"{self.engine.fingerprint}/{self.fmt.fingerprint}/{self.scorer.fingerprint}"

    async def judge(self, example: Example) -> Verdict:
        """Write k critiques of each response, score all, average."""
        prompts = [critique_prompt(example, i, self.fmt) for i in range(example.n)]
        seeds = [sample_seed(self.seed, example.id, j) for j in range(self.k)]
        try:
            critiques_N = await self._critiques(prompts, seeds)
            trajectories = await self._score(example, prompts, seeds, critiques_N)
        except ContextOverflow as error:
            gone = Completion("", "error", error=str(error))
            trajectories = [
                self._trajectory(example, prompts, j, seeds[j], [gone] * example.n, None)
                for j in range(self.k)
            ]
        return settle(example.id, trajectories, self.vote, self.k)

    def judge_many(self, examples: Iterable[Example]) -> AsyncIterator[Verdict]:
        """Judge a stream with bounded concurrency."""
        return stream(self.judge, examples, self.concurrency)

    async def _critiques(
        self, prompts: Sequence[Prompt], seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """The critiques of each prompt; equal responses have equal prompts, and share theirs."""
        params = replace(self.params, seeds=tuple(seeds))
        unique = list({prompt.messages: prompt for prompt in prompts}.values())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    prompt.messages: group.create_task(
                        self.engine.sample(prompt, len(seeds), params)
                    )
                    for prompt in unique
                }
        except BaseExceptionGroup as errors:  # one call's error; the others were cancelled
            raise errors.exceptions[0] from None
        return [tasks[prompt.messages].result() for prompt in prompts]

    async def _score(
        self,
        example: Example,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        critiques_N: Sequence[Sequence[Completion]],
    ) -> list[Trajectory]:
        """One trajectory a sample index: its n critiques and, if all are usable, their n logits."""
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
        except ContextOverflow as error:
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
            outcome = _unusable(broken)
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


def _unusable(critique: Completion) -> Unscored:
    if critique.finish_reason == "stop":
        return Unscored("empty", "a critique without text")
    reason = _REASONS.get(critique.finish_reason, "failed")
    return Unscored(reason, critique.error or critique.text[:200])
