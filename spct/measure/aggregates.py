"""From columns of credits to a score: a function of the columns' sums and counts.

Each aggregate works on many resamples at once: sums and counts are arrays of shape (R, D) for R
resamples and D columns, scores are arrays of shape (R,). A column that a resample misses has no
mean (NaN) and its section is averaged over the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from spct.measure.rules import DIFFICULTIES, Column

Array = NDArray[np.float64]
Scores = dict[str, Array]  # "overall" and the sections, in the order of the report


@dataclass(frozen=True, slots=True)
class Table:
    """Sums and counts of credits, a row per resample, a column per `Column`."""

    columns: Sequence[Column]
    sums: Array
    counts: Array

    # A column that a resample missed is 0 / 0: NaN, which `mean_over` leaves out. As 0 it would
    # pull a section down each time the bootstrap happens to draw none of its prompts.
    def mean(self, wanted: Callable[[Column], bool]) -> Array:
        """The pooled mean over some columns; NaN where they are empty."""
        at = [i for i, column in enumerate(self.columns) if wanted(column)]
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Array = self.sums[:, at].sum(axis=1) / self.counts[:, at].sum(axis=1)
        return found

    def column_mean(self, *column: str) -> Array:
        """The mean of one column."""
        return self.mean(lambda c: c == column)


Aggregate = Callable[[Table], Scores]


def mean_over(parts: Iterable[tuple[float, Array]]) -> Array:
    """The weighted mean of (weight, score), over the parts that have a score."""
    weights, scores = zip(*parts, strict=True)
    stacked = np.stack(scores)
    weighted = np.where(np.isnan(stacked), 0.0, np.asarray(weights, float)[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.nansum(stacked * weighted, axis=0) / weighted.sum(axis=0)
    return found


def _subsets(table: Table) -> list[str]:
    return list(dict.fromkeys(str(column[0]) for column in table.columns))


def _by_subset(table: Table) -> Scores:
    return {name: table.mean(partial(_is_at, 0, name)) for name in _subsets(table)}


def _is_at(i: int, value: str, column: Column) -> bool:
    return column[i] == value


def micro(table: Table) -> Scores:
    """Every unit counts the same; sections are the subsets."""
    subsets = _by_subset(table)
    return {"overall": table.mean(lambda _: True), **(subsets if len(subsets) > 1 else {})}


def macro(table: Table) -> Scores:
    """Every subset counts the same."""
    subsets = _by_subset(table)
    overall = mean_over((1, s) for s in subsets.values())
    return {"overall": overall, **(subsets if len(subsets) > 1 else {})}


def sections(weights: Mapping[str, Mapping[str, float]]) -> Aggregate:
    """Unweighted mean of sections; a section is the weighted mean of its subsets."""

    def aggregate(table: Table) -> Scores:
        scores = {
            section: mean_over((w, table.column_mean(subset)) for subset, w in subsets.items())
            for section, subsets in weights.items()
        }
        return {"overall": mean_over((1, s) for s in scores.values()), **scores}

    return aggregate


TIES_WEIGHTS = {
    "tied accuracy": 0.30,
    "ref accuracy": 0.30,
    "preferred": 0.20,
    "preferred hard": 0.20,
    "margin": 0.01,
}


def rewardbench2(table: Table) -> Scores:
    """Unweighted mean of the six domains; Ties is the weighted sum of its five parts."""
    scores = _by_subset(table)
    if "Ties" in scores:
        # The official weights come to 1.01: the margin term is a tie-breaker on top of the others.
        scores["Ties"] = sum(
            (w * table.column_mean("Ties", part) for part, w in TIES_WEIGHTS.items()),
            start=np.zeros(len(table.sums)),
        )
    return {"overall": mean_over((1, s) for s in scores.values()), **scores}


def rm_bench(table: Table) -> Scores:
    """Four domains that count the same; a domain's levels are pooled over its items.

    As in the benchmark's own code, safety's two parts are one pool (284 + 157 items), and a level
    over all is the mean of the four domains' levels.
    """
    domains = list(dict.fromkeys(_domain(column) for column in table.columns))
    levels = {
        (domain, level): table.mean(partial(_is_of, domain, level))
        for domain in domains
        for level in DIFFICULTIES
    }
    scores = {d: mean_over((1, levels[d, level]) for level in DIFFICULTIES) for d in domains}
    of_all = {level: mean_over((1, levels[d, level]) for d in domains) for level in DIFFICULTIES}
    return {"overall": mean_over((1, s) for s in scores.values()), **scores, **of_all}


def _domain(column: Column) -> str:
    return str(column[0]).partition("-")[0]  # safety-refuse and safety-response are one


def _is_of(domain: str, level: str, column: Column) -> bool:
    return (_domain(column), column[1]) == (domain, level)


def pandalm(table: Table) -> Scores:
    """PandaLM's own parser gives the score; how much it owes to unreadable replies stands beside.

    Under the shared rule there is one column.
    """
    parts = _by_subset(table)
    return {"overall": parts.get("unreadable is a tie", table.mean(lambda _: True)), **parts}


def if_rewardbench(table: Table) -> Scores:
    """The three kinds of instruction count the same; tau-b is the score, accuracy beside it."""
    if any(len(column) == 1 for column in table.columns):
        return macro(table)  # under the shared rule
    kinds = _subsets(table)
    tau = {kind: table.column_mean(kind, "tau-b") for kind in kinds}
    accuracy = mean_over((1, table.column_mean(kind, "accuracy")) for kind in kinds)
    return {"overall": mean_over((1, t) for t in tau.values()), **tau, "accuracy": accuracy}


def auc(table: Table) -> Scores:
    """Area under the ROC curve of reward against gold 0/1, pooled, and for each subset."""
    subsets = {name: _auc(table, name) for name in _subsets(table)}
    return {"overall": _auc(table, None), **(subsets if len(subsets) > 1 else {})}


def _auc(table: Table, subset: str | None) -> Array:
    at = [i for i, column in enumerate(table.columns) if subset in (None, column[0])]
    levels = sorted({float(table.columns[i][2]) for i in at})
    row = {level: k for k, level in enumerate(levels)}
    right, wrong = (np.zeros((len(table.counts), len(levels))) for _ in range(2))
    for i in at:
        column = table.columns[i]
        side = right if column[1] == 1 else wrong
        side[:, row[float(column[2])]] += table.counts[:, i]
    return area_under_curve(right, wrong)


def area_under_curve(right: Array, wrong: Array) -> Array:
    """P(a right one ranks above a wrong one) + half of P(equal); NaN for one class alone.

    How many lie at each level of reward, (R, levels) in rising order, for R resamples.
    """
    below = np.cumsum(wrong, axis=1) - wrong  # wrong ones strictly below each level
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (right * (below + wrong / 2)).sum(axis=1) / (
            right.sum(axis=1) * wrong.sum(axis=1)
        )
    return found


def auc_of(scores: Sequence[float], labels: Sequence[int]) -> float | None:
    """The area under the curve of scores against labels 0 and 1; None for one class."""
    levels, at = np.unique(np.asarray(scores, float), return_inverse=True)
    is_right = np.asarray(labels, bool)
    right, wrong = (
        np.bincount(at[side], minlength=len(levels)).astype(float)[None, :]
        for side in (is_right, ~is_right)
    )
    found = float(area_under_curve(right, wrong)[0])
    return None if math.isnan(found) else found


def any_n(table: Table) -> Scores:
    """A file of the user's: the area under the curve for single responses, else the mean."""
    return auc(table) if table.columns and len(table.columns[0]) == 3 else micro(table)
