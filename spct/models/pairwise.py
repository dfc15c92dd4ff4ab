"""The pairwise scalar reward model (PairRM): one logit for two responses in one sequence.

The logit says how much the response shown first is better. Every pair is read in both orders and
the two logits are subtracted, so the answer cannot depend on who stands first. For n > 2 a
response's reward is the sum of its margins over all others: n (n - 1) forwards, none twice.
Departure from Eq. 5, which gives S = 0 to the first response: a tie is a tie.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from itertools import permutations

from spct.core.recipe import settings_of
from spct.errors import EXAMPLE_FAULTS
from spct.models.base import ScorerModel
from spct.models.encode import Conversation
from spct.models.formats import PAIR
from spct.models.scalar import scalar_verdict
from spct.protocols import Traits
from spct.text.format import Format
from spct.types import Example, Judgement, Unscored, Verdict


@dataclass(frozen=True, eq=False)
class PairwiseScalarRM(ScorerModel):
    """Rewards are summed margins, so they add up to 0; two responses get m and -m."""

    fmt: Format = PAIR
    _: KW_ONLY
    concurrency: int = 16

    @property
    def fingerprint(self) -> str:
        """What the rewards come from: scorer and wording."""
        return f"{self.scorer.fingerprint}/{self.fmt.fingerprint}"

    @property
    def traits(self) -> Traits:
        """Those of its wording: two responses or more."""
        fewest, most = self.fmt.sizes
        return Traits(
            fewest,
            most,
            takes_reference=self.fmt.shows_reference,
            settings=settings_of(self),
            answers="margins",
        )

    async def judge(self, example: Example) -> Verdict:
        """Compare all pairs in both orders; a single response is a `FormatError`."""
        self.fmt.check(example)
        pairs = list(permutations(range(example.n), 2))
        conversations = [pair_conversation(example, i, j, self.fmt) for i, j in pairs]
        try:
            logits = await self.scorer.score(conversations)
        except EXAMPLE_FAULTS as error:
            return scalar_verdict(example, Unscored("failed", str(error)), self.fingerprint, 0)
        # Half the difference of the two orders: a head's bias for the first slot cancels out.
        first_wins = dict(zip(pairs, logits, strict=True))
        rewards = tuple(
            math.fsum((first_wins[i, j] - first_wins[j, i]) / 2 for j in range(example.n) if j != i)
            for i in range(example.n)
        )
        return scalar_verdict(example, Judgement((), "", rewards), self.fingerprint, len(pairs))


def pair_conversation(
    example: Example, first: int, second: int, fmt: Format = PAIR
) -> Conversation:
    """What a pairwise head reads: response `first` shown before response `second`."""
    two = replace(example, responses=(example.responses[first], example.responses[second]))
    return fmt.render(two, (0, 1)).messages
