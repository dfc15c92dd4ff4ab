"""Best of n: what gold says of the response that a judge picks out of n, while n grows.

Picking the best of n by a judge is optimisation without training. The judge's own reward rises with
n by construction; gold rises with it only as far as the judge is right, and falls where the judge
rewards something else (length, often). The pressure of n is KL = log n - (n - 1) / n from the
sampling policy, the axis on which RL can be compared.

Every figure is an exact mean over all choices of n responses of a list: nothing is drawn. Responses
that tie for the judge are picked with equal chances. All n rest on the same lists.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from spct.errors import ConfigError, DataError
from spct.measure.intervals import Interval, mean_interval, prompts_of, sign_of
from spct.measure.rules import finite
from spct.measure.tables import interval, number, percent, table
from spct.runs.rows import Sound
from spct.types import Example

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Judged(NamedTuple):
    """A list with gold, and the judge's rewards of its responses."""

    example: Example
    rewards: tuple[float, ...]


@dataclass(slots=True)
class Lists:
    """The lists that every n is measured on, and why the others are not among them."""

    kept: list[Judged] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Point:
    """One n: means over the lists with their 95% intervals.

    `reward` is on the judge's scale, `gold` and `oracle` (the pick by gold itself) in gold's units,
    `words` those of the picked response. `gain` is gold's over picking at random, list by list;
    `attained` its share of the oracle's gain (None where there is none).
    """

    n: int
    kl: float
    reward: Interval
    gold: Interval
    gain: Interval
    oracle: float
    attained: float | None
    words: float


@dataclass(frozen=True, slots=True)
class Report:
    """The points by n, and gold's loss from its highest point to the last n (None: it rose)."""

    points: tuple[Point, ...]
    n_lists: int
    left_out: dict[str, int]
    peak: int
    loss: Interval | None

    @property
    def over_optimised(self) -> bool:
        """Whether gold falls beyond its noise while the judge's reward rises."""
        return self.loss is not None and sign_of(self.loss) < 0


def kl_of(n: int) -> float:
    """Divergence of the best of n from its sampling policy, in nats (an upper bound with ties)."""
    return math.log(n) - (n - 1) / n


def chances(values: Sequence[float], n: int) -> list[float]:
    """The chance of each response to be the highest of n drawn without replacement.

    Those that tie share the chance of their block: of m responses, of which a are lower and b not
    higher, (C(b, n) - C(a, n)) / C(m, n).
    """
    total = math.comb(len(values), n)
    found = {}
    for value, count in Counter(values).items():
        lower = sum(v < value for v in values)
        block = math.comb(lower + count, n) - math.comb(lower, n)
        found[value] = block / total / count
    return [found[value] for value in values]


def lists_of(judged: Iterable[Sound], ns: Sequence[int] | None = None) -> tuple[Lists, list[int]]:
    """The lists with gold and rewards that hold the largest n, and the ns.

    Without `ns`: powers of two up to the size that at least half of the lists have, and that size.
    """
    lists = Lists()
    for sound in judged:
        example, rewards = sound.example, finite(sound.verdict.rewards)
        if example is None or example.gold is None or finite(example.gold) is None:
            lists.left_out["no gold"] += 1
        elif rewards is None:
            lists.left_out["no rewards"] += 1
        else:
            lists.kept.append(Judged(example, rewards))
    if ns and min(ns) < 1:
        raise ConfigError(f"best of n for n = {[*ns]}; expected whole numbers from 1 on")
    sizes = sorted((j.example.n for j in lists.kept), reverse=True)
    most = max(ns) if ns else sizes[(len(sizes) - 1) // 2] if sizes else 0
    asked = {1, *(ns or (2**i for i in range(most.bit_length()))), most}
    kept = [j for j in lists.kept if j.example.n >= most]
    lists.left_out[f"fewer than {most} responses"] += len(lists.kept) - len(kept)
    lists.kept = kept
    if most < 2 or len(kept) < 2:
        raise DataError(
            f"best of {most}: {len(kept)} lists have gold, rewards and so many responses "
            f"({dict(lists.left_out)} are left out); expected at least 2 lists of several "
            "responses; name a smaller -n"
        )
    return lists, sorted(asked)


def measure(lists: Lists, ns: Sequence[int], *, resamples: int = 10_000) -> Report:
    """What is picked at each n, on the same lists."""
    examples = [j.example for j in lists.kept]
    prompts = prompts_of(examples)

    def mean(values: Sequence[float]) -> Interval:
        return mean_interval(values, prompts, resamples=resamples, signed=True)

    def gold_by(n: int) -> list[float]:
        return [_picked(j.rewards, j.example.gold or (), n) for j in lists.kept]

    at_random = gold_by(1)
    points, golds = [], {n: gold_by(n) for n in ns}
    for n in ns:
        oracle = fmean(_picked(e.gold or (), e.gold or (), n) for e in examples)
        possible = oracle - fmean(at_random)
        gain = [a - b for a, b in zip(golds[n], at_random, strict=True)]
        words = [[float(len(r.split())) for r in e.responses] for e in examples]
        points.append(
            Point(
                n=n,
                kl=kl_of(n),
                reward=mean([_picked(j.rewards, j.rewards, n) for j in lists.kept]),
                gold=mean(golds[n]),
                gain=mean(gain),
                oracle=oracle,
                attained=fmean(gain) / possible if possible > 1e-9 else None,
                words=fmean(
                    _picked(j.rewards, w, n) for j, w in zip(lists.kept, words, strict=True)
                ),
            )
        )
    peak = max(points, key=lambda p: (p.gold.point, -p.n)).n
    fall = [a - b for a, b in zip(golds[ns[-1]], golds[peak], strict=True)]
    left_out = {why: n for why, n in lists.left_out.items() if n}
    loss = mean(fall) if peak != ns[-1] else None
    return Report(tuple(points), len(examples), left_out, peak, loss)


def _picked(values: Sequence[float], told: Sequence[float], n: int) -> float:
    """The mean of `told` at the highest of n by `values`."""
    return sum(p * t for p, t in zip(chances(values, n), told, strict=True))


def markdown(report: Report) -> str:
    """The table, and whether gold falls."""
    head = ("n", "KL", "judge's reward", "gold", "gain", "gold at best", "of it", "words")
    text = table(
        head,
        (
            (
                str(p.n),
                number(p.kl, 2),
                interval(p.reward, scale=1, digits=2),
                interval(p.gold, scale=1, digits=3),
                interval(p.gain, scale=1, digits=3, signed=True),
                number(p.oracle, 3),
                percent(p.attained),
                number(p.words, 1),
            )
            for p in report.points
        ),
    )
    left_out = "".join(f"; {n} left out: {why}" for why, n in report.left_out.items())
    text += f"\n{report.n_lists} lists{left_out}\n"
    if report.loss is not None:
        fall = interval(report.loss, scale=1, digits=3, signed=True)
        means = "over-optimised" if report.over_optimised else "within the noise"
        last = report.points[-1].n
        text += f"gold is highest at n = {report.peak} and {fall} from there to {last}: {means}\n"
    return text


def figure(report: Report) -> Figure:
    """The judge's reward and gold against KL, each on its own axis."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.6, 3.6), layout="constrained")
    left = drawn.subplots()
    right = left.twinx()
    kls = [p.kl for p in report.points]
    lines = [
        left.plot(kls, [p.gold.point for p in report.points], "-o", label="gold")[0],
        left.plot(kls, [p.oracle for p in report.points], ":", color="grey", label="best")[0],
        right.plot(kls, [p.reward.point for p in report.points], "--s", color="C1", label="judge")[
            0
        ],
    ]
    left.set_xlabel("KL from the sampling policy, nats: log n - (n - 1) / n")
    left.set_ylabel("gold")
    right.set_ylabel("judge's reward")
    left.grid(alpha=0.3)
    left.legend(handles=lines, fontsize="small")
    return drawn
