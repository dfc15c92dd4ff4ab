"""Each benchmark's scoring rule: what one unit earns, and in which column it counts.

A unit is what the benchmark counts once: a pair, a list, both presentations of a pair, or a tied
prompt with its reference. A rule maps a judged unit to credits, each a value in a column; the
benchmark's aggregate (spct/measure/aggregates.py) makes the score of the columns' means.

Three policies. "generative" and "scalar" are the official rule for a judge that writes and for a
model that returns numbers; most benchmarks make no difference. "shared" is ours, the same for all,
and the only one outside benchmarks (compare, the pipeline's report, the dev check): see `credit`.

What has no verdict earns nothing under "shared" and stays in the count, so every row of a report
rests on the same examples and differences are paired; leaving it out would flatter a judge that
fails where it is hard. Only a ranking (area under the curve) leaves it out: it has no rank. Rewards
that are not finite numbers are no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from spct.types import Example
from spct.votes.vote import Rewards, best

Policy = Literal["generative", "scalar", "shared"]
Column = tuple[str | float, ...]


class _Judged(NamedTuple):
    example: Example
    rewards: Rewards | None


class Judged(_Judged):
    """An example with what the reward model made of it; None when it has no verdict."""

    def __new__(cls, example: Example, rewards: Rewards | None) -> Judged:
        """NaN compares with nothing, so rewards that hold one decide nothing: no verdict."""
        return super().__new__(cls, example, finite(rewards))


class Credit(NamedTuple):
    """What a unit earns in one column; units of one cluster share a prompt.

    `weight` is how much it counts in the column's mean: pairs of a list, shares of a vote.
    """

    unit: str
    cluster: str
    column: Column
    value: float
    weight: float = 1.0


Rule = Callable[[Sequence[Judged], Policy], list[tuple[Column, float]]]


def gold_of(example: Example) -> Rewards:
    """The gold rewards, which every benchmark's loader sets."""
    assert example.gold is not None, example.id
    return example.gold


def finite(rewards: Rewards | None) -> Rewards | None:
    """The rewards if every one is a finite number, else None."""
    return rewards if rewards is not None and all(map(math.isfinite, rewards)) else None


def credit(rewards: Rewards | None, gold: Rewards) -> float:
    """What a verdict earns under the shared rule: the chance that it is right.

    m responses that tie at the top are picked with a chance of 1/m each (the paper's shuffle and
    argmax, in expectation). A single response is right if its mean score lies on its label's side
    of 1/2. No verdict earns nothing.
    """
    if (found := finite(rewards)) is None:
        return 0.0
    if len(gold) == 1:
        return 0.5 if found[0] == 0.5 else float((found[0] > 0.5) == bool(gold[0]))
    top, right = best(found), best(gold)  # never max(): it would prefer the first of a tie
    return len(set(top) & set(right)) / len(top)


def is_strictly_right(rewards: Rewards, gold: Rewards) -> bool:
    """Whether every right response is rated above every other; a tie is wrong."""
    right = best(gold)
    others = [r for i, r in enumerate(rewards) if i not in right]
    return all(rewards[i] > r for i in right for r in others)


def label_of(rewards: Rewards) -> int:
    """A pair's verdict as Auto-J and PandaLM write it: 0 or 1 for the winner, 2 for a tie."""
    top = best(rewards)
    return top[0] if len(top) == 1 else TIE


def _column(example: Example) -> Column:
    return (example.subset or "all",)


def _shared(unit: Sequence[Judged]) -> list[tuple[Column, float]]:
    """One credit for the unit, the mean over its presentations; none if its gold is a tie."""
    earned = [
        credit(rewards, gold_of(example)) for example, rewards in unit if not is_gold_tie(example)
    ]
    return [(_column(unit[0].example), math.fsum(earned) / len(earned))] if earned else []


def is_gold_tie(example: Example) -> bool:
    """Whether the people who labelled it found all responses equally good."""
    return len(best(gold_of(example))) == example.n


def strict(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """PPE, RMB and any pairs or lists: the right one strictly above all others, or nothing.

    An item whose gold is a tie has no right answer and is left out.
    """
    if policy == "shared":
        return _shared(unit)
    return [
        (_column(example), float(rewards is not None and is_strictly_right(rewards, gold)))
        for example, rewards in unit
        if not is_gold_tie(example) and (gold := gold_of(example))
    ]


def rewardbench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """RewardBench v1: a scalar tie is wrong; a judge's tie or unreadable verdict earns a half."""
    if policy != "generative":
        return strict(unit, policy)
    return [
        (_column(example), 0.5 if rewards is None else credit(rewards, gold_of(example)))
        for example, rewards in unit
    ]


def rewardbench2(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """RewardBench 2, ratings: 1/m of m top-rated, chance (1/n) without a verdict; Ties apart."""
    if unit[0].example.subset == "Ties":
        return ties(unit)
    if policy == "shared":
        return _shared(unit)
    return [
        (
            _column(example),
            1 / example.n if rewards is None else credit(rewards, gold_of(example)),
        )
        for example, rewards in unit
    ]


class Margins(NamedTuple):
    """A prompt with several right responses: how they lie against each other and the wrong ones."""

    gap: float  # worst right one over best wrong one
    spread: float  # best right one over worst right one


def margins(rewards: Rewards, gold: Rewards) -> Margins:
    """Measure one prompt of the Ties domain; right responses have gold 1, wrong ones 0."""
    right = [r for r, g in zip(rewards, gold, strict=True) if g == 1]
    wrong = [r for r, g in zip(rewards, gold, strict=True) if g == 0]
    return Margins(min(right) - max(wrong), max(right) - min(right))


def ties(unit: Sequence[Judged]) -> list[tuple[Column, float]]:
    """RewardBench 2's Ties: a tied prompt and its reference; the aggregate weighs the five parts.

    The official code rates what has no verdict -1 throughout, so its gap and spread are 0: the
    prompt is inaccurate, but its partner is still paid. A spread of 0 makes the margin term 1, 0 or
    -1 by the sign of the gap, as the official code's division by zero does.
    """
    # Departure from the official code: it would fail on a prompt without its partner; a partial
    # benchmark (--limit) has such prompts, which earn their accuracy alone.
    by_kind = {j.example.meta["kind"]: j for j in unit}
    found = {
        kind: Margins(0.0, 0.0) if rewards is None else margins(rewards, gold_of(example))
        for kind, (example, rewards) in sorted(by_kind.items())
    }
    credits: list[tuple[Column, float]] = [
        (("Ties", f"{kind} accuracy"), float(each.gap > 0)) for kind, each in found.items()
    ]
    if len(found) < 2:  # a partial benchmark: the comparisons need both prompts
        return credits
    tied, least = found["tied"], min(found["ref"].gap, found["tied"].gap)
    tanh = math.tanh(least / tied.spread - 1) if tied.spread else _sign(least)
    return [
        *credits,
        (("Ties", "preferred"), float(tied.gap > tied.spread)),
        (("Ties", "preferred hard"), float(least > tied.spread)),
        (("Ties", "margin"), tanh),
    ]


def _sign(x: float) -> float:
    return math.copysign(1.0, x) if x else 0.0


DIFFICULTIES = ("hard", "normal", "easy")


def rm_bench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """RM-Bench: all nine chosen-rejected pairs of styles, strict; hard where the wrong is richer.

    Styles are 0 concise, 1 detailed, 2 detailed with markdown, as `meta["styles"]` says.
    """
    credits: list[tuple[Column, float]] = []
    for example, rewards in unit:
        styles, gold = example.meta["styles"], gold_of(example)
        for i in range(example.n):
            for j in range(example.n):
                if gold[i] > gold[j]:
                    step = styles[j] - styles[i]
                    level = "normal" if step == 0 else "hard" if step > 0 else "easy"
                    value = _beats(rewards, i, j, shared=policy == "shared")
                    credits.append(((example.subset or "all", level), value))
    return credits


def _beats(rewards: Rewards | None, i: int, j: int, *, shared: bool) -> float:
    if rewards is None:
        return 0.0
    if rewards[i] == rewards[j]:
        return 0.5 if shared else 0.0
    return float(rewards[i] > rewards[j])


def if_rewardbench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """IF-RewardBench: Kendall's tau-b and accuracy over the edges of the preference graph.

    An edge is right if the better response is strictly ahead; without a verdict all are ties. The
    official code divides by at least 1, so a judge that ties everything gets 0.
    """
    if policy == "shared":
        return _shared(unit)
    ((example, rewards),) = unit
    edges, name = example.meta["preferred"], example.subset or "all"
    scores = (0.0,) * example.n if rewards is None else rewards
    right = sum(scores[better] > scores[worse] for better, worse in edges)
    wrong = sum(scores[better] < scores[worse] for better, worse in edges)
    tau = (right - wrong) / max(1.0, math.sqrt((right + wrong) * len(edges)))
    return [((name, "tau-b"), tau), ((name, "accuracy"), right / max(1, len(edges)))]


def judgebench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """JudgeBench: +1, 0 or -1 for each of the two orders; right only if the sum is above 0."""
    if policy == "shared":
        return _shared(unit)
    total = 0  # a tie and a missing verdict add nothing, so one right order alone is enough
    for example, rewards in unit:
        if rewards is not None and len(best(rewards)) == 1:
            total += 1 if best(rewards) == best(gold_of(example)) else -1
    return [(_column(unit[0].example), float(total > 0))]


def llmbar(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """LLMBar: the mean over both orders; equal ratings come to a half, no verdict to nothing."""
    if policy == "shared":
        return _shared(unit)
    earned = [credit(rewards, gold_of(example)) for example, rewards in unit]
    return [(_column(unit[0].example), math.fsum(earned) / len(earned))]


def labelled(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """Auto-J: win, loss or tie must equal the human label in every presentation."""
    if policy == "shared":
        return _shared(unit)
    return [(_column(unit[0].example), float(all(_agrees(j, unread=None) for j in unit)))]


def pandalm(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """PandaLM: the label of three annotators; its own parser takes an unreadable reply for a tie.

    The second column holds the same with such replies counted as wrong.
    """
    if policy == "shared":
        return _shared(unit)
    return [
        ((column,), float(all(_agrees(j, unread=unread) for j in unit)))
        for column, unread in (("unreadable is a tie", TIE), ("unreadable is wrong", None))
    ]


TIE = 2


def _agrees(judged: Judged, *, unread: int | None) -> bool:
    """Whether the verdict is the human label, with `unread` in place of a missing verdict."""
    example, rewards = judged
    return (unread if rewards is None else label_of(rewards)) == label_of(gold_of(example))


def ranked(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """ReaLMistake, any single responses: columns of gold and reward, for the area under the curve.

    A response without a verdict has no place in a ranking and is left out under every policy.
    """
    return [
        ((example.subset or "all", gold_of(example)[0], rewards[0]), 1.0)
        for example, rewards in unit
        if rewards is not None
    ]


def any_n(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """A file of the user's: strict for several responses, ranked for single ones."""
    return ranked(unit, policy) if unit[0].example.n == 1 else strict(unit, policy)
