"""Votes: trajectories of one example -> one reward per response, or None when nothing counts.

Unscored trajectories never vote; `Verdict.k_counted` says how many did. Sums are exactly rounded,
so the order of trajectories cannot move a reward. Nothing here breaks a tie (see `best`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from spct.core.parse import Scale
from spct.errors import SUMS_ARE_GONE, ConfigError
from spct.types import Trajectory

Rewards = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """A way to turn judgements into rewards; call it with the trajectories of one example.

    `needs` says what each trajectory must carry: a meta score, or expected scores from token
    probabilities. `swing` gives, for a score scale, the most by which one more judgement can move
    one response's total against another's; None where no such bound exists (no early stopping).
    `rows` gives what each judgement adds to each response: the votes' totals are their sums.
    """

    name: str
    combine: Callable[[Sequence[Trajectory]], Rewards | None]
    needs: Literal["meta", "logprobs"] | None = None
    swing: Callable[[Scale], float] | None = None
    rows: Callable[[Sequence[Trajectory]], list[Rewards]] | None = None

    def __call__(self, trajectories: Sequence[Trajectory]) -> Rewards | None:
        """Rewards in the original order, higher is better; None if no trajectory can be counted."""
        return self.combine(trajectories)

    def counts(self, trajectory: Trajectory) -> bool:
        """Whether this vote can count a trajectory."""
        judgement = trajectory.judgement
        return judgement is not None and (
            self.needs != "logprobs" or judgement.expected is not None
        )


def scores_of(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    """The scores of those that are scored."""
    return [t.judgement.scores for t in trajectories if t.judgement is not None]


def best(rewards: Rewards) -> tuple[int, ...]:
    """Every index that shares the highest reward: a tie is a tie."""
    top = max(rewards)
    return tuple(i for i, reward in enumerate(rewards) if reward == top)


def _sum(rows: Sequence[Rewards]) -> Rewards | None:
    return tuple(math.fsum(column) for column in zip(*rows, strict=True)) if rows else None


def _mean(rows: Sequence[Rewards]) -> Rewards | None:
    total = _sum(rows)
    return None if total is None else tuple(reward / len(rows) for reward in total)


def _winner_rows(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    return [
        tuple((i in best(scores)) / len(best(scores)) for i in range(len(scores)))
        for scores in scores_of(trajectories)
    ]


def _width(scale: Scale) -> float:
    return scale.high - scale.low


def _expected_rows(trajectories: Sequence[Trajectory]) -> list[Rewards]:
    return [t.judgement.expected for t in trajectories if t.judgement and t.judgement.expected]


# Eq. 14 sums the scores over the k samples. We divide by the number counted: the ranking is the
# same, and a judgement that failed or was not drawn (early stopping) does not lower the reward.
mean_scores = Vote("mean", lambda ts: _mean(scores_of(ts)), swing=_width, rows=scores_of)
# Eq. 13: the share of judgements that a response wins; m that tie at the top get 1/m each.
majority = Vote(
    "majority", lambda ts: _mean(_winner_rows(ts)), swing=lambda _: 1.0, rows=_winner_rows
)
# Mean of the expected scores under the score tokens' probabilities (pairwise: TokenProb).
expected_scores = Vote(
    "expected", lambda ts: _mean(_expected_rows(ts)), needs="logprobs", swing=None
)


def meta_top(k_meta: int | None = None) -> Vote:
    """Average the scores of the `k_meta` trajectories that the meta RM ranks highest (section 4).

    Default: half of those scored, at least one. Equal meta scores go by sample index.
    """
    if k_meta is not None and k_meta < 1:
        raise ConfigError(f"k_meta is {k_meta}; at least one judgement must vote")

    def combine(trajectories: Sequence[Trajectory]) -> Rewards | None:
        ranked = sorted(_with_meta(trajectories), key=lambda pair: (-pair[0], pair[1].index))
        keep = max(1, len(ranked) // 2) if k_meta is None else k_meta
        return _mean(scores_of([t for _, t in ranked[:keep]]))

    return Vote("meta_top" if k_meta is None else f"meta_top{k_meta}", combine, needs="meta")


def _meta_weighted(trajectories: Sequence[Trajectory]) -> Rewards | None:
    scored = [(meta, t.judgement.scores) for meta, t in _with_meta(trajectories) if t.judgement]
    total = math.fsum(sigmoid(meta) for meta, _ in scored)
    if not scored or total == 0.0:
        return None
    weighted = [tuple(sigmoid(meta) * score for score in scores) for meta, scores in scored]
    sums = _sum(weighted)
    return None if sums is None else tuple(reward / total for reward in sums)


# Mean of the scores, each judgement weighted by the meta RM's probability that it is correct.
meta_weighted = Vote("meta_weighted", _meta_weighted, needs="meta")


def sigmoid(logit: float) -> float:
    """The probability that a logit stands for, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def _with_meta(trajectories: Sequence[Trajectory]) -> list[tuple[float, Trajectory]]:
    pairs = []
    for t in trajectories:
        if t.judgement is None:
            continue
        if t.meta_score is None:
            raise ConfigError(
                f"trajectory {t.index} of example {t.example_id!r} has no meta score; "
                "a meta-guided vote needs a judge with meta=..."
            )
        pairs.append((t.meta_score, t))
    return pairs


VOTES = {v.name: v for v in (mean_scores, majority, expected_scores, meta_weighted)}


def vote_named(name: str, k_meta: int | None = None) -> Vote:
    """The vote of a name: mean, majority, expected, meta_top or meta_weighted.

    A vote's own `name` finds it again: `meta_top3` is `meta_top` with k_meta = 3.
    """
    if name == "meta_top":
        return meta_top(k_meta)
    if k_meta is None and name.startswith("meta_top") and name[len("meta_top") :].isdecimal():
        return meta_top(int(name[len("meta_top") :]))
    if name == "sum":
        raise ConfigError(SUMS_ARE_GONE)
    if name not in VOTES:
        raise ConfigError(f"no vote {name!r}; there are {', '.join([*VOTES, 'meta_top'])}")
    if k_meta is not None:
        raise ConfigError(f"k_meta goes with the vote 'meta_top', not with {name!r}")
    return VOTES[name]
