"""Each benchmark's scoring rule: what one unit earns, and where it is booked.

A unit is what the benchmark counts once: a pair, a list, both presentations of a pair, or a tied
prompt with its reference. A rule maps a judged unit to credits, each a value in a column; the
benchmark's aggregate (spct/measure/aggregates.py) makes the score of the columns' means.

Three policies. "generative" and "scalar" are the official rule for a judge that writes and for a
model that returns numbers; most benchmarks make no difference. "shared" is ours, the same for
all: m responses that tie at the top get 1/m each (what the paper's shuffle and argmax give in
expectation), and what has no verdict is left out, never priced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from spct.core.vote import Rewards, best
from spct.types import Example

Policy = Literal["generative", "scalar", "shared"]
Column = tuple[str | float, ...]


class Judged(NamedTuple):
    """An example with what the reward model made of it; None when it has no verdict."""

    example: Example
    rewards: Rewards | None


class Credit(NamedTuple):
    """What a unit earns in one column; units of one cluster share a prompt."""

    unit: str
    cluster: str
    column: Column
    value: float


Rule = Callable[[Sequence[Judged], Policy], list[tuple[Column, float]]]


def gold_of(example: Example) -> Rewards:
    """The gold rewards, which every benchmark's loader sets."""
    assert example.gold is not None, example.id
    return example.gold


def share_of_top(rewards: Rewards, gold: Rewards) -> float:
    """1/m if one of m top-rated responses is right: what breaking ties at random earns."""
    top, right = best(rewards), best(gold)
    return len(set(top) & set(right)) / len(top)


def is_strictly_right(rewards: Rewards, gold: Rewards) -> bool:
    """Whether every right response is rated above every other; a tie is wrong."""
    right = best(gold)
    others = [r for i, r in enumerate(rewards) if i not in right]
    return all(rewards[i] > r for i in right for r in others)


def label_of(rewards: Rewards) -> int:
    """A pair's verdict as Auto-J and PandaLM write it: 0 or 1 for the winner, 2 for a tie."""
    top = best(rewards)
    return top[0] if len(top) == 1 else 2


def _column(example: Example) -> Column:
    return (example.subset or "all",)


def _shared(unit: Sequence[Judged]) -> list[tuple[Column, float]]:
    """One credit for the unit: the mean over its scored presentations, if it has any."""
    scored = [
        share_of_top(j.rewards, gold_of(j.example))
        for j in unit
        if j.rewards is not None and not is_gold_tie(j.example)
    ]
    return [(_column(unit[0].example), math.fsum(scored) / len(scored))] if scored else []


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
        (_column(example), 0.5 if rewards is None else share_of_top(rewards, gold_of(example)))
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
            1 / example.n if rewards is None else share_of_top(rewards, gold_of(example)),
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

    Without a verdict a prompt is inaccurate and its comparisons fail; the optional margin term is
    then 0. A spread of 0 makes the margin term 1, 0 or -1 by the sign of the gap, as the official
    code's division does.
    """
    by_kind = {j.example.meta["kind"]: j for j in unit}
    credits: list[tuple[Column, float]] = []
    found: dict[str, Margins] = {}
    for kind, (example, rewards) in sorted(by_kind.items()):
        if rewards is not None:
            found[kind] = margins(rewards, gold_of(example))
        accurate = kind in found and found[kind].gap > 0
        credits.append((("Ties", f"{kind} accuracy"), float(accurate)))
    if len(by_kind) < 2:  # a partial benchmark: the comparisons need both prompts
        return credits
    preferred = hard = tanh = 0.0
    if len(found) == 2:
        tied, reference = found["tied"], found["ref"]
        least = min(reference.gap, tied.gap)
        preferred, hard = float(tied.gap > tied.spread), float(least > tied.spread)
        tanh = math.tanh(least / tied.spread - 1) if tied.spread else _sign(least)
    named = (("preferred", preferred), ("preferred hard", hard), ("margin", tanh))
    return credits + [(("Ties", name), value) for name, value in named]


def _sign(x: float) -> float:
    return math.copysign(1.0, x) if x else 0.0


DIFFICULTIES = ("hard", "normal", "easy")


def rm_bench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """RM-Bench: all nine chosen-rejected pairs of styles, strict; hard where the wrong is richer.

    Styles are 0 concise, 1 detailed, 2 detailed with markdown, as `meta["styles"]` says.
    """
    credits: list[tuple[Column, float]] = []
    for example, rewards in unit:
        if rewards is None and policy == "shared":
            continue
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


def judgebench(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """JudgeBench: +1, 0 or -1 for each of the two orders; right only if the sum is above 0."""
    if policy == "shared":
        return _shared(unit)
    total = 0
    for example, rewards in unit:
        if rewards is not None and len(best(rewards)) == 1:
            total += 1 if best(rewards) == best(gold_of(example)) else -1
    return [(_column(unit[0].example), float(total > 0))]


def llmbar(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """LLMBar: the mean over both orders; equal ratings come to a half, no verdict to nothing."""
    if policy == "shared":
        return _shared(unit)
    earned = [
        0.0 if rewards is None else share_of_top(rewards, gold_of(example))
        for example, rewards in unit
    ]
    return [(_column(unit[0].example), math.fsum(earned) / len(earned))]


def labelled(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """Auto-J and PandaLM: win, loss or tie must equal the human label in every presentation."""
    if policy == "shared":
        return _shared(unit)
    agrees = all(
        rewards is not None and label_of(rewards) == label_of(gold_of(example))
        for example, rewards in unit
    )
    return [(_column(unit[0].example), float(agrees))]


def ranked(unit: Sequence[Judged], policy: Policy) -> list[tuple[Column, float]]:
    """ReaLMistake, any single responses: booked by gold and reward, for the area under the curve.

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
