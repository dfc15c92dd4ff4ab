"""Verdicts by criteria as flat rows, one per response and criterion, for tables and statistics."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from spct.types import Verdict
from spct.votes.criteria import cells_of, mean_cells, totals

COLUMNS = (
    *("id", "response", "criterion", "text", "kind", "weight", "required", "p", "votes"),
    *("gate", "total", "clipped", "reward"),
)


def criteria_rows(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """One row per response and criterion; `p` and what follows from it are None where unscored.

    `votes` are what the counted judgements say of the cell, in their order.
    """
    drawn = [t for t in verdict.trajectories if t.parts]
    if not drawn or (criteria := drawn[0].criteria) is None:
        return
    tables = [cells_of(t) for t in drawn]
    found, means = totals(drawn), mean_cells(drawn)
    for i, (row, total) in enumerate(zip(means, found, strict=True)):
        for j, (item, p) in enumerate(zip(criteria.items, row, strict=True)):
            yield {
                "id": verdict.example_id,
                "response": i,
                "criterion": item.name,
                "text": item.text,
                "kind": item.kind,
                "weight": item.weight,
                "required": item.required,
                "p": p,
                "votes": [v for table in tables if (v := table[i][j]) is not None],
                "gate": None if total is None else j in total.gates,
                "total": None if total is None else total.total,
                "clipped": None if total is None else total.clipped,
                "reward": None if verdict.rewards is None else verdict.rewards[i],
            }


def write_criteria(verdicts: Iterable[Verdict], file: TextIO, valid: Any) -> int:
    """Write the rows of all verdicts as CSV; `valid` makes a value storable. Counts the rows."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    n = 0
    for verdict in verdicts:
        for row in criteria_rows(verdict):
            votes: Sequence[float] = row["votes"]
            writer.writerow(valid({**row, "votes": " ".join(f"{v:g}" for v in votes)}))
            n += 1
    return n
