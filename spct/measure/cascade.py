"""Fitting a cascade by replay of two stored runs, and whether it beats plain votes of equal cost.

Queries are halved by a hash. On each half the slopes (log loss of the better over the worse
response) and the threshold are fitted, and the other half is decided with them; both halves
together are the curve. The control is k-voting by the same judge at the same mean tokens per
example, between two k mixed in the share that spends as much. Thresholds are those that escalate a
tenth, two tenths, ... of the fitted half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from spct.errors import DataError
from spct.measure.estimator import Settle, readable, shared_credit, votes_at
from spct.measure.intervals import Interval, difference, half_of, prompts_of, sign_of
from spct.measure.rules import credit, gold_of
from spct.models.cascade import CascadeFit, strengths
from spct.types import Example, Usage, Verdict
from spct.votes.vote import Rewards, sigmoid

_SHARES = tuple(i / 10 for i in range(11))
_RIDGE = 1e-3  # of the slopes' squares: a set that one model decides wholly has no finite fit
_LEAST = 20  # examples per half


@dataclass(frozen=True, slots=True)
class Item:
    """One example in both runs: rewards, tokens, and what plain votes of each k earn and cost."""

    prompt: str
    gold: Rewards
    first: Rewards | None
    second: Rewards | None
    first_tokens: int
    second_tokens: int
    credits: tuple[float, ...]  # of plain votes, by k
    tokens: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A cascade that escalates about this share, beside plain votes of the same tokens."""

    escalated: float
    tokens: float
    accuracy: float
    votes: float
    gain: Interval


@dataclass(frozen=True, slots=True)
class Report:
    """Both curves, the target's point, and the numbers fitted on all examples."""

    n: int
    first_alone: float
    ks: tuple[int, ...]
    votes: tuple[tuple[float, float], ...]  # tokens, accuracy by k
    points: tuple[Point, ...]
    chosen: int
    fit: CascadeFit

    @property
    def is_better(self) -> bool:
        """Whether the chosen point asks the judge at all, and is above plain votes of its cost.

        The whole interval must be above zero, and the accuracy above the first model's alone.
        """
        point = self.points[self.chosen]
        return sign_of(point.gain) > 0 and point.accuracy > self.first_alone

    def markdown(self) -> str:
        """The curves as tables, and what they say."""
        lines = [
            f"{self.n} examples in both runs; fitted on one half of the queries, decided on the "
            f"other. The first model alone: {100 * self.first_alone:.1f}.",
            "",
            "| plain votes, k | tokens per example | accuracy |",
            "|---|---|---|",
        ]
        for k, (tokens, accuracy) in zip(self.ks, self.votes, strict=True):
            lines.append(f"| {k} | {tokens:.0f} | {100 * accuracy:.1f} |")
        lines += [
            "",
            "| escalated | tokens per example | cascade | votes at these tokens | difference |",
            "|---|---|---|---|---|",
        ]
        for i, point in enumerate(self.points):
            mark = " (chosen)" if i == self.chosen else ""
            lines.append(
                f"| {100 * point.escalated:.0f}%{mark} | {point.tokens:.0f} | "
                f"{100 * point.accuracy:.1f} | {100 * point.votes:.1f} | {_shown(point.gain)} |"
            )
        return "\n".join([*lines, "", self.conclusion()])

    def conclusion(self) -> str:
        """Whether to use it."""
        gain = _shown(self.points[self.chosen].gain)
        if self.points[self.chosen].escalated == 0:
            return "The first model alone is best here: no judge need be asked, leave it off."
        if self.is_better:
            return f"The cascade is better than plain votes of equal cost: {gain} points."
        return f"The cascade is not better than plain votes of equal cost ({gain}): leave it off."


def _shown(gain: Interval) -> str:
    ends = "" if gain.low is None or gain.high is None else f" [{100 * gain.low:+.1f}, "
    return f"{100 * gain.point:+.1f}" + (ends and f"{ends}{100 * (gain.high or 0):+.1f}]")


def items_of(
    examples: Iterable[Example],
    first: dict[str, Verdict],
    second: dict[str, Verdict],
    ks: Sequence[int],
    settled: Settle,
) -> list[Item]:
    """The examples with gold and several responses that both runs hold."""
    found = []
    for example in examples:
        if example.n < 2 or example.gold is None or example.id not in first.keys() & second.keys():
            continue
        one, other = readable(first[example.id]), readable(second[example.id])
        found.append(
            Item(
                prompts_of([example])[0],
                gold_of(example),
                one.rewards,
                other.rewards,
                _spent(one.usage),
                _spent(other.usage),
                tuple(shared_credit(votes_at(other, k, settled), example) for k in ks),
                tuple(_tokens_at(other, k) for k in ks),
            )
        )
    return found


def _spent(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def _tokens_at(verdict: Verdict, k: int) -> float:
    """The mean tokens of a group of k samples."""
    groups = max(1, len(verdict.trajectories) // k)
    drawn = verdict.trajectories[: groups * k]
    return _spent(sum((t.completion.usage for t in drawn), Usage())) / groups


def fit_cascade(
    items: Sequence[Item],
    ks: Sequence[int],
    scale: tuple[float, float] | None,
    budget: float | None = None,
) -> Report:
    """Fit on halves and on all; `budget` bounds the tokens per example, else accuracy decides."""
    halves = [[i for i in items if half_of(i.prompt) == side] for side in (0, 1)]
    if min(map(len, halves)) < _LEAST:
        raise DataError(
            f"fitting a cascade on {len(items)} examples; expected at least {_LEAST} in each half "
            "of the queries, with gold and judged in both runs"
        )
    ordered = [*halves[1], *halves[0]]
    fits = [_fits(half, scale) for half in halves]
    prompts = [item.prompt for item in ordered]
    points, n_asked = [], len(ordered)
    for which in range(len(_SHARES)):
        replayed = [_replayed(i, fits[0][which], scale) for i in halves[1]]
        replayed += [_replayed(i, fits[1][which], scale) for i in halves[0]]
        tokens = fmean(one[1] for one in replayed)
        mine, plain = [one[0] for one in replayed], _votes_for(ordered, tokens)
        points.append(
            Point(
                sum(one[2] for one in replayed) / n_asked,
                tokens,
                fmean(mine),
                fmean(plain),
                difference(mine, plain, prompts),
            )
        )
    whole = _fits(items, scale)
    chosen = _chosen(points, budget)
    return Report(
        len(items),
        fmean(credit(i.first, i.gold) for i in items),
        tuple(ks),
        tuple((fmean(i.tokens[k] for i in items), fmean(i.credits[k] for i in items))
              for k in range(len(ks))),
        tuple(points),
        chosen,
        whole[chosen],
    )  # fmt: skip


def _chosen(points: Sequence[Point], budget: float | None) -> int:
    affordable = [i for i, p in enumerate(points) if budget is None or p.tokens <= budget]
    if not affordable:
        cheapest = min(p.tokens for p in points)
        raise DataError(f"no cascade costs at most {budget:g} tokens; the cheapest {cheapest:.0f}")
    return max(affordable, key=lambda i: (points[i].accuracy, -points[i].tokens))


def _fits(items: Sequence[Item], scale: tuple[float, float] | None) -> list[CascadeFit]:
    """The slopes of these items, with a threshold for each share that is escalated."""
    rows = [_margins(item, scale) for item in items]
    flat = [row for some in rows for row in some]
    s = [x for x, _ in flat if x is not None]
    v = [y for _, y in flat if y is not None]
    both = [(x, y) for x, y in flat if x is not None and y is not None]
    if not (s and v and both):
        raise DataError("fitting a cascade: one of the runs has no scored examples with gold")
    alone, judged = _slopes([(x, 0.0) for x in s])[0], _slopes([(0.0, y) for y in v])[1]
    free = CascadeFit(2.0, alone, judged, _slopes(both))
    sure = sorted(
        max(free.decided(item.first, None, scale)) if item.first is not None else 0.0
        for item in items
    )
    return [
        CascadeFit(_threshold(sure, share), free.first, free.second, free.both) for share in _SHARES
    ]


def _threshold(sure: Sequence[float], share: float) -> float:
    """The confidence below which this share of the examples lies."""
    at = round(share * len(sure))
    return 0.0 if at == 0 else 2.0 if at >= len(sure) else sure[at]


def _margins(
    item: Item, scale: tuple[float, float] | None
) -> list[tuple[float | None, float | None]]:
    """How far each better response is above each worse one, in both models."""
    s = None if item.first is None else strengths(item.first, scale)
    v, gold = item.second, item.gold
    return [
        (None if s is None else s[i] - s[j], None if v is None else v[i] - v[j])
        for i in range(len(gold))
        for j in range(len(gold))
        if gold[i] > gold[j]
    ]


def _slopes(margins: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The (a, b) with the least mean -log sigmoid(a x + b y), by Newton's method."""
    a = b = 0.0
    n = len(margins)
    for _ in range(100):
        ga = gb = haa = hab = hbb = 0.0
        for x, y in margins:
            p = sigmoid(-(a * x + b * y))
            w = p * (1 - p)
            ga, gb = ga - p * x, gb - p * y
            haa, hab, hbb = haa + w * x * x, hab + w * x * y, hbb + w * y * y
        ga, gb = ga / n + _RIDGE * a, gb / n + _RIDGE * b
        haa, hab, hbb = haa / n + _RIDGE, hab / n, hbb / n + _RIDGE
        det = haa * hbb - hab * hab
        da, db = (hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det
        size = math.hypot(da, db)
        step = min(1.0, 5 / size) if size else 0.0
        a, b = a - step * da, b - step * db
        if size < 1e-9:
            break
    return a, b


def _replayed(
    item: Item, fit: CascadeFit, scale: tuple[float, float] | None
) -> tuple[float, int, bool]:
    """What the cascade earns on an item, its tokens, and whether the judge was asked."""
    if fit.is_sure(item.first, scale):
        return credit(fit.decided(item.first, None, scale), item.gold), item.first_tokens, False
    spent = item.first_tokens + item.second_tokens
    if item.first is None and item.second is None:
        return 0.0, spent, True
    return credit(fit.decided(item.first, item.second, scale), item.gold), spent, True


def _votes_for(items: Sequence[Item], tokens: float) -> list[float]:
    """What plain votes earn at these mean tokens: two neighbouring k, mixed; the ends beyond."""
    means = [fmean(i.tokens[k] for i in items) for k in range(len(items[0].tokens))]
    above = next((k for k, mean in enumerate(means) if mean >= tokens), len(means) - 1)
    below = max(0, above - 1)
    gap = means[above] - means[below]
    share = 1.0 if gap <= 0 else min(1.0, max(0.0, (tokens - means[below]) / gap))
    return [share * i.credits[above] + (1 - share) * i.credits[below] for i in items]
