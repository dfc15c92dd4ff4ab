"""A reader over any engine that reports log probabilities: one token, its likeliest alternatives.

A chat endpoint gives at most 20 alternatives, so a label outside them counts as zero (llama.cpp in
this process gives any number); `option_mass` shows what was seen. The reply is sampled at
temperature 1, which leaves the probabilities as the model has them, and its text is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from spct.engines.readouts.asking import Wording, load_wording
from spct.engines.readouts.decision import (
    MIN_MASS,
    Answer,
    Answers,
    Question,
    averaged,
    labels_of,
    read_labels,
    rotations,
)
from spct.protocols import Engine
from spct.types import Completion, Prompt, SamplingParams, Unscored, Usage

TOP = 20  # what OpenAI-compatible endpoints give at most


class TokenReader:
    """Reads option labels from the first token of an engine's reply.

    `n_rotations` orders of the options are asked and averaged; levels of a score have one order.
    `in_turn` asks one question after another: for an engine whose cache of a prefix serves one
    request at a time, and which would read the state for each of several.
    """

    def __init__(
        self,
        engine: Engine,
        wording: Wording | None = None,
        *,
        n_rotations: int = 1,
        min_mass: float = MIN_MASS,
        n_top: int = TOP,
        in_turn: bool = False,
    ) -> None:
        self.n_top, self.in_turn = n_top, in_turn
        self.engine, self.wording = engine, wording or load_wording()
        self.n_rotations, self.min_mass = n_rotations, min_mass

    @property
    def fingerprint(self) -> str:
        """The engine, the wording and the rotations."""
        return f"{self.engine.fingerprint}/decision-{self.wording.fingerprint}-r{self.n_rotations}"

    async def open(self) -> None:
        """Let the engine find out what its fingerprint needs."""
        await self.engine.open()

    async def answer(self, state: str, questions: Sequence[Question]) -> Answers:
        """Ask about one state; an engine with a prefix cache reads it once."""
        if self.in_turn:
            found = [await self._ask(state, q) for q in questions]
        else:
            found = await asyncio.gather(*(self._ask(state, q) for q in questions))
        return Answers([answer for answer, _ in found], sum((u for _, u in found), Usage()))

    async def _ask(self, state: str, question: Question) -> tuple[Answer | Unscored, Usage]:
        n = len(question.options)
        count = self.n_rotations if question.kind == "choice" else 1
        orders = rotations(n, count)
        replies = await asyncio.gather(*(self._reply(state, question, o) for o in orders))
        labels = labels_of(question)
        answers = [(o, self._from(reply, labels)) for o, reply in zip(orders, replies, strict=True)]
        return averaged(answers), sum((reply.usage for reply in replies), Usage())

    async def _reply(self, state: str, question: Question, order: tuple[int, ...]) -> Completion:
        prompt = Prompt(question.name, self.wording.messages(state, question, order), order)
        params = SamplingParams(temperature=1.0, max_tokens=1, seeds=(0,), top_logprobs=self.n_top)
        (completion,) = await self.engine.sample(prompt, 1, params)
        return completion

    def _from(self, completion: Completion, labels: Sequence[str]) -> Answer | Unscored:
        if completion.finish_reason == "error":
            return Unscored("failed", completion.error or "")
        if completion.finish_reason == "content_filter":
            return Unscored("refused")
        if not completion.logprobs:
            why = "the reply came without log probabilities (spct doctor shows what there is)"
            return Unscored("no_probability", why)
        first = completion.logprobs[0]
        # the sampled token may stand outside the reported alternatives
        return read_labels(
            {first.token: first.logprob, **first.top}, labels, min_mass=self.min_mass
        )

    async def aclose(self) -> None:
        """Close the engine."""
        await self.engine.aclose()
