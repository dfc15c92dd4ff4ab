"""What moves a judge by criteria though the responses do not, from stored runs alone.

- order effect: how much the score of a criterion changes from the first place in the prompt to the
  last: the slope within cells (one response, one criterion) over votes that showed it in different
  places, so neither easy criteria nor good responses can make one; needs k of at least 2
- beside: two runs that ask in two ways (all criteria in one call, one criterion a call) on the
  cells that both scored: agreement of yes and no, Cohen's kappa, both met rates

Intervals are those of every report: over prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from spct.errors import DataError
from spct.measure.aggregates import micro
from spct.measure.agreement import cohens_kappa
from spct.measure.intervals import Interval, bootstrap
from spct.measure.rules import Credit
from spct.runs.criteria_rows import criteria_rows
from spct.types import Checked, Verdict

Judged = Iterable[tuple[str, Verdict]]  # with the prompt that each is resampled with


@dataclass(frozen=True, slots=True)
class Beside:
    """Two runs on the `n` cells that both scored; `difference` is the second's met rate less."""

    n: int
    n_examples: int
    agreement: Interval
    kappa: float | None
    met_rates: tuple[float, float]
    difference: Interval


def order_effect(judged: Judged) -> Interval | None:
    """Last place less first place, in p; None where fewer than two examples can tell."""
    found = []
    for prompt, verdict in judged:
        slopes = [_slope(votes) for votes in _places(verdict).values()]
        if spread := sum(own for own, _ in slopes):
            value = sum(both for _, both in slopes) / spread
            found.append(Credit(verdict.example_id, prompt, ("all",), value, spread))
    return _mean(found, signed=True)


def _places(verdict: Verdict) -> Mapping[tuple[int, int], list[tuple[float, float]]]:
    """Of each response and criterion, where each vote was shown it (0 to 1) and what it said."""
    cells: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for part in (part for t in verdict.trajectories for part in t.parts):
        shown = part.prompt.criteria
        if isinstance(part.outcome, Checked) and len(shown) > 1:
            for at, (i, met) in enumerate(zip(shown, part.outcome.met, strict=True)):
                cells[part.prompt.order[0], i].append((at / (len(shown) - 1), met))
    return cells


def _slope(votes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The sums of squares of place, and of place times score, about their means."""
    x, y = (fmean(column) for column in zip(*votes, strict=True))
    return sum((a - x) ** 2 for a, _ in votes), sum((a - x) * (b - y) for a, b in votes)


def beside(a: Judged, b: Judged) -> Beside:
    """Compare two runs cell by cell; a criterion is the same if its name and text are."""
    first, second = _cells(a), _cells(b)
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    prompts: dict[str, str] = {}
    for key, (prompt, p) in first.items():
        if key in second:
            pairs.setdefault(str(key[0]), []).append((p >= 0.5, second[key][1] >= 0.5))
            prompts[str(key[0])] = prompt
    if not pairs:
        raise DataError(
            "comparing two runs by criteria: no response and criterion is scored in both; they "
            "need the same examples and the same lists"
        )
    told = [pair for some in pairs.values() for pair in some]

    def interval(earned: Mapping[str, float], *, signed: bool) -> Interval:
        credits = [
            Credit(id, prompts[id], ("all",), value, len(pairs[id])) for id, value in earned.items()
        ]
        alone = Interval(fmean(earned.values()), None, None)
        return _mean(credits, signed=signed) or alone

    same = {id: fmean(x == y for x, y in some) for id, some in pairs.items()}
    less = {id: fmean(y - x for x, y in some) for id, some in pairs.items()}
    return Beside(
        len(told),
        len(pairs),
        interval(same, signed=False),
        cohens_kappa(told),
        (fmean(x for x, _ in told), fmean(y for _, y in told)),
        interval(less, signed=True),
    )


def _cells(judged: Judged) -> dict[tuple[object, ...], tuple[str, float]]:
    return {
        (row["id"], row["response"], row["criterion"], row["text"]): (prompt, row["p"])
        for prompt, verdict in judged
        for row in criteria_rows(verdict)
        if row["p"] is not None
    }


def _mean(credits: Sequence[Credit], *, signed: bool) -> Interval | None:
    """The weighted mean with its interval; None of fewer than two examples."""
    if len(credits) < 2:
        return None
    found = bootstrap(credits, micro)["overall"]
    values = [one.value for one in credits]
    return found._replace(low=None, high=None) if signed and len(set(values)) == 1 else found


def order_line(judged: Judged) -> str:
    """The order effect for people."""
    found = order_effect(judged)
    if found is None:
        return "order effect: not known; it takes two examples or more with two votes or more (-k)"
    return f"order effect, last place less first: {_told(found)}"


def beside_line(a: Judged, b: Judged, name: str) -> str:
    """How far two runs agree, for people."""
    found = beside(a, b)
    kappa = "-" if found.kappa is None else f"{found.kappa:.2f}"
    here, there = found.met_rates
    return (
        f"beside {name}, {found.n} cells of {found.n_examples} examples: agreement "
        f"{_told(found.agreement)}, kappa {kappa}; met rate {here:.2f} here, {there:.2f} there, "
        f"difference {_told(found.difference)}"
    )


def _told(found: Interval) -> str:
    ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.point:.2f}{ends}"
