"""One verdict as a row of the page's index: what a list shows, sorts and filters by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from spct.measure.outcomes import flips, outcome_of
from spct.runs.rows import blob
from spct.types import Example, Message, Verdict
from spct.view.keys import key_of
from spct.votes.vote import best

COLUMNS = (
    *(
        "id",
        "position",
        "head",
        "n",
        "subset",
        "outcome",
        "credit",
        "reason",
        "winner",
        "gold_best",
    ),
    *("rewards", "margin", "agreement", "counted", "drawn", "tokens", "calls", "flips"),
    *("longer", "gold_longer", "cluster", "gold", "samples", "batch", "prompt", "cached"),
)
_TEXT = 4000  # characters of an example that the text filter looks at


def row_of(verdict: Verdict, example: Example | None, position: int, batch: int) -> tuple[Any, ...]:
    """One verdict as an index row; without its example there is neither text nor gold."""
    responses = () if example is None else example.responses
    query = () if example is None else example.query
    gold = None if example is None else example.gold
    head = " ".join(query[-1].content.split()) if query else ""
    result = outcome_of(verdict.rewards, gold)
    reasons = {str(reason): count for reason, count in verdict.unscored.items()}
    samples = [
        (t.prompt.order, t.judgement.scores if t.judgement else None) for t in verdict.trajectories
    ]
    row = {
        "id": key_of(verdict.example_id),
        "position": position,
        "head": head[:160],
        "n": len(responses) or len(verdict.rewards or ()) or None,
        "subset": None if example is None else example.subset,
        "outcome": result.name,
        "credit": result.credit,
        "reason": max(reasons, key=reasons.__getitem__) if reasons else None,
        "winner": verdict.winner,
        "gold_best": None if gold is None or len(top := best(gold)) > 1 else top[0],
        "rewards": json.dumps(verdict.rewards),
        "margin": _margin(verdict.rewards),
        "agreement": verdict.agreement,
        "counted": verdict.k_counted,
        "drawn": verdict.k_drawn,
        "tokens": verdict.usage.prompt_tokens + verdict.usage.completion_tokens,
        "calls": verdict.usage.calls,
        "flips": flips(samples),
        "longer": _longer(responses, verdict.rewards),
        "gold_longer": _longer(responses, gold),
        "cluster": _digest(query),
        "gold": json.dumps(gold),
        "samples": json.dumps(samples),
        "batch": batch,
        "prompt": verdict.usage.prompt_tokens,
        "cached": verdict.usage.cached_tokens,
    }
    return tuple(_storable(row[name]) for name in COLUMNS)


def text_of(verdict: Verdict, example: Example | None) -> bytes:
    """What the text filter looks at."""
    query = () if example is None else example.query
    responses = () if example is None else example.responses
    texts = [verdict.example_id, *(turn.content for turn in query), *responses]
    return blob("\n".join(texts)[:_TEXT].lower())


def _storable(value: Any) -> Any:
    """SQLite's text is UTF-8, which has no place for a lone surrogate."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _digest(query: Sequence[Message]) -> str:
    """Names the query: examples of one query are resampled together."""
    text = "\0".join(f"{turn.role}\0{turn.content}" for turn in query)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _margin(rewards: Sequence[float] | None) -> float | None:
    if rewards is None or len(rewards) < 2:
        return None
    first, second = sorted(rewards, reverse=True)[:2]
    return first - second


def _longer(responses: Sequence[str], values: Sequence[float] | None) -> str | None:
    """For a pair with a winner: by how many characters it differs, and whether the longer wins."""
    if values is None or len(responses) != 2 or values[0] == values[1]:
        return None
    difference = len(responses[0]) - len(responses[1])
    if difference == 0:
        return None
    return json.dumps([abs(difference), (difference > 0) == (values[0] > values[1])])
