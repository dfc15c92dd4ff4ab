"""How good criteria are, from stored votes alone: what varies, what says nothing, what overlaps.

- met rate: the mean p over responses
- flip rate: the probability that two votes on one cell differ (0 and 1 after rounding)
- alpha: Krippendorff's, nominal, over the votes on a criterion's cells; None without variation
- dead: met by all responses of the run, or by none
- overlap: mean correlation of p with the other criteria of its lists; None without variation
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from spct.runs.criteria_rows import criteria_rows
from spct.types import Verdict


@dataclass(frozen=True, slots=True)
class CriterionFigures:
    """One criterion over all responses of a run; of its `n` cells, `unscored` have no p."""

    name: str
    text: str
    n: int
    unscored: int
    met_rate: float | None
    flip_rate: float | None
    alpha: float | None
    dead: bool
    overlap: float | None


def flip_rate(votes: Sequence[Sequence[float]]) -> float | None:
    """The share of pairs of votes on one cell that differ, over cells with two votes or more."""
    rates = []
    for cell in votes:
        n, yes = len(cell), sum(v >= 0.5 for v in cell)
        if n > 1:
            rates.append(2 * yes * (n - yes) / (n * (n - 1)))
    return fmean(rates) if rates else None


def alpha(votes: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha of yes and no; None where nothing can be compared or all votes agree."""
    cells = [[v >= 0.5 for v in cell] for cell in votes if len(cell) > 1]
    n, yes = sum(map(len, cells)), sum(map(sum, cells))
    if not n or not 0 < yes < n:
        return None
    observed = sum(2 * sum(c) * (len(c) - sum(c)) / (len(c) - 1) for c in cells) / n
    return 1 - observed / (2 * yes * (n - yes) / (n * (n - 1)))


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's; None where one does not vary."""
    x, y = fmean(a), fmean(b)
    var = math.fsum((u - x) ** 2 for u in a) * math.fsum((v - y) ** 2 for v in b)
    if var <= 1e-12:
        return None
    return math.fsum((u - x) * (v - y) for u, v in zip(a, b, strict=True)) / math.sqrt(var)


def criterion_figures(verdicts: Iterable[Verdict]) -> list[CriterionFigures]:
    """Figures of every criterion (by name and text), those met least often first."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for verdict in verdicts:
        for row in criteria_rows(verdict):
            rows[row["criterion"], row["text"]].append(row)
    known = {
        key: {(r["id"], r["response"]): r["p"] for r in some if r["p"] is not None}
        for key, some in rows.items()
    }
    return sorted(
        (_figures(key, some, known) for key, some in rows.items()),
        key=lambda f: (f.met_rate is None, f.met_rate, f.name),
    )


def _figures(
    key: tuple[str, str],
    rows: list[dict[str, Any]],
    known: dict[tuple[str, str], dict[tuple[str, int], float]],
) -> CriterionFigures:
    own = known[key]
    scored, votes = list(own.values()), [row["votes"] for row in rows]
    others = []
    for other, cells in known.items():
        shared = own.keys() & cells.keys()
        if other != key and len(shared) > 2:
            both = correlation([own[k] for k in shared], [cells[k] for k in shared])
            others += [] if both is None else [both]
    return CriterionFigures(
        *key,
        n=len(rows),
        unscored=len(rows) - len(scored),
        met_rate=fmean(scored) if scored else None,
        flip_rate=flip_rate(votes),
        alpha=alpha(votes),
        dead=len(scored) > 1 and (min(scored) >= 0.5 or max(scored) < 0.5),
        overlap=fmean(others) if others else None,
    )


def s_corr(named: int, unnamed: int, l_acc: float) -> tuple[float | None, float | None]:
    """S-Corr and F-Score (R-Align, 2602.06763) from right verdicts by what their critique names.

    `named` counts right verdicts whose critique is sound, `unnamed` right ones whose critique is
    not: S-Corr = 1 - C / (C + I), F-Score = L-Acc (1 - S-Corr). None where no verdict is right.
    """
    if named + unnamed == 0:
        return None, None
    spurious = 1 - named / (named + unnamed)
    return spurious, l_acc * (1 - spurious)
