"""What an embedded engine says of itself to `spct doctor`, and the checks that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spct.errors import ConfigError, ContextOverflow
from spct.protocols import Engine
from spct.types import Completion, Message, Prompt, SamplingParams

OnStep = Callable[[str], None]  # is told what is tried next, as a probe may take minutes


@dataclass(frozen=True, slots=True)
class Probe:
    """An engine's abilities and one timing.

    `logprobs` says for which tokens it gives log probabilities: none, the sampled ones, or also the
    likeliest alternatives. `seeds` says whether each sample or each request has its own seed.
    `tokens_per_second` is for one small request of four samples and includes its prompt.
    """

    engine: str
    model: str
    context_length: int
    n: bool
    logprobs: Literal["none", "sampled", "top"]
    grammar: bool
    seeds: Literal["none", "request", "sample"]
    tokens_per_second: float
    sample: Completion

    @property
    def is_usable(self) -> bool:
        """An embedded engine that could be asked works."""
        return True


PROBE_PROMPT = Prompt("probe", (Message("user", "Name three colours of the rainbow."),), (0,))


async def timed_sample(engine: Engine, on_step: OnStep | None) -> tuple[float, Completion]:
    """Return tokens per second over four short samples, and the first of them."""
    if on_step is not None:
        on_step("timing four short samples")
    params = SamplingParams(max_tokens=24, seeds=(1, 2, 3, 4))
    start = time.perf_counter()
    replies = await engine.sample(PROBE_PROMPT, 4, params)
    n_tokens = sum(reply.usage.completion_tokens for reply in replies)
    return n_tokens / (time.perf_counter() - start), replies[0]


def check_request(n: int, params: SamplingParams) -> None:
    """Refuse a request that no engine can serve, naming the field."""
    if n < 1:
        raise ConfigError(f"sampling from the engine: n is {n!r}, expected at least 1")
    if params.max_tokens < 1:
        raise ConfigError(f"sampling: max_tokens is {params.max_tokens!r}, expected at least 1")
    if not params.temperature >= 0.0:
        raise ConfigError(f"sampling: temperature is {params.temperature!r}, expected 0 or more")
    if not 0.0 < params.top_p <= 1.0:
        raise ConfigError(f"sampling: top_p is {params.top_p!r}, expected more than 0, at most 1")
    if params.seeds and len(params.seeds) < n:
        raise ConfigError(
            f"sampling {n} completions with {len(params.seeds)} seeds; "
            "give one per completion, or none"
        )


def check_context(prompt: Prompt, n_prompt_tokens: int, max_tokens: int, limit: int) -> None:
    """Refuse a prompt that leaves no room for `max_tokens` in the model's context."""
    if n_prompt_tokens + max_tokens > limit:
        raise ContextOverflow(
            f"the prompt of example {prompt.example_id!r} has {n_prompt_tokens} tokens, and "
            f"max_tokens asks for {max_tokens} more, but the model's context holds {limit}; "
            "shorten the responses, judge fewer at once, or lower max_tokens"
        )


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first stop string in it."""
    ends = [text.index(mark) for mark in stop if mark in text]
    return text[: min(ends)] if ends else text


async def hand_on(params: SamplingParams, first: int, arrived: Sequence[Completion]) -> None:
    """Give completions first, first + 1, ... to whoever wants each one as it arrives.

    All at once, not one after the other: a store commits in groups, and each wait would be one.
    """
    if params.on_completion is not None:
        put = params.on_completion
        await asyncio.gather(*(put(i, completion) for i, completion in enumerate(arrived, first)))


async def together(
    calls: Sequence[Coroutine[Any, Any, list[Completion]]],
) -> list[list[Completion]]:
    """Run calls at once; if one raises, cancel the others and raise that."""
    if len(calls) < 2:
        return [await call for call in calls]
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
