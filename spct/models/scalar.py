"""The pointwise scalar reward model (Bradley-Terry): one logit per response, any number of them.

Deterministic, so sampling gives nothing new and k is always 1. A response's reward does not depend
on the other responses.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from spct.core.recipe import settings_of
from spct.core.settle import settle
from spct.errors import EXAMPLE_FAULTS, DataError, FormatError
from spct.models.base import ScorerModel
from spct.models.encode import Conversation
from spct.protocols import Traits
from spct.types import (
    Completion,
    Example,
    Judgement,
    Message,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import mean_scores


@dataclass(frozen=True, eq=False)
class PointwiseScalarRM(ScorerModel):
    """Rewards are the logits of a scorer on query and response."""

    _: KW_ONLY
    concurrency: int = 64

    @property
    def fingerprint(self) -> str:
        """What the rewards come from."""
        return self.scorer.fingerprint

    @property
    def traits(self) -> Traits:
        """Any number of responses, and no place for a reference."""
        return Traits(takes_reference=False, settings=settings_of(self), answers="logits")

    async def judge(self, example: Example) -> Verdict:
        """Score each response; one that does not fit the context leaves the example unscored."""
        conversations = [conversation(example, i) for i in range(len(example.responses))]
        if not conversations:
            raise DataError(f"example {example.id!r} has no responses; expected at least one")
        try:
            logits = await self.scorer.score(conversations)
        except EXAMPLE_FAULTS as error:
            # one response that does not fit leaves all unscored: rewards of some of them would be
            # read as a ranking of all
            return scalar_verdict(example, Unscored("failed", str(error)), self.fingerprint, 0)
        outcome = Judgement((), "", tuple(logits))
        return scalar_verdict(example, outcome, self.fingerprint, len(logits))


def conversation(example: Example, i: int) -> Conversation:
    """What a pointwise head reads: the query, then the response as the assistant's turn."""
    if example.reference is not None:
        raise FormatError(
            f"example {example.id!r} has a reference, and a scalar reward model has no place to "
            "show it in; leave the reference out, or use a generative model"
        )
    return (*example.query, Message("assistant", example.responses[i]))


def scalar_verdict(
    example: Example, outcome: Judgement | Unscored, fingerprint: str, n_forwards: int
) -> Verdict:
    """A verdict of one trajectory without text, so that scalar rewards travel as all others do."""
    trajectory = Trajectory(
        example_id=example.id,
        index=0,
        seed=0,
        prompt=Prompt(example.id, example.query, tuple(range(example.n))),
        completion=Completion("", usage=Usage(calls=n_forwards)),
        outcome=outcome,
        fingerprint=fingerprint,
    )
    return settle(example.id, [trajectory], mean_scores, 1)
