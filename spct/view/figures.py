"""The page's figures over a whole run, from its index; every number is spct.measure's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from spct.core.vote import Vote
from spct.errors import DataError
from spct.measure.estimator import by, credits_at, named
from spct.measure.intervals import Interval, difference, mean_interval
from spct.measure.metrics import calibrated
from spct.types import Completion, Example, Judgement, Prompt, Trajectory, Unscored, Verdict
from spct.view.index import Index
from spct.view.settings import RunSettings

_MOST = 5000  # examples that accuracy against k is computed on: the first ones
_RESAMPLES = 2000
_EDGES = (20, 50, 100, 200, 500, 1000, 1 << 30)  # characters by which one response is longer


def ends(found: Interval) -> dict[str, float | None]:
    """An interval as JSON values."""
    return {"point": found.point, "low": found.low, "high": found.high}


def accuracy_of(index: Index) -> dict[str, float | None] | None:
    """Mean credit of the examples with gold, with its interval over queries; None of none."""
    found = [(c, q) for c, q in index.columns("credit", "cluster") if c is not None]
    if len(found) < 2:
        return {"point": found[0][0], "low": None, "high": None} if found else None
    credits, queries = zip(*found, strict=True)
    return ends(mean_interval(credits, queries, resamples=_RESAMPLES))


def figures_of(index: Index, settings: RunSettings) -> dict[str, Any]:
    """What the page plots, and a table of the rest."""
    facts, accuracy = index.facts(), accuracy_of(index)
    flips = [f for (f,) in index.columns("flips") if f is not None]
    rows = [
        ["examples", f"{facts['n']:,}"],
        ["accuracy [95%]", _percent(accuracy)],
        ["ties", str(facts["ties"])],
        ["unscored", str(facts["unscored"])],
        ["orders agree", f"{1 - sum(flips) / len(flips):.1%} of {len(flips)}" if flips else "-"],
        ["tokens", f"{facts['tokens']:,} in {facts['calls']:,} calls"],
    ]
    return {
        "rows": rows,
        "curve": _curve(index, settings.vote),
        "calibration": _calibration(index),
        "length": _length(index),
    }


def _percent(found: dict[str, float | None] | None) -> str:
    if found is None or found["point"] is None:
        return "-"
    low, high = found["low"], found["high"]
    around = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * found['point']:.1f}{around}"


def _curve(index: Index, vote: Vote) -> dict[str, Any] | None:
    """Accuracy of the votes at k = 1, 2, 4, ...: all groups of k, as everywhere."""
    if vote.needs is not None:
        return None  # the index keeps neither meta scores nor token probabilities
    examples, verdicts, queries = [], {}, []
    for id, gold, samples, cluster, credit in index.columns(
        "id", "gold", "samples", "cluster", "credit"
    )[:_MOST]:
        drawn = json.loads(samples)
        if credit is not None and drawn:
            examples.append(Example(id, (), (), gold=tuple(json.loads(gold))))
            verdicts[id] = _slim(id, drawn)
            queries.append(cluster)
    most = min((v.k_drawn for v in verdicts.values()), default=0)
    if most < 2 or len(examples) < 2:
        return None
    ks = [1 << i for i in range(int(math.log2(most)) + 1)]
    found = [
        mean_interval(credits_at(examples, verdicts, k, by(vote)), queries, resamples=_RESAMPLES)
        for k in ks
    ]
    return {
        "k": ks,
        "point": [f.point for f in found],
        "low": [f.low for f in found],
        "high": [f.high for f in found],
        "estimator": f"{named('Voting', 2).replace('@2', '@k')}, {len(examples)} examples",
    }


def _slim(id: str, drawn: Sequence[tuple[list[int], list[float] | None]]) -> Verdict:
    trajectories = tuple(
        Trajectory(
            id,
            i,
            0,
            Prompt(id, (), tuple(order)),
            Completion(""),
            Unscored("failed") if scores is None else Judgement((), "", tuple(scores)),
            "",
        )
        for i, (order, scores) in enumerate(drawn)
    )
    n = len(trajectories)
    return Verdict(id, None, (), trajectories, n, n, 0, None)


def _calibration(index: Index) -> dict[str, Any] | None:
    """Vote share against accuracy, of verdicts on at least two counted judgements."""
    found = calibrated(
        [
            (agreement, credit)
            for agreement, credit, counted, winner in index.columns(
                "agreement", "credit", "counted", "winner"
            )
            if counted > 1 and winner is not None and credit is not None and agreement is not None
        ]
    )
    if found is None:
        return None
    return {
        "ece": found.ece,
        "confidence": [b.predicted for b in found.bins],
        "accuracy": [b.observed for b in found.bins],
    }


def _length(index: Index) -> dict[str, Any] | None:
    """How often the longer of two wins, by how much longer it is: by the judge and by gold."""

    def shares(column: str) -> list[float | None]:
        pairs = [json.loads(text) for (text,) in index.columns(column) if text]
        found: list[float | None] = []
        low = 0
        for high in _EDGES:
            wins = [wins for by_how_much, wins in pairs if low < by_how_much <= high]
            found.append(sum(wins) / len(wins) if wins else None)
            low = high
        return found

    judge, gold = shares("longer"), shares("gold_longer")
    if not any(s is not None for s in judge):
        return None
    kept = [i for i, s in enumerate(judge) if s is not None]
    return {
        "edges": [min(_EDGES[i], 2000) for i in kept],
        "judge": [judge[i] for i in kept],
        "gold": [gold[i] for i in kept],
    }


def compared(before: Index, after: Index) -> dict[str, Any]:
    """What changed between two runs on the same examples, and the paired difference."""
    wanted = ("id", "head", "outcome", "credit", "winner", "cluster", "position")
    a, b = ({row[0]: row for row in index.columns(*wanted)} for index in (before, after))
    both = [id for id in a if id in b]
    changed = [
        {"id": id, "head": a[id][1], "before": _side(a[id]), "after": _side(b[id])}
        for id in both
        if (a[id][2], a[id][4]) != (b[id][2], b[id][4])
    ]
    scored = [id for id in both if a[id][3] is not None and b[id][3] is not None]
    try:
        found = difference(
            [b[id][3] for id in scored],
            [a[id][3] for id in scored],
            [a[id][5] for id in scored],
            resamples=_RESAMPLES,
        )
    except DataError:  # fewer than two examples with gold
        found = None
    return {"n_both": len(both), "changed": changed, "difference": found and ends(found)}


def _side(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"outcome": row[2], "best": [] if row[4] is None else [row[4]]}
