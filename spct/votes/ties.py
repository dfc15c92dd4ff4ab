"""A vote that knows ties: Bradley and Terry's model with Davidson's ties, over comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from spct.types import Trajectory
from spct.votes.ballot import Rewards, Vote, average, scores_of

_ROUNDS = 200


def _davidson(trajectories: Sequence[Trajectory]) -> Rewards | None:
    rows = scores_of(trajectories)
    if not rows or len(rows[0]) == 1:
        return average(rows)
    n = len(rows[0])
    # Half a win each way between every two: strengths stay finite when one wins always.
    wins, ties = [0.5 * (n - 1)] * n, 0.0
    for row in rows:
        for i, j in combinations(range(n), 2):
            if row[i] == row[j]:
                ties += 1
                wins[i] += 0.5
                wins[j] += 0.5
            else:
                wins[i if row[i] > row[j] else j] += 1
    met = len(rows) + 1.0  # times that any two met
    pi, nu = [1.0] * n, 1.0 if ties else 0.0
    for _ in range(_ROUNDS):  # each step solves one of the likelihood's equations
        root = [math.sqrt(p) for p in pi]
        norm = [[pi[i] + pi[j] + nu * root[i] * root[j] for j in range(n)] for i in range(n)]
        new = [
            wins[i] / math.fsum(
                met * (1 + 0.5 * nu * root[j] / root[i]) / norm[i][j] for j in range(n) if j != i
            )
            for i in range(n)
        ]  # fmt: skip
        scale = math.exp(math.fsum(map(math.log, new)) / n)
        new = [p / scale for p in new]
        shared = math.fsum(
            met * root[i] * root[j] / norm[i][j] for i, j in combinations(range(n), 2)
        )
        moved = max(abs(a - b) for a, b in zip(new, pi, strict=True))
        pi, nu = new, ties / shared if ties else 0.0
        if moved < 1e-12:
            break
    # rounded: the fit ends within 1e-12, and which end of that depends on the responses' order
    return tuple(
        round(math.fsum(_share(pi[i], pi[j], nu) for j in range(n) if j != i) / (n - 1), 9)
        for i in range(n)
    )


def _share(a: float, b: float, nu: float) -> float:
    tie = nu * math.sqrt(a * b)
    return (a + tie / 2) / (a + b + tie)


# Bradley-Terry with ties (Davidson 1970; arXiv 2512.03019) over the judgements' comparisons: the
# reward is the chance to beat another response, half a win for a tie, as fitted to wins and ties.
davidson = Vote("davidson", _davidson)
