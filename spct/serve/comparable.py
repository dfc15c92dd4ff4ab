"""Rewards that a trainer may compare across examples: sums of scores become means.

A sum over the counted judgements falls when a judgement fails or drawing stops early, so a
response would pay for what went wrong with its judge. The mean ranks the same and does not. Votes
that sum a share of the judgements (meta_top) have no such twin and are left as they are.
"""

from __future__ import annotations

import copy

from spct.core.generative import GenerativeRM
from spct.core.vote import mean_scores
from spct.types import RewardModel


def comparable(model: RewardModel) -> RewardModel:
    """The same model, voting by the mean where it voted by the sum."""
    if not isinstance(model, GenerativeRM) or model.vote.name != "sum":
        return model
    averaged = copy.copy(model)
    averaged.vote = mean_scores
    return averaged
