"""Small builders that the tests of bench share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spct.data.published.items import user
from spct.measure.benchmarks import Benchmark
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.rules import Credit, Judged
from spct.types import (
    Completion,
    Example,
    Judgement,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import best

ONE_CALL = Usage(10, 5, 1)


def example(
    gold: Sequence[float],
    id: str = "e",
    *,
    subset: str = "all",
    responses: Sequence[str] | None = None,
    query: str = "q?",
    **meta: Any,
) -> Example:
    texts = responses or [f"response {i}" for i in range(len(gold))]
    known = {"unit": id, "cluster": query, "source": id, "place": "here:1"} | meta
    return Example(id, user(query), tuple(texts), tuple(gold), subset=subset, meta=known)


def judged(
    gold: Sequence[float], rewards: Sequence[float] | None, *, subset: str = "all", **meta: Any
) -> Judged:
    given = None if rewards is None else tuple(rewards)
    return Judged(example(gold, subset=subset, **meta), given)


def verdict(id: str, rewards: Sequence[float] | None) -> Verdict:
    """A verdict without trajectories."""
    if rewards is None:
        return Verdict(id, None, (), (), 1, 1, 0, None)
    return Verdict(id, tuple(rewards), best(tuple(rewards)), (), 1, 0, 0, None)


def trajectory(
    id: str,
    index: int,
    scores: Sequence[float] | None,
    order: tuple[int, ...] = (0, 1),
    *,
    usage: Usage = ONE_CALL,
    meta_score: float | None = None,
) -> Trajectory:
    outcome = Unscored("no_verdict") if scores is None else Judgement((), "critique", tuple(scores))
    prompt = Prompt(id, (), order)
    completion = Completion("text", usage=usage)
    return Trajectory(id, index, index, prompt, completion, outcome, "f", meta_score)


def credits(values: Sequence[float], column: str = "all") -> list[Credit]:
    """One unit a value, each a prompt of its own."""
    return [Credit(f"u{i}", f"c{i}", (column,), float(v)) for i, v in enumerate(values)]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """JSON lines, in folders that are made for them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pairs_file(path: Path, n: int) -> Path:
    """A file in our own schema: the better response shares words with the query."""
    rows = [
        {
            "id": f"p{i}",
            "query": f"describe number{i} weather mountain",
            "responses": [
                f"number{i} weather " + "mountain " * (i % 3) + "x" * (3 * i % 17),
                "nothing to say" + "y" * i,
            ],
            "gold": [1, 0] if i % 2 else [0, 1],
            "subset": "odd" if i % 2 else "even",
        }
        for i in range(n)
    ]
    write(path, rows)
    return path


def loaded(benchmark: Benchmark, folder: Path | None = None, **options: Any) -> Loaded:
    return load_benchmark(benchmark, folder, **options)
