"""Measure the models of a pipeline on unseen examples: greedy, one sample, Voting@k, Meta@k.

Each model's judgements are drawn once, `k` an example at the temperature of inference, into a run
folder; every row of the report is a vote on stored trajectories. The meta RM scores them by
replaying the run. Every accuracy has a 95% interval, every comparison is paired by example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from spct.config import Settings
from spct.core.generative import GenerativeRM
from spct.core.vote import Vote, mean_scores, meta_top, sigmoid
from spct.measure.plots import save_figure
from spct.models.hf_scorer import load_scorer
from spct.runs.engines import ReplayEngine
from spct.runs.store import Store
from spct.train import meta_rm
from spct.train.outcome import correct
from spct.train.report import (
    Estimate,
    Health,
    credits_at,
    curve_figure,
    difference,
    estimate,
    health,
)
from spct.train.sampling import Draw, Formats, draw_into
from spct.types import Engine, Example, SamplingParams, Verdict


class EvaluateConfig(Settings):
    """What the report measures."""

    k: int = Field(32, ge=1, description="Judgements an example of the models in `full`.")
    k_others: int = Field(8, ge=1, description="The same of the others; the base gets one.")
    full: tuple[str, ...] = Field(("rl",), description="Models measured up to `k`.")
    guided: tuple[str, ...] = Field(("rft", "rl"), description="Models the meta RM is tried on.")
    skip: tuple[str, ...] = Field((), description="Models that are not measured.")
    temperature: float = Field(0.5, gt=0, description="Of sampled judgements, as in the paper.")
    max_tokens: int = Field(1024, gt=0, description="Limit of one judgement.")
    draws: int = Field(
        16, ge=1, description="Random subsets a vote of fewer than k is averaged on."
    )
    seed: int = Field(0, description="Seed of orders, samples and subsets.")


@dataclass(slots=True)
class ModelReport:
    """One model: greedy, votes by k, guided votes by k, and the health of its judgements."""

    greedy: Estimate
    voting: dict[int, Estimate]
    health: Health
    guided: dict[int, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetaReport:
    """The meta RM on a model's test trajectories.

    `auc` tells right from wrong over all of them, which easy and hard examples help; a vote needs
    `auc_within`, the mean over the examples that have both.
    """

    auc: float | None
    auc_within: float | None
    calibration_error: float
    bins: list[meta_rm.Bin]
    n: int
    right: float


@dataclass(slots=True)
class Report:
    """Everything measured."""

    n: int
    models: dict[str, ModelReport] = field(default_factory=dict)
    meta: dict[str, MetaReport] = field(default_factory=dict)
    comparisons: dict[str, Estimate] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The report as JSON values."""
        from dataclasses import asdict

        return asdict(self)


def ks_up_to(k: int) -> list[int]:
    """1, 2, 4, ... and k itself."""
    powers = [2**i for i in range(k.bit_length()) if 2**i <= k]
    return powers if powers[-1] == k else [*powers, k]


async def evaluate(
    engines: Mapping[str, Engine],
    examples: Sequence[Example],
    formats: Formats,
    config: EvaluateConfig,
    out: Path,
    meta: str | None = None,
) -> Report:
    """Draw, vote, compare; writes run folders and the figure under `out`."""
    report = Report(len(examples))
    credits: dict[tuple[str, str, int], list[float]] = {}  # (model, row, k) -> one an example
    for name, engine in engines.items():
        k = config.k if name in config.full else 1 if name == "base" else config.k_others
        greedy = await _verdicts(engine, examples, formats, config, out / name / "greedy", 1, 0.0)
        folder = out / name / "sampled"
        sampled = await _verdicts(engine, examples, formats, config, folder, k, config.temperature)
        credits[name, "greedy", 1] = credits_at(examples, greedy, mean_scores, 1)
        _vote(credits, name, "voting", examples, sampled, mean_scores, ks_up_to(k), config)
        report.models[name] = ModelReport(
            greedy=estimate(credits[name, "greedy", 1]),
            voting={k: estimate(credits[name, "voting", k]) for k in ks_up_to(k)},
            health=health(list(sampled.values())),
        )
        if meta is not None and name in config.guided:
            guided = await _guided(folder, engine, examples, formats, config, k, meta)
            ks = [k for k in ks_up_to(k) if k > 1]
            _vote(credits, name, "meta", examples, guided, meta_top(), ks, config)
            report.models[name].guided = {k: estimate(credits[name, "meta", k]) for k in ks}
            if any(t.judgement for v in guided.values() for t in v.trajectories):
                report.meta[name] = meta_report(examples, guided)
    _compare(report, credits, list(engines))
    save_curves(report, out)
    return report


def _vote(
    credits: dict[tuple[str, str, int], list[float]],
    name: str,
    row: str,
    examples: Sequence[Example],
    verdicts: Mapping[str, Verdict],
    vote: Vote,
    ks: Sequence[int],
    config: EvaluateConfig,
) -> None:
    for k in ks:
        credits[name, row, k] = credits_at(
            examples, verdicts, vote, k, draws=config.draws, seed=config.seed
        )


async def _verdicts(
    engine: Engine,
    examples: Sequence[Example],
    formats: Formats,
    config: EvaluateConfig,
    folder: Path,
    k: int,
    temperature: float,
) -> dict[str, Verdict]:
    params = SamplingParams(temperature=temperature, max_tokens=config.max_tokens)
    what = Draw(k, params=params, seed=config.seed)
    identity = {
        "k": k,
        "temperature": temperature,
        "max_tokens": config.max_tokens,
        "seed": config.seed,
        "engine": engine.fingerprint,
        "formats": formats.fingerprint,
    }
    with Store.open(folder, identity) as store:
        await draw_into(store, examples, engine, formats, what, concurrency=256)
        return {v.example_id: v for v in store.verdicts()}


async def _guided(
    folder: Path,
    engine: Engine,
    examples: Sequence[Example],
    formats: Formats,
    config: EvaluateConfig,
    k: int,
    meta: str,
) -> dict[str, Verdict]:
    """The stored judgements with meta scores: replayed, not drawn again."""
    scorer = load_scorer(meta, max_batch=128)
    params = SamplingParams(temperature=config.temperature, max_tokens=config.max_tokens)
    verdicts: dict[str, Verdict] = {}
    try:
        with Store.read(folder) as store:
            replay = ReplayEngine(store, engine.fingerprint)
            for fmt in (formats.several, formats.single):
                judge = GenerativeRM(
                    replay, fmt, k=k, vote=meta_top(), orders="random", params=params,
                    seed=config.seed, meta=scorer,
                )  # fmt: skip
                mine = [e for e in examples if formats.of(e) is fmt]
                verdicts |= {v.example_id: v async for v in judge.judge_many(mine)}
    finally:
        await scorer.aclose()
    return verdicts


def meta_report(examples: Sequence[Example], verdicts: Mapping[str, Verdict]) -> MetaReport:
    """How well meta scores tell right from wrong trajectories, and how well calibrated they are."""
    scores: list[float] = []
    labels: list[int] = []
    within: list[float] = []
    for example in examples:
        first = len(scores)
        for t in verdicts[example.id].trajectories:
            if t.judgement is not None and t.meta_score is not None:
                scores.append(t.meta_score)
                labels.append(int(correct(t.judgement.scores, example.gold or ())))
        found = meta_rm.auc(scores[first:], labels[first:])
        within += [] if found is None else [found]
    bins = meta_rm.calibration([sigmoid(s) for s in scores], labels)
    return MetaReport(
        meta_rm.auc(scores, labels),
        sum(within) / len(within) if within else None,
        meta_rm.calibration_error(bins),
        bins,
        len(scores),
        sum(labels) / len(labels),
    )


def _compare(
    report: Report, credits: Mapping[tuple[str, str, int], list[float]], models: list[str]
) -> None:
    """Paired differences: each stage against the one before, votes against one sample."""
    pairs = [
        *pairwise(models),
        *([("cold_start", "rl")] if {"cold_start", "rl"} <= {*models} else []),
    ]
    for before, after in dict.fromkeys(pairs):
        for row, k, label in (("greedy", 1, "greedy"), ("voting", 1, "one sample")):
            report.comparisons[f"{after} - {before}, {label}"] = difference(
                credits[after, row, k], credits[before, row, k]
            )
    for name, model in report.models.items():
        for k in (8, 32):
            if k in model.voting:
                report.comparisons[f"{name}: Voting@{k} - one sample"] = difference(
                    credits[name, "voting", k], credits[name, "voting", 1]
                )
            if k in model.guided:
                report.comparisons[f"{name}: Meta@{k} - Voting@{k}"] = difference(
                    credits[name, "meta", k], credits[name, "voting", k]
                )


def save_curves(report: Report, out: Path) -> list[Path]:
    """The figure of accuracy against k."""
    curves: dict[str, Mapping[int, Estimate]] = {}
    for name, model in report.models.items():
        curves[f"{name}, Voting@k"] = model.voting
        if model.guided:
            curves[f"{name}, Meta@k"] = model.guided
    title = f"Accuracy against k ({report.n} unseen examples, 95% bands)"
    return save_figure(curve_figure(curves, title), out / "accuracy-vs-k")
