"""What stopping rules draw and change, on simulated judges: ours beside ASC and ESC.

    python benchmarks/stopping.py [--streams 3000] [--seed 1]

A stream is one pair of responses and the scores of k judgements. The difference of the two scores
has an item's own mean and noise of the same size (correlation .5 within an item), shifted so that
one judgement is right with the accuracy named; scores are whole numbers from 1 to 10. Every rule
decides by the mean of what it drew. `changed` counts, among the items with a winner at k, those
whose winner at the stop differs. ASC (arXiv 2305.11860) stops when a Beta posterior on winners is
.95 sure, ESC (2401.10480) when a window of 4 agrees; both look at winners only. The last table
spends one budget over items of all three judges, as `spct sample --budget` does.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Sequence
from statistics import NormalDist

from spct.core.settle import settle
from spct.text.parse import TEN
from spct.types import Completion, Judgement, Prompt, Trajectory, Usage
from spct.votes.budget import Budget, Item, Spending
from spct.votes.predictive import Fit, fit_stopping, predictive
from spct.votes.stopping import State, Stopping, exact, sign_flip
from spct.votes.vote import best, mean_scores

Rows = list[tuple[float, float]]
ACCURACIES = (0.885, 0.80, 0.59)
_SIZE = 3.0  # points: how far apart two scores of one judgement are


def streams(accuracy: float, k: int, count: int, seed: int) -> list[Rows]:
    """The rows of `count` items, the right response first."""
    rng = random.Random(f"{accuracy}/{k}/{seed}")
    shift = NormalDist().inv_cdf(accuracy) * _SIZE
    part = _SIZE * math.sqrt(0.5)
    found = []
    for _ in range(count):
        level, own = rng.uniform(4, 7), shift + rng.gauss(0, part)
        rows = []
        for _ in range(k):
            gap = own + rng.gauss(0, part)
            rows.append((_score(level + gap / 2), _score(level - gap / 2)))
        found.append(rows)
    return found


def _score(x: float) -> float:
    return float(min(10, max(1, round(x))))


def winner(rows: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Who leads by the sum of the scores."""
    return best(tuple(math.fsum(column) for column in zip(*rows, strict=True)))


def ours(rule: Stopping, k: int) -> Callable[[Rows], int]:
    """How many judgements one of our rules draws."""
    ends = rule.waves(k, 2)

    def drawn(rows: Rows) -> int:
        for end in ends[:-1]:
            if rule.is_decided(State(rows[:end], k - end, len(ends) - 1, TEN.high - TEN.low)):
                return end
        return k

    return drawn


def asc(rows: Rows) -> int:
    """Adaptive consistency: stop when the leader's share of wins is above one half, .95 sure."""
    a = b = 1
    for i, (one, two) in enumerate(rows, 1):
        a, b = a + (one > two), b + (two > one)
        if i >= 2 and max(_above_half(a, b), _above_half(b, a)) >= 0.95:
            return i
    return len(rows)


def _above_half(a: int, b: int) -> float:
    """P(p > 1/2) of Beta(a, b) with whole a and b: a binomial tail."""
    n = a + b - 1
    return math.fsum(math.comb(n, j) for j in range(a)) / 2**n


def esc(rows: Rows) -> int:
    """Early-stopping consistency: stop after a window of 4 judgements with one winner."""
    for end in range(4, len(rows), 4):
        window = rows[end - 4 : end]
        if len({winner([row]) for row in window}) == 1 and len(winner([window[0]])) == 1:
            return end
    return len(rows)


def measured(accuracy: float, k: int, seed: int) -> Fit:
    """Noise and spread as `spct runs fit-stopping` measures them, on 300 other items."""
    return fit_stopping(streams(accuracy, k, 300, seed + 1000), mean_scores, TEN)


def rules(accuracy: float, k: int, seed: int) -> dict[str, Callable[[Rows], int]]:
    """Each rule by its name: how many judgements of a stream it draws."""
    return {
        "exact": ours(exact, k),
        "sign_flip .02": ours(sign_flip(0.02), k),
        "predictive .02": ours(predictive(0.02), k),
        "predictive .02, measured": ours(predictive(0.02, measured(accuracy, k, seed)), k),
        "ASC .95": asc,
        "ESC, window 4": esc,
    }


def cell(rule: Callable[[Rows], int], items: Sequence[Rows]) -> str:
    """Mean samples and the share of changed winners."""
    drawn = [rule(rows) for rows in items]
    decided = [(r, d) for r, d in zip(items, drawn, strict=True) if len(winner(r)) == 1]
    changed = sum(winner(r[:d]) != winner(r) for r, d in decided) / len(decided)
    return f"{math.fsum(drawn) / len(drawn):.2f}, {100 * changed:.2f}%"


def judgements(id: str, rows: Rows) -> list[Trajectory]:
    """A stream as the judgements of an example, a call each."""
    prompt, reply = Prompt(id, (), (0, 1)), Completion("", usage=Usage(calls=1))
    return [
        Trajectory(id, i, i, prompt, reply, Judgement((), "", row), "simulated")
        for i, row in enumerate(rows)
    ]


def one_budget(count: int, seed: int, most: int = 32) -> None:
    """Print accuracy for the calls of k judgements each: k for each, and one budget for all."""
    items = [rows for a in ACCURACIES for rows in streams(a, most, count, seed)]
    drawn = {str(i): judgements(str(i), rows) for i, rows in enumerate(items)}
    print(f"\none budget for {len(items)} items, at most {most} each: accuracy, %\n")
    print("| calls of | k for each | one budget | longest |\n|---|---|---|---|")
    for k in (2, 4, 6, 8, 16, most):
        even = {id: settle(id, some[:k], mean_scores, k) for id, some in drawn.items()}
        spending = Spending(Budget(k * len(items), "calls"), most, mean_scores, TEN, 0)
        found = {}
        for step in spending.steps([Item(id, 2, 1) for id in drawn]):
            for id, m in step.items():
                found[id] = settle(id, drawn[id][:m], mean_scores, m)
                spending.add(found[id])
        right = [
            100 * math.fsum((0 in v.best) / len(v.best) for v in some.values()) / len(some)
            for some in (even, found)
        ]
        longest = max(v.k_drawn for v in found.values())
        print(f"| k = {k} | {right[0]:.1f} | {right[1]:.1f} | {longest} |")


def main() -> None:
    """Print one table for each k, and what a look costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for k in (8, 32):
        cells: dict[str, list[str]] = {}
        for accuracy in ACCURACIES:
            items = streams(accuracy, k, args.streams, args.seed)
            for name, rule in rules(accuracy, k, args.seed).items():
                cells.setdefault(name, []).append(cell(rule, items))
        heads = " | ".join(f"{a:g}: samples, changed" for a in ACCURACIES)
        print(f"\nk = {k}, n = 2, {args.streams} streams\n\n| rule | {heads} |\n|---|---|---|---|")
        for name, row in cells.items():
            print(f"| {name} | " + " | ".join(row) + " |")
    one_budget(args.streams // 3, args.seed)
    rows = streams(0.59, 32, 200, args.seed)
    look = predictive(0.02)
    times = []
    for stream in rows:
        state = State(stream[:30], 2, 14, 9.0)
        begin = time.perf_counter()
        look.is_decided(state)
        times.append(time.perf_counter() - begin)
    print(f"\none look after 30 of 32: {sorted(times)[len(times) // 2] * 1e6:.1f} us (median)")


if __name__ == "__main__":
    main()
