"""The criteria of one example as the page draws them: p and the votes of each cell, and totals."""

from __future__ import annotations

from typing import Any

from spct.types import Verdict
from spct.votes.criteria import cells_of, mean_cells, totals


def by_criteria(verdict: Verdict) -> dict[str, Any] | None:
    """Cells as [response][criterion] with a total per response; None without a list of criteria.

    A vote is what one judgement says of the cell, None where it says nothing. A format that scores
    responses as a whole shows the list and has no cells.
    """
    if all(t.criteria is None for t in verdict.trajectories):
        return None
    drawn = [t for t in verdict.trajectories if t.parts]
    tables = [cells_of(t) for t in drawn]
    return {
        "cells": [
            [{"p": p, "votes": [table[i][j] for table in tables]} for j, p in enumerate(row)]
            for i, row in enumerate(mean_cells(drawn))
        ],
        "totals": [
            found and {"total": found.total, "clipped": found.clipped, "gates": list(found.gates)}
            for found in totals(drawn)
        ],
    }
