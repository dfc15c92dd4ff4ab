"""The examples that a model got wrong in its last row: where to look first.

Those without a verdict stand first, then the wrong ones by how sure the vote was. Judged by the
shared rule, so that an example means the same in every report; examples whose gold is a tie have
no wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spct.measure.loading import Loaded
from spct.measure.rows import Row, voted_examples
from spct.measure.rules import credit, gold_of, is_gold_tie

SHOWN = 20


def last_rows(rows: Sequence[Row]) -> list[Row]:
    """The last row of each model: its votes on the most samples, if it samples."""
    return list({row.model: row for row in rows}.values())


def failing(loaded: Loaded, row: Row, shown: int = SHOWN) -> dict[str, Any]:
    """How many votes of a row earned less than all, and the plainest of them."""
    wrong = [
        (example, vote)
        for example, vote in voted_examples(loaded, row)
        if example.n > 1 and not is_gold_tie(example) and credit(vote.rewards, gold_of(example)) < 1
    ]
    wrong.sort(key=lambda pair: (pair[1].rewards is not None, -(pair[1].agreement or 0)))
    return {
        "model": row.model,
        "row": row.name,
        "n": len(wrong),
        "shown": [
            {
                "id": example.id,
                "gold": gold_of(example),
                "rewards": vote.rewards,
                "vote_share": vote.agreement,
                "counted": vote.k_counted,
                "drawn": vote.k_drawn,
                "unscored": vote.unscored,
            }
            for example, vote in wrong[:shown]
        ],
    }
