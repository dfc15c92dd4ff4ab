"""The page's figures over a whole run, from its index; every number is spct.measure's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from spct.errors import DataError
from spct.measure.estimator import by, credits_at, named
from spct.measure.intervals import Interval, mean_interval, mean_of_kinds
from spct.measure.metrics import calibrated
from spct.types import Completion, Example, Judgement, Prompt, Trajectory, Unscored, Verdict
from spct.view.index import Index, kinds_query
from spct.view.settings import RunSettings
from spct.votes.criteria import weighted
from spct.votes.vote import Vote

_MOST = 5000  # examples that accuracy against k is computed on: the first ones
_RESAMPLES = 2000
CHANGED = 1000  # verdicts that a comparison lists: the first ones
_EDGES = (20, 50, 100, 200, 500, 1000, 1 << 30)  # characters by which one response is longer


def ends(found: Interval) -> dict[str, float | None]:
    """An interval as JSON values."""
    return {"point": found.point, "low": found.low, "high": found.high}


def accuracy_of(index: Index) -> dict[str, float | None] | None:
    """Mean credit of the examples with gold, with its interval over queries; None of none."""
    found = index.credits()
    if found == [] or sum(n * queries for _, n, queries in found) < 2:
        return {"point": found[0][0], "low": None, "high": None} if found else None
    return ends(mean_of_kinds(found))


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
    if vote.needs is not None or vote == weighted:
        return None  # the index keeps no meta scores, no token probabilities and no criteria
    examples, verdicts, queries = [], {}, []
    for id, gold, samples, cluster, credit in index.columns(
        "id", "gold", "samples", "cluster", "credit", limit=_MOST
    ):
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
    both = "rows JOIN other.rows AS later USING (id)"
    differ = "(rows.outcome, rows.winner) IS NOT (later.outcome, later.winner)"
    wanted = "rows.head, rows.outcome, rows.winner, later.outcome, later.winner"
    with before.beside(after) as db:
        n_both, n_changed = db.execute(f"SELECT count(*), sum({differ}) FROM {both}").fetchone()
        changed = db.execute(
            f"SELECT id, {wanted} FROM {both} WHERE {differ} ORDER BY rows.position LIMIT ?",
            (CHANGED,),
        ).fetchall()
        kinds = db.execute(kinds_query("later.credit - rows.credit", both)).fetchall()
    try:
        found = mean_of_kinds(kinds, signed=True)
    except DataError:  # fewer than two examples with gold
        found = None
    return {
        "n_both": n_both,
        "n_changed": n_changed or 0,
        "changed": [
            {"id": id, "head": head, "before": _side(*sides[:2]), "after": _side(*sides[2:])}
            for id, head, *sides in changed
        ],
        "difference": found and ends(found),
    }


def _side(outcome: str, winner: int | None) -> dict[str, Any]:
    return {"outcome": outcome, "best": [] if winner is None else [winner]}
