"""How sure a figure is: bootstrap over prompts, Wilson intervals, exact McNemar.

The bootstrap draws whole clusters (all units of one prompt) with replacement. Clusters with equal
credits are interchangeable, so what is drawn is how often each *kind* of cluster occurs: one
multinomial, the same distribution as drawing clusters one by one, and fast enough for 10,000
resamples of 100,000 judgements.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]

from spct.errors import DataError
from spct.measure.aggregates import Aggregate, Array, Scores, Table, micro
from spct.measure.rules import Column, Credit
from spct.types import Example

_FEW_KINDS = 2000  # up to here numpy's multinomial is faster than drawing clusters
_CELLS = 4_000_000  # floats in one block of resamples: bounds memory


_NOISE = 1e-12  # of sums of weighted credits: ends that differ by less are equal


class Interval(NamedTuple):
    """A figure with its 95% interval; both ends None where the data give none."""

    point: float
    low: float | None
    high: float | None


def sign_of(found: Interval) -> int:
    """1 or -1 where the whole interval lies on one side of zero, else 0."""
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > 0 else -1 if found.high < 0 else 0


class Kinds(NamedTuple):
    """Clusters by kind: how many there are of each, and each kind's credits by column."""

    columns: tuple[Column, ...]
    sizes: NDArray[np.int64]
    sums: sparse.csr_array
    counts: sparse.csr_array


def kinds_of(credits: Iterable[Credit]) -> Kinds:
    """Group equal clusters; an empty list is an error, never a score of 0."""
    column_of: dict[Column, int] = {}
    clusters: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for credit in credits:
        column = column_of.setdefault(credit.column, len(column_of))
        clusters[credit.cluster].append((column, credit.value * credit.weight, credit.weight))
    if not clusters:
        raise DataError(
            "scoring a benchmark: got no scored unit, expected at least one; nothing was judged, "
            "or every judgement was left out (the run's store says why)"
        )
    kinds = Counter(tuple(sorted(entries)) for entries in clusters.values())
    rows = [row for row, entries in enumerate(kinds) for _ in entries]
    at, values, weights = zip(*(entry for entries in kinds for entry in entries), strict=True)
    shape = (len(kinds), len(column_of))
    return Kinds(
        tuple(column_of),
        np.fromiter(kinds.values(), np.int64, len(kinds)),
        sparse.csr_array((np.array(values, float), (rows, at)), shape=shape),
        sparse.csr_array((np.array(weights, float), (rows, at)), shape=shape),
    )


def _tables(kinds: Kinds, resamples: int, seed: int) -> Iterator[Table]:
    """Resampled tables, a block at a time."""
    rng = np.random.default_rng(seed)
    n_clusters, n_kinds = int(kinds.sizes.sum()), len(kinds.sizes)
    block = max(1, min(resamples, _CELLS // max(n_kinds, len(kinds.columns))))
    kind_of = np.repeat(np.arange(n_kinds, dtype=np.int32), kinds.sizes)
    for start in range(0, resamples, block):
        n_rows = min(block, resamples - start)
        if n_kinds <= _FEW_KINDS:
            drawn = rng.multinomial(n_clusters, kinds.sizes / n_clusters, size=n_rows)
        else:
            drawn = np.stack(
                [
                    np.bincount(
                        kind_of[rng.integers(0, n_clusters, n_clusters, dtype=np.int32)],
                        minlength=n_kinds,
                    )
                    for _ in range(n_rows)
                ]
            )
        weights = drawn.astype(float)
        yield Table(kinds.columns, weights @ kinds.sums, weights @ kinds.counts)


def point_table(kinds: Kinds) -> Table:
    """The table of the data as they are: one row."""
    weights = kinds.sizes.astype(float)[None, :]
    return Table(kinds.columns, weights @ kinds.sums, weights @ kinds.counts)


def bootstrap(
    credits: Iterable[Credit], aggregate: Aggregate, *, resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval]:
    """Every score of an aggregate with its 95% percentile interval over prompts."""
    return _bootstrap(kinds_of(credits), aggregate, resamples, seed)


def _bootstrap(
    kinds: Kinds, aggregate: Aggregate, resamples: int, seed: int
) -> dict[str, Interval]:
    points = aggregate(point_table(kinds))
    blocks = [aggregate(table) for table in _tables(kinds, resamples, seed)]
    return {
        name: _interval(
            float(point[0]), np.concatenate([b[name] for b in blocks]), _prompts(kinds, name)
        )
        for name, point in points.items()
    }


def _prompts(kinds: Kinds, section: str) -> int:
    """How many prompts a section rests on; 0 for one that is made of several columns' means."""
    at = [i for i, c in enumerate(kinds.columns) if section in ("overall", c[0])]
    counts = np.asarray(kinds.counts[:, at].sum(axis=1)).ravel()
    return int(kinds.sizes[counts > 0].sum())


def _interval(point: float, drawn: Array, n_prompts: int) -> Interval:
    drawn = drawn[~np.isnan(drawn)]  # resamples in which a section had no prompt at all
    if not len(drawn):
        return Interval(point, None, None)
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    if high - low > _NOISE:
        return Interval(point, low, high)
    # All prompts earned the same: resampling sees no doubt, which is no reason to have none.
    if 0 <= point <= 1 and n_prompts:
        return wilson(point * n_prompts, n_prompts)
    return Interval(point, None, None)


Z95 = 1.959963984540054


def wilson(n_hits: float, n: int) -> Interval:
    """A share with its 95% Wilson interval (hits may be halves); no trials give no interval."""
    if n == 0:
        return Interval(float("nan"), None, None)
    share, scale = n_hits / n, 1 + Z95**2 / n
    # By hand: scipy's takes whole hits only, and a mean of ties or of groups is rarely whole.
    centre = (share + Z95**2 / (2 * n)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(
    values: Sequence[float],
    prompts: Sequence[str],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    signed: bool = False,
) -> Interval:
    """The mean of one value per example, with the interval of every report.

    `signed` is for differences and slopes: where all examples agree there is none, since Wilson's
    is for shares. The same examples in the same order give the same ends as bench's "shared".
    """
    if len(values) < 2:
        raise DataError(f"estimating a mean from {len(values)} examples; expected at least 2")
    credits = [
        Credit(str(i), prompt, ("all",), value)
        for i, (value, prompt) in enumerate(zip(values, prompts, strict=True))
    ]
    found = bootstrap(credits, micro, resamples=resamples, seed=seed)["overall"]
    if signed and max(values) - min(values) <= _NOISE:
        return found._replace(low=None, high=None)
    return found


def mean_of_kinds(
    kinds: Sequence[tuple[float, int, int]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    signed: bool = False,
) -> Interval:
    """`mean_interval` where equal prompts are counted already: (sum of values, examples, prompts).

    The same ends, from a few rows instead of one for each example.
    """
    if (n := sum(examples * prompts for _, examples, prompts in kinds)) < 2:
        raise DataError(f"estimating a mean from {n} examples; expected at least 2")
    sums, counts, sizes = (np.array(column, float)[:, None] for column in zip(*kinds, strict=True))
    table = Kinds(
        (("all",),), sizes[:, 0].astype(np.int64), sparse.csr_array(sums), sparse.csr_array(counts)
    )
    found = _bootstrap(table, micro, resamples, seed)["overall"]
    if signed and np.ptp(sums / counts) <= _NOISE:
        return found._replace(low=None, high=None)
    return found


def prompts_of(examples: Iterable[Example]) -> list[str]:
    """What each example is resampled with: its query, since several may share one."""
    return ["\0".join(f"{m.role}\0{m.content}" for m in e.query) for e in examples]


def half_of(prompt: str) -> int:
    """0 or 1: which half of a set a prompt is in, where one half is fitted on and the other told.

    By its text, so all examples of a prompt are in one half and a larger set keeps the halves.
    """
    return sha256(prompt.encode(errors="surrogatepass")).digest()[0] % 2


def difference(
    a: Sequence[float], b: Sequence[float], prompts: Sequence[str], **how: int
) -> Interval:
    """How far `a` is above `b`, paired by example."""
    values = [x - y for x, y in zip(a, b, strict=True)]
    return mean_interval(values, prompts, signed=True, **how)


def paired_bootstrap(
    a: Sequence[Credit],
    b: Sequence[Credit],
    aggregate: Aggregate,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Interval]:
    """B's score minus A's on the same units, resampling prompts of both together.

    No interval where no prompt differs.
    """
    # Both sides go into one table, so that a resample draws the same prompts for A and for B.
    both = [c._replace(column=("a", *c.column)) for c in a]
    both += [c._replace(column=("b", *c.column)) for c in b]
    kinds = kinds_of(both)

    def difference(table: Table) -> Scores:
        scores_a, scores_b = (aggregate(_side(table, side)) for side in "ab")
        return {name: scores_b[name] - scores_a[name] for name in scores_a if name in scores_b}

    points = difference(point_table(kinds))
    blocks = [difference(table) for table in _tables(kinds, resamples, seed)]
    found: dict[str, Interval] = {}
    for name, point in points.items():
        drawn = np.concatenate([block[name] for block in blocks])
        drawn = drawn[~np.isnan(drawn)]
        varies = len(drawn) and drawn.max() - drawn.min() > _NOISE
        ends = np.quantile(drawn, (0.025, 0.975)) if varies else (None, None)
        low, high = (None if end is None else float(end) for end in ends)
        found[name] = Interval(float(point[0]), low, high)
    return found


def _side(table: Table, side: str) -> Table:
    at = [i for i, column in enumerate(table.columns) if column[0] == side]
    columns = [table.columns[i][1:] for i in at]
    return Table(columns, table.sums[:, at], table.counts[:, at])


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that A and B are right equally often, from the units where they differ."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # half a second to import

    n = only_a + only_b
    return 1.0 if n == 0 else float(binomtest(only_a, n, 0.5).pvalue)
