"""Votes: trajectories of one example -> one reward per response, or None when nothing counts.

Unscored trajectories never vote; `Verdict.k_counted` says how many did. Sums are exactly rounded,
so the order of trajectories cannot move a reward. Nothing here breaks a tie (see `best`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spct.core.ballot import Rewards, Vote, average, best, scores_of, sigmoid, winner_rows
from spct.core.calibration import Calibration
from spct.core.criteria import AGGREGATES
from spct.core.guided import meta_log_odds, meta_top, meta_weighted, weighted_by
from spct.core.parse import Scale
from spct.core.ties import davidson
from spct.errors import SUMS_ARE_GONE, ConfigError
from spct.types import Trajectory

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


VOTES = {
    v.name: v
    for v in (
        mean_scores,
        majority,
        expected_scores,
        davidson,
        meta_weighted,
        meta_log_odds(),
        meta_log_odds(wins=True),
    )
} | AGGREGATES
_CALIBRATED = re.compile(r"(meta_[a-z_]+)\(([-+.\de]+),([-+.\de]+)\)")


def vote_named(
    name: str, k_meta: int | None = None, calibration: Calibration | None = None
) -> Vote:
    """The vote of a name; of a meta RM whose `calibration` does not inform it is the plain one.

    A vote's own `name` finds it again: `meta_top3` is `meta_top` with k_meta = 3, and
    `meta_log_odds(0.8,-0.1)` the calibrated one.
    """
    if found := _CALIBRATED.fullmatch(name):
        return vote_named(found[1], k_meta, Calibration(float(found[2]), float(found[3])))
    if k_meta is None and name.startswith("meta_top") and name[len("meta_top") :].isdecimal():
        return vote_named("meta_top", int(name[len("meta_top") :]), calibration)
    if name == "sum":
        raise ConfigError(SUMS_ARE_GONE)
    if k_meta is not None and name != "meta_top":
        raise ConfigError(f"k_meta goes with the vote 'meta_top', not with {name!r}")
    if name != "meta_top" and name not in VOTES:
        raise ConfigError(f"no vote {name!r}; there are {', '.join([*VOTES, 'meta_top'])}")
    vote = meta_top(k_meta) if name == "meta_top" else VOTES[name]
    if calibration is None:
        return vote
    if vote.needs != "meta":
        raise ConfigError(f"a calibration goes with a meta-guided vote, not with {name!r}")
    if not calibration.informs:
        return majority if name == "meta_log_odds_wins" else mean_scores
    match name:
        case "meta_weighted":
            return weighted_by(calibration)
        case "meta_log_odds" | "meta_log_odds_wins":
            return meta_log_odds(calibration, wins=name == "meta_log_odds_wins")
        case _:  # a calibration does not change which judgements are ranked highest
            return vote
