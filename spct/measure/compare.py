"""The same examples through several reward models at k = 1, 2, 4, ...: what each gains and costs.

A model that samples judges once with the largest k; accuracy at each k is the estimator of
estimator.py under the shared rule, so bench shows the same figures for the same judgements. A
deterministic model has one value for all k; that it is deterministic is measured by judging again.
Cost is measured apart, by judging a few examples afresh at every k. The slope is that of accuracy
on log2 k, per example, so its interval is paired across k.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError, DataError, OverBudget
from spct.measure.estimator import readable, shared_credit, votes_at
from spct.measure.intervals import Interval, mean_interval, prompts_of
from spct.measure.json_files import write_json
from spct.measure.metrics import abstention
from spct.measure.runner import Watch, slug, unwatched
from spct.measure.sureness import Sureness, sureness
from spct.protocols import RewardModel
from spct.runs.engines import recorded
from spct.runs.identity import digest, digest_of_all
from spct.runs.judging import Tally, judge_into
from spct.runs.run import finished, look_back, open_anew
from spct.runs.store import Store
from spct.types import Example, Usage, Verdict
from spct.votes.vote import best

KS = (1, 2, 4, 8, 16, 32)
SIZES = (1, 2, 3, 5)  # numbers of responses that the table names


@dataclass(frozen=True, slots=True)
class Cost:
    """What one example costs, measured on `n_timed` examples judged concurrently."""

    seconds: float
    prompt_tokens: float
    completion_tokens: float
    calls: float
    n_timed: int
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """A model at one k. `unscored` is a share of all votes, `ties` of those with rewards."""

    k: int
    accuracy: Interval
    unscored: float
    ties: float | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured of one model; `slope` is accuracy gained by doubling k."""

    name: str
    points: tuple[Point, ...]
    slope: Interval
    repeat_difference: float | None  # of rewards judged twice; None for a model that samples
    takes: Mapping[int, bool]  # which numbers of responses
    sure: Sureness | None = None  # of models whose rewards are log odds


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several models on the same examples; `left_out` counts those that cannot be compared on."""

    n_examples: int
    left_out: Mapping[str, int]
    ks: tuple[int, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where replies and verdicts go, whether what failed is asked again, and who watches."""

    replies: Store | None
    verdicts: Path | None
    retry_unscored: bool
    watch: Watch


async def compare(
    examples: Sequence[Example],
    models: Mapping[str, RewardModel],
    *,
    ks: Sequence[int] = KS,
    n_timed: int = 16,
    store: Store | None = None,
    verdicts: Path | None = None,
    retry_unscored: bool = False,
    watch: Watch = unwatched,
) -> Comparison:
    """Judge with every model in turn; examples need gold that prefers some response.

    With a `store` no reply that it holds is drawn again, so a killed comparison continues; cost is
    measured without it. `verdicts` is a folder that keeps what each model said as a run of its own;
    with `retry_unscored` what stands there and does not count is asked again.
    """
    wanted = tuple(sorted(set(ks)))
    if not models:
        raise ConfigError("comparing no models; expected at least one")
    if not wanted or wanted[0] < 1 or any(wanted[-1] % k for k in wanted):
        raise ConfigError(
            f"comparing at k = {list(ks)}: expected positive numbers that all divide the largest"
        )
    if n_timed < 1:
        raise ConfigError(f"n_timed is {n_timed}; what an example costs needs at least one")
    usable, left_out = comparable(examples)
    keeping = Keeping(store, verdicts, retry_unscored, watch)
    curves = [
        await _curve(name, model, usable, wanted, usable[:n_timed], keeping)
        for name, model in models.items()
    ]
    return Comparison(len(usable), left_out, wanted, tuple(curves))


def comparable(examples: Iterable[Example]) -> tuple[list[Example], dict[str, int]]:
    """The examples that a choice can be right or wrong on, and how many of the others by reason."""
    usable: list[Example] = []
    left_out: dict[str, int] = {}
    for example in examples:
        if example.gold is None:
            reason = "no gold"
        elif example.n < 2:
            reason = "one response"
        elif len(best(example.gold)) == example.n:
            reason = "all gold equal"
        else:
            usable.append(example)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    if len(usable) < 2:
        raise DataError(
            f"comparing reward models: got {len(usable)} usable examples (left out: {left_out}); "
            "expected at least 2 with several responses whose gold differs"
        )
    return usable, left_out


async def _curve(
    name: str,
    model: RewardModel,
    examples: Sequence[Example],
    ks: tuple[int, ...],
    timed: Sequence[Example],
    keeping: Keeping,
) -> Curve:
    samples = model.traits.gains_from_samples
    takes = {n: model.traits.takes(n) for n in SIZES}
    at, store = ks if samples else ks[:1], keeping.replies
    costs = {k: await _cost_once(at_k(model, k), timed, store) for k in at}
    drawing = at_k(model, ks[-1])
    verdicts = await _kept_verdicts(name, drawing, examples, keeping)
    prompts = prompts_of(examples)
    points, credits_K = [], []
    for k in ks:
        # a model that draws no samples says the same at every k: all that it says is one verdict
        votes_E = [
            votes_at(verdicts[e.id], k, drawing.settle) if samples else (readable(verdicts[e.id]),)
            for e in examples
        ]
        credits_E = [shared_credit(v, e) for v, e in zip(votes_E, examples, strict=True)]
        beside = abstention(votes_E)
        points.append(
            Point(
                k,
                mean_interval(credits_E, prompts),
                beside.unscored_rate,
                beside.tie_rate,
                costs.get(k, costs[ks[0]]),
            )
        )
        credits_K.append(credits_E)
    difference = None if samples else await _repeat_difference(model, timed, verdicts)
    sure = sureness(examples, verdicts, model.traits)
    return Curve(name, tuple(points), slope(ks, credits_K, prompts), difference, takes, sure)


async def verdicts_of(
    model: RewardModel,
    examples: Sequence[Example],
    store: Store | None = None,
    again: Collection[str] = (),
    *,
    watch: Watch = unwatched,
    name: str = "",
) -> dict[str, Verdict]:
    """What a model says of each example, by id; a `store` keeps it, and is asked first.

    It is not asked for the ids in `again`. `watch` shows it as `name` while it is judged.
    """
    ids = {e.id for e in examples}.difference(again)
    found = {v.example_id: v for v in finished(store, ids, k=1)} if store else {}

    def keep(example: Example, verdict: Verdict) -> None:
        found[example.id] = verdict

    put, known, tally = store.put_verdict if store else None, frozenset(found), Tally()
    async with watch(name, tally, len(examples) - len(known)):
        await judge_into(model, examples, put=put, finished=known, on_verdict=keep, tally=tally)
    return found


async def _kept_verdicts(
    name: str, model: RewardModel, examples: Sequence[Example], keeping: Keeping
) -> dict[str, Verdict]:
    """Judge into a run folder of the model's own; one of other settings or data is set aside.

    What the model is asked is kept in `replies`, and not asked again.
    """
    replies, watch = keeping.replies, keeping.watch
    if keeping.verdicts is None:
        model = recorded(model, replies)[0] if replies else model
        return await verdicts_of(model, examples, watch=watch, name=name)
    await model.open()  # the identity names the model that an endpoint serves
    identity = {**model.identity(), "data": digest_of_all(examples)}
    with open_anew(keeping.verdicts / slug(name), identity) as store:
        again = look_back(store, retry_unscored=True).again if keeping.retry_unscored else {}
        model = recorded(model, replies, again)[0] if replies else model
        ids = {example_id for example_id, _ in again}
        return await verdicts_of(model, examples, store, ids, watch=watch, name=name)


def at_k(model: RewardModel, k: int) -> RewardModel:
    """The same model with k samples; without early stopping, which would blur what k is."""
    wished = {"k": k, "stopping": None}
    known = model.traits.settings
    return model.with_(**{name: value for name, value in wished.items() if name in known})


async def _cost_once(model: RewardModel, examples: Sequence[Example], store: Store | None) -> Cost:
    """What was measured before a kill stands: it was paid for."""
    if store is None:
        return await _cost(model, examples)
    await model.open()  # the identity names the model that an endpoint serves
    path = store.folder / "costs.json"
    key = digest({**model.identity(), "examples": digest_of_all(examples)})
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # none measured yet, or damaged
        known = dict(json.loads(path.read_text("utf-8")))
    if key in known:
        return Cost(**known[key])
    cost = await _cost(model, examples)
    write_json(path, {**known, key: asdict(cost)})
    return cost


async def _cost(model: RewardModel, examples: Sequence[Example]) -> Cost:
    before = model.usage
    start = time.perf_counter()
    verdicts = await verdicts_of(model, examples)
    seconds = time.perf_counter() - start
    used = sum((v.usage for v in verdicts.values()), Usage())
    read = model.usage
    n = len(examples)
    calls = used.calls
    if model.engine is not None:  # a verdict without an engine counts its forwards itself
        calls += read.calls - before.calls
    return Cost(
        seconds / n,
        (used.prompt_tokens + read.prompt_tokens - before.prompt_tokens) / n,
        used.completion_tokens / n,
        calls / n,
        n,
        (used.cached_tokens + read.cached_tokens - before.cached_tokens) / n,
    )


async def _repeat_difference(
    model: RewardModel, examples: Sequence[Example], before: Mapping[str, Verdict]
) -> float:
    """The largest difference between rewards judged twice."""
    again = await verdicts_of(model, examples)
    twice = [(verdict.rewards, before[id].rewards) for id, verdict in again.items()]
    differences = (
        abs(a - b)
        for first, second in twice
        if first is not None and second is not None
        for a, b in zip(first, second, strict=True)
    )
    return max(differences, default=0.0)


def slope(
    ks: Sequence[int], credits_K: Sequence[Sequence[float]], prompts: Sequence[str]
) -> Interval:
    """Least squares of accuracy on log2 k: accuracy per doubling, its interval over prompts."""
    xs = [math.log2(k) for k in ks]
    centre = math.fsum(xs) / len(xs)
    spread = math.fsum((x - centre) ** 2 for x in xs)
    if not spread:
        return Interval(0.0, None, None)
    slopes = [
        math.fsum((x - centre) * c for x, c in zip(xs, credits, strict=True)) / spread
        for credits in zip(*credits_K, strict=True)
    ]
    return mean_interval(slopes, prompts, signed=True)


def check_scored(comparison: Comparison) -> None:
    """Raise if nothing that a model said could be scored: no figure of it means anything."""
    for curve in comparison.curves:
        if all(point.unscored > 1 - 1e-9 for point in curve.points):
            raise OverBudget(
                f"{curve.name}: nothing was scored on {comparison.n_examples} examples"
            )
