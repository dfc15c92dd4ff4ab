"""Votes: trajectories of one example -> one reward per response, or None when nothing counts.

Unscored trajectories never vote; `Verdict.k_counted` says how many did. Sums are exactly rounded,
so the order of trajectories cannot move a reward. Nothing here breaks a tie (see `best`).
"""

from __future__ import annotations

from collections.abc import Sequence

from spct.errors import SUMS_ARE_GONE, ConfigError
from spct.text.parse import Scale
from spct.types import Trajectory
from spct.votes.ballot import Rewards, Vote, average, best, scores_of, sigmoid, winner_rows
from spct.votes.calibration import Calibration
from spct.votes.criteria import AGGREGATES
from spct.votes.guided import GUIDED, guided_named, meta_log_odds, meta_top, meta_weighted
from spct.votes.ties import davidson

__all__ = [
    "VOTES", "Rewards", "Vote", "best", "davidson", "expected_scores", "majority", "mean_scores",
    "meta_log_odds", "meta_top", "meta_weighted", "scores_of", "sigmoid", "vote_named",
]  # fmt: skip


def _width(scale: Scale) -> float:
    return scale.high - scale.low


def _expected_rows(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    return [t.judgement.expected for t in trajectories if t.judgement and t.judgement.expected]


# Eq. 14 sums the scores over the k samples. We divide by the number counted: the ranking is the
# same, and a judgement that failed or was not drawn (early stopping) does not lower the reward.
mean_scores = Vote("mean", lambda ts: average(scores_of(ts)), swing=_width, rows=scores_of)
# Eq. 13: the share of judgements that a response wins; m that tie at the top get 1/m each.
majority = Vote(
    "majority", lambda ts: average(winner_rows(ts)), swing=lambda _: 1.0, rows=winner_rows
)
# Mean of the expected scores under the score tokens' probabilities (pairwise: TokenProb).
expected_scores = Vote(
    "expected", lambda ts: average(_expected_rows(ts)), needs="logprobs", swing=None
)


VOTES = {v.name: v for v in (mean_scores, majority, expected_scores, davidson)} | AGGREGATES


def vote_named(
    name: str, k_meta: int | None = None, calibration: Calibration | None = None
) -> Vote:
    """The vote of a name; of a meta RM whose `calibration` tells nothing it is the plain one.

    A vote's own `name` finds it again (see `guided_named`).
    """
    if name.startswith("meta_"):
        if calibration is None or calibration.informs:
            return guided_named(name, k_meta, calibration)
        return majority if name.endswith("_wins") else mean_scores
    if name == "sum":
        raise ConfigError(SUMS_ARE_GONE)
    if k_meta is not None or calibration is not None:
        given = "k_meta" if k_meta is not None else "a calibration of the meta RM"
        raise ConfigError(f"{given} goes with a meta-guided vote, not with {name!r}")
    if name not in VOTES:
        raise ConfigError(f"no vote {name!r}; there are {', '.join([*VOTES, *GUIDED])}")
    return VOTES[name]
