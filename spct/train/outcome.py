"""When a judgement is correct (the paper's Eq. 10), and what RL pays for it.

The rule lives here once: RFT rejects by it, RL pays by it, the meta RM is labelled by it. It is
strict: a tie with the best response is wrong, an unscored judgement is wrong. The paper does not
say what an unreadable judgement earns; here it is "otherwise", so -1. Evaluation breaks ties in
other ways and does not use this module's rule for its reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spct.errors import DataError
from spct.types import Example, Trajectory
from spct.votes.ballot import best, meta_pairs


def gold_problem(gold: Sequence[float] | None, n: int) -> str | None:
    """Say why gold rewards cannot train (missing, no unique best, not 0/1), or None if they can."""
    if gold is None:
        return "no gold"
    if len(gold) != n:
        return "wrong number of gold rewards"
    if not all(math.isfinite(g) for g in gold):
        return "gold is not finite"
    if n == 1:
        return None if gold[0] in (0, 1) else "gold of a single response is not 0 or 1"
    return None if len(best(tuple(gold))) == 1 else "no unique best"


def correct(scores: Sequence[float] | None, gold: Sequence[float]) -> bool:
    """Eq. 10: the best response strictly above every other; for n = 1 the score equals its label.

    `scores` None (an unscored judgement) is wrong. Gold that cannot decide raises `DataError`.
    """
    if problem := gold_problem(gold, len(gold)):
        raise DataError(
            f"deciding whether a judgement is correct: got gold {tuple(gold)!r} ({problem}); "
            "expected one highest reward, or 0/1 for a single one; drop or relabel this example"
        )
    if scores is None:
        return False
    if len(scores) != len(gold):
        raise DataError(
            f"deciding whether a judgement is correct: got {len(scores)} scores for {len(gold)} "
            "gold rewards; expected one score a response"
        )
    if len(gold) == 1:
        return scores[0] == gold[0]
    (right,) = best(tuple(gold))  # unique: checked above
    return all(scores[right] > score for i, score in enumerate(scores) if i != right)


def labelled(example: Example, trajectories: Sequence[Trajectory]) -> list[tuple[float, bool]]:
    """The meta score of each judgement with whether it is right; none of gold that cannot tell."""
    if gold_problem(example.gold, example.n):
        return []
    return [
        (score, correct(t.judgement.scores, example.gold or ()))
        for score, t in meta_pairs(trajectories)
        if t.judgement
    ]


def is_tie(scores: Sequence[float] | None) -> bool:
    """Whether several responses share the highest score."""
    return scores is not None and len(scores) > 1 and len(best(tuple(scores))) > 1


def outcome_reward(scores: Sequence[float] | None, gold: Sequence[float]) -> float:
    """What RL pays one trajectory (Eq. 15): +1 if correct, otherwise -1."""
    return 1.0 if correct(scores, gold) else -1.0


def advantages(rewards: Sequence[float]) -> list[float]:
    """What GRPO makes of a group's rewards: how far each is above the mean, in deviations.

    The deviation is the sample's, plus 1e-4, as TRL has it; a group whose rewards are equal teaches
    nothing and gets zeros.
    """
    mean = math.fsum(rewards) / len(rewards)
    squares = math.fsum((reward - mean) ** 2 for reward in rewards)
    deviation = math.sqrt(squares / (len(rewards) - 1)) if len(rewards) > 1 else 0.0
    return [(reward - mean) / (deviation + 1e-4) for reward in rewards]
