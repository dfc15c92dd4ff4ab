"""A ranking of systems from verdicts on their answers to the same queries.

Each example's `meta.systems` names the system behind each response. Every pair of responses in a
verdict is one comparison: a win, a loss, or half of each for a tie. Three figures per system:

- win rate: the mean over its comparisons, each query counting once;
- Bradley-Terry strength (log odds, mean 0): what explains all wins at once, so that a system is not
  favoured by weak opponents;
- length-controlled win rate: the same model with one more term, tanh of the standardised difference
  in length, left out when the rates are read off (the idea of AlpacaEval 2, arXiv 2404.04475).

A small ridge keeps the strength of a system that won everything finite. Intervals are 95%, from a
bootstrap over queries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from spct.errors import DataError
from spct.measure.intervals import Interval
from spct.types import Example, Verdict

Array = NDArray[np.float64]
_RIDGE = 1e-2  # of one comparison's weight: moves a strength of 3 by about 1% at 100 comparisons
_STEPS = 25  # Newton's; it converges in five to ten


@dataclass(frozen=True, slots=True)
class System:
    """One system's figures; `n` counts its judged answers."""

    name: str
    n: int
    win_rate: Interval
    strength: Interval
    length_controlled: Interval


@dataclass(frozen=True, slots=True)
class Ranking:
    """Systems, best first, and what was left out."""

    systems: tuple[System, ...]
    n_queries: int
    n_comparisons: int
    n_unscored: int


@dataclass(frozen=True, slots=True)
class _Table:
    """Comparisons as arrays: `first` beat `second` by `won` (1, 1/2, 0) in query `query`."""

    names: list[str]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    won: Array
    longer: Array
    query: NDArray[np.int64]


def systems_of(example: Example) -> tuple[str, ...] | None:
    """The system behind each response, or None where the row does not say."""
    named = example.meta.get("systems")
    if named is None:
        return None
    if not isinstance(named, list) or len(named) != example.n:
        raise DataError(
            f"example {example.id!r}: meta.systems is {named!r}, expected one name per response"
            f" ({example.n})"
        )
    return tuple(map(str, named))


def rank(
    judged: Iterable[tuple[Example, Verdict]], *, resamples: int = 400, seed: int = 0
) -> Ranking:
    """Rank the systems; raise `DataError` where no two systems were ever compared."""
    table, answers, n_queries, n_unscored = _compared(judged)
    if len(table.names) < 2 or not len(table.won):
        raise DataError(
            f"ranking systems: got {len(table.names)} systems and {len(table.won)} comparisons;"
            " expected rows whose meta.systems names the system behind each response"
        )
    whole = np.ones(n_queries)
    points = _figures(table, whole)
    rng = np.random.default_rng(seed)
    drawn = [
        _figures(table, rng.multinomial(n_queries, whole / n_queries).astype(float))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(np.array(drawn), (0.025, 0.975), axis=0)
    systems = [
        System(name, answers[name], *(_interval(points, low, high, row, i) for row in range(3)))
        for i, name in enumerate(table.names)
    ]
    systems.sort(key=lambda s: (-s.strength.point, s.name))
    return Ranking(tuple(systems), n_queries, len(table.won), n_unscored)


def _interval(points: Array, low: Array, high: Array, row: int, i: int) -> Interval:
    return Interval(float(points[row, i]), float(low[row, i]), float(high[row, i]))


def _compared(
    judged: Iterable[tuple[Example, Verdict]],
) -> tuple[_Table, dict[str, int], int, int]:
    number: dict[str, int] = {}
    answers: dict[str, int] = {}
    rows: list[tuple[int, int, float, float, int]] = []
    n_queries = n_unscored = 0
    for example, verdict in judged:
        names = systems_of(example)
        if names is None:
            continue
        if verdict.rewards is None:
            n_unscored += 1
            continue
        rewards, lengths = verdict.rewards, [len(r) for r in example.responses]
        for name in names:
            number.setdefault(name, len(number))
            answers[name] = answers.get(name, 0) + 1
        for i, j in combinations(range(example.n), 2):
            if names[i] != names[j]:
                won = 0.5 * (1 + np.sign(rewards[i] - rewards[j]))
                pair = (number[names[i]], number[names[j]])
                rows.append((*pair, float(won), float(lengths[i] - lengths[j]), n_queries))
        n_queries += 1
    first, second, won_, longer, query = np.array(rows, float).reshape(-1, 5).T
    spread = float(longer.std()) if len(longer) else 0.0
    table = _Table(
        list(number),
        first.astype(np.int64),
        second.astype(np.int64),
        won_.astype(float),
        np.tanh(longer / spread) if spread else np.zeros(len(longer)),
        query.astype(np.int64),
    )
    return table, answers, n_queries, n_unscored


def _figures(table: _Table, weight_of_query: Array) -> Array:
    """Win rates, strengths and length-controlled win rates, one row each."""
    weights = weight_of_query[table.query]
    strengths, _ = _fit(table, weights, with_length=False)
    controlled, _ = _fit(table, weights, with_length=True)
    m = len(table.names)
    against = 1 / (1 + np.exp(controlled[None, :] - controlled[:, None]))
    rates = (against.sum(axis=1) - 0.5) / (m - 1)
    return np.array([_win_rates(table, weights), strengths, rates])


def _win_rates(table: _Table, weights: Array) -> Array:
    """Each query counts once for a system, however many responses it was compared with."""
    m, n = len(table.names), int(table.query.max()) + 1
    won, seen = np.zeros((m, n)), np.zeros((m, n))
    for side, share in ((table.first, table.won), (table.second, 1 - table.won)):
        np.add.at(won, (side, table.query), share)
        np.add.at(seen, (side, table.query), 1.0)
    weight_of_query = np.zeros(n)
    weight_of_query[table.query] = weights
    counted = (seen > 0) * weight_of_query
    means = np.divide(won, seen, out=np.zeros_like(won), where=seen > 0)
    total = counted.sum(axis=1)
    rates: Array = np.divide(
        (means * counted).sum(axis=1), total, out=np.full(m, np.nan), where=total > 0
    )
    return rates


def _fit(table: _Table, weights: Array, *, with_length: bool) -> tuple[Array, float]:
    """Newton's method for the strengths (mean 0) and the length coefficient."""
    m, n = len(table.names), len(table.won)
    features = np.zeros((n, m + 1))
    features[np.arange(n), table.first] += 1
    features[np.arange(n), table.second] -= 1
    features[:, m] = table.longer if with_length else 0
    found = np.zeros(m + 1)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(features @ found, -30, 30)))
        slope = features.T @ (weights * (table.won - p)) - _RIDGE * found
        curve = (features * (weights * p * (1 - p))[:, None]).T @ features
        step = np.linalg.solve(curve + _RIDGE * np.eye(m + 1), slope)
        found = found + step
        if np.abs(step).max() < 1e-9:
            break
    strengths = found[:m] - found[:m].mean()
    return strengths, float(found[m])


def _around(i: Interval, factor: int, digits: str) -> str:
    """The ends of an interval behind its point; nothing where the data give none."""
    if i.low is None or i.high is None:
        return ""
    return f" [{factor * i.low:{digits}}, {factor * i.high:{digits}}]"


def markdown(ranking: Ranking) -> str:
    """The ranking as a table."""

    def share(i: Interval) -> str:
        return f"{100 * i.point:.1f}{_around(i, 100, '.1f')}"

    lines = [
        "| system | win rate, % | Bradley-Terry | length-controlled, % | answers |",
        "|---|---|---|---|---|",
    ]
    for s in ranking.systems:
        bt = s.strength
        lines.append(
            f"| {s.name} | {share(s.win_rate)} | {bt.point:+.2f}{_around(bt, 1, '+.2f')} |"
            f" {share(s.length_controlled)} | {s.n} |"
        )
    note = f"; {ranking.n_unscored} without a verdict left out" if ranking.n_unscored else ""
    return (
        "\n".join(lines)
        + f"\n\n{ranking.n_queries} queries, {ranking.n_comparisons} comparisons{note}\n"
    )


def ranking_json(ranking: Ranking) -> dict[str, object]:
    """The ranking as JSON values."""

    def ends(i: Interval) -> dict[str, float | None]:
        return {"point": i.point, "low": i.low, "high": i.high}

    systems = [
        {
            "name": s.name,
            "n": s.n,
            "win_rate": ends(s.win_rate),
            "strength": ends(s.strength),
            "length_controlled": ends(s.length_controlled),
        }
        for s in ranking.systems
    ]
    counts = {
        "n_queries": ranking.n_queries,
        "n_comparisons": ranking.n_comparisons,
        "n_unscored": ranking.n_unscored,
    }
    return {"systems": systems, **counts}
