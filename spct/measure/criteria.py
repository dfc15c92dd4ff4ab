"""How good criteria are, from stored votes alone: what varies, what says nothing, what overlaps.

- met rate: the mean p over responses
- flip rate: the probability that two votes on one cell differ (0 and 1 after rounding)
- alpha: Krippendorff's, nominal, over the votes on a criterion's cells; None without variation
- dead: met by all responses of the run, or by none
- overlap: mean correlation of p with the other criteria of its lists; None without variation
- kappa: Cohen's, of p and people's labels (`met` in an example's meta), both cut at one half
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from spct.errors import DataError
from spct.measure.agreement import cohens_kappa
from spct.runs.criteria_rows import criteria_rows
from spct.types import Criteria, Example, Verdict


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
    kappa: float | None = None
    n_labels: int = 0


Labels = Mapping[tuple[str, int, str], float]  # (example, response, criterion) -> 0..1, of people


def labels_of(example: Example, criteria: Criteria) -> dict[tuple[str, int, str], float]:
    """What people say of each response and criterion, as it stands in the example's meta.

    `met` has an entry for each response: a list in the criteria's order, or an object by their
    names; true, false or a number 0..1, and null where nobody said anything.
    """
    rows, found = example.meta.get("met"), {}
    if rows is None:
        return {}
    names = [item.name for item in criteria.items]
    where = f"labels of the example {example.id!r}: `met` in its meta"
    if not isinstance(rows, list) or len(rows) != example.n:
        raise DataError(
            f"{where}: expected a list with one entry for each of {example.n} responses"
        )
    for i, row in enumerate(rows):
        known = dict(zip(names, row, strict=False)) if isinstance(row, list) else row
        if not isinstance(known, dict) or (isinstance(row, list) and len(row) != len(names)):
            raise DataError(
                f"{where}: response {i + 1} has {row!r:.60}; expected {len(names)} labels"
            )
        for name, value in known.items():
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise DataError(f"{where}: {name!r} is {value!r:.40}; expected 0 to 1, or null")
            if value is not None:
                found[example.id, i, str(name)] = float(value)
    return found


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


def criterion_figures(
    verdicts: Iterable[Verdict], labels: Labels | None = None
) -> list[CriterionFigures]:
    """Figures of every criterion (by name and text), those met least often first.

    With `labels` of people also how far the judge agrees with them.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for verdict in verdicts:
        for row in criteria_rows(verdict):
            rows[row["criterion"], row["text"]].append(row)
    known = {
        key: {(r["id"], r["response"]): r["p"] for r in some if r["p"] is not None}
        for key, some in rows.items()
    }
    return sorted(
        (_figures(key, some, known, labels or {}) for key, some in rows.items()),
        key=lambda f: (f.met_rate is None, f.met_rate, f.name),
    )


def _figures(
    key: tuple[str, str],
    rows: list[dict[str, Any]],
    known: dict[tuple[str, str], dict[tuple[str, int], float]],
    labels: Labels,
) -> CriterionFigures:
    own = known[key]
    scored, votes = list(own.values()), [row["votes"] for row in rows]
    told = [
        (p >= 0.5, labels[id, i, key[0]] >= 0.5)
        for (id, i), p in own.items()
        if (id, i, key[0]) in labels
    ]
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
        kappa=cohens_kappa(told),
        n_labels=len(told),
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
