"""From completions to a verdict (pure): read them, then vote.

Everything that judges - evaluator, server, data builder, RL reward - goes through these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spct.core.plan import Call
from spct.errors import EngineError
from spct.text.format import Format
from spct.text.parse import Parse
from spct.types import (
    Completion,
    Criteria,
    Example,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import Vote, best


def read(
    call: Call,
    completions: Sequence[Completion],
    fmt: Format,
    fingerprint: str,
    *,
    parse: Parse = "strict",
    criteria: Criteria | None = None,
) -> list[Trajectory]:
    """Parse what a call brought back; one trajectory a sample, in the original order."""
    return [
        Trajectory(
            call.prompt.example_id,
            index,
            seed,
            call.prompt,
            completion,
            fmt.read(completion, call.prompt.order, parse=parse),
            fingerprint,
            criteria=criteria,
        )
        for index, seed, completion in zip(call.indices, call.seeds, completions, strict=True)
    ]


def settle(
    example_id: str, trajectories: Iterable[Trajectory], vote: Vote, k_asked: int
) -> Verdict:
    """Vote. Every trajectory is kept in the verdict, by sample index; the unscored do not count."""
    drawn = tuple(sorted(trajectories, key=lambda t: t.index))
    counted = [t for t in drawn if vote.counts(t)]
    rewards = vote(drawn)  # a vote leaves out what it cannot count, and may ask how many there were
    top = () if rewards is None else best(rewards)
    agreeing = sum(best(t.judgement.scores) == top for t in counted if t.judgement)
    return Verdict(
        example_id=example_id,
        rewards=rewards,
        best=top,
        trajectories=drawn,
        k_asked=k_asked,
        k_drawn=len(drawn),
        k_counted=len(counted),
        agreement=agreeing / len(counted) if counted and rewards is not None else None,
        usage=sum((t.completion.usage for t in drawn), Usage()),
    )


def unjudged(example: Example, why: Unscored, k: int, fingerprint: str) -> Verdict:
    """The verdict on an example that could not be asked about: one unscored trajectory."""
    prompt = Prompt(example.id, (), tuple(range(example.n)))
    failed = Completion("", "error", error=why.detail or why.reason)
    only = Trajectory(example.id, 0, 0, prompt, failed, why, fingerprint)
    return Verdict(example.id, None, (), (only,), k, 1, 0, None)


def require_logprobs(trajectories: Sequence[Trajectory], engine: str) -> None:
    """Raise `EngineError` where a judgement came without log probabilities."""
    for t in trajectories:
        if t.judgement and not t.completion.logprobs:
            raise EngineError(
                f"the vote needs token probabilities, and {engine} gave none; use an engine with "
                "log probabilities (spct doctor shows which) or another vote"
            )


def with_probability(t: Trajectory) -> Trajectory:
    """The trajectory; unscored if its verdict's tokens have no usable distribution."""
    if t.judgement is None or t.judgement.expected is not None:
        return t
    why = "too little of the verdict's probability is on tokens that the engine reported"
    return replace(t, outcome=Unscored("no_probability", why))
