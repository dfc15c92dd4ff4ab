"""Fixed nouns for the tests of the store; the processes to be killed import this: keep it light."""

from __future__ import annotations

import hashlib

from spct.types import (
    Completion,
    Judgement,
    Message,
    Principle,
    Prompt,
    SamplingParams,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)


def prompt_of(example_id: str, order: tuple[int, ...] = (0, 1)) -> Prompt:
    return Prompt(example_id, (Message("user", f"Judge {example_id} as {order}."),), order)


def params_of(*seeds: int) -> SamplingParams:
    return SamplingParams(seeds=seeds)


def reply_of(prompt: Prompt, seed: int) -> Completion:
    """The reply that the tests' engines give: decided by the prompt and the seed alone."""
    digest = hashlib.sha256(f"{prompt!r} {seed}".encode()).hexdigest()
    return Completion(f"Analysis: {digest}\n\\boxed{{8, 5}}", usage=Usage(7, 5, 1))


def verdict_of(example_id: str, drawn: list[tuple[Prompt, int, Completion]]) -> Verdict:
    """A verdict as the judge would make it, without a parser: an error is unscored."""
    trajectories = tuple(
        Trajectory(
            example_id,
            index,
            seed,
            prompt,
            completion,
            Unscored("failed", completion.error or "")
            if completion.finish_reason == "error"
            else Judgement((Principle("Truth", "60%", "is true"),), completion.text, (8.0, 5.0)),
            "test",
        )
        for index, (prompt, seed, completion) in enumerate(drawn)
    )
    counted = [t for t in trajectories if t.judgement is not None]
    usage = sum((completion.usage for _, _, completion in drawn), Usage())
    rewards, best = ((8.0 * len(counted), 5.0 * len(counted)), (0,)) if counted else (None, ())
    k = len(trajectories)
    return Verdict(example_id, rewards, best, trajectories, k, k, len(counted), None, usage)
