"""Measure the models of a pipeline on unseen examples: greedy, one sample, Voting@k, Meta@k.

Each model's judgements are drawn once, `k` an example at the temperature of inference, into a run
folder; every row of the report is a vote on stored trajectories, by the estimator and the intervals
of spct/measure. The meta RM scores the stored ones. Every comparison is paired by example.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from spct.errors import OverBudget
from spct.measure.aggregates import auc_of
from spct.measure.estimator import UNSCORED_POLICY, by, credits_at
from spct.measure.figures import Line, accuracy_figure, save_figure
from spct.measure.intervals import Interval, difference, mean_interval, prompts_of
from spct.measure.json_files import plain
from spct.measure.metrics import Calibration, Health, calibrated, health
from spct.models.hf_scorer import load_scorer
from spct.protocols import Engine, Scorer
from spct.runs.engines import RecordingEngine
from spct.runs.judging import judge_into
from spct.runs.store import Store
from spct.settings import Settings
from spct.train.outcome import labelled
from spct.train.sampling import Draw, Formats, Sampler
from spct.types import Example, SamplingParams, Verdict
from spct.votes.calibration import calibrate
from spct.votes.guided import with_meta_scores
from spct.votes.vote import Vote, mean_scores, meta_top, sigmoid, vote_named


class EvaluateConfig(Settings):
    """What the report measures."""

    k: int = Field(32, ge=1, description="Judgements per example of the models in `full`.")
    k_others: int = Field(8, ge=1, description="The same of the others; the base gets one.")
    full: tuple[str, ...] = Field(("rl",), description="Models measured up to `k`.")
    guided: tuple[str, ...] = Field(("rft", "rl"), description="Models the meta RM is tried on.")
    skip: tuple[str, ...] = Field((), description="Models that are not measured.")
    temperature: float = Field(0.5, gt=0, description="Of sampled judgements, as in the paper.")
    max_tokens: int = Field(1024, gt=0, description="Limit of one judgement.")
    seed: int = Field(0, description="Seed of orders and samples.")


@dataclass(slots=True)
class ModelReport:
    """One model: greedy, votes by k, guided votes by k, and the health of its judgements."""

    greedy: Interval
    voting: dict[int, Interval]
    health: Health
    guided: dict[int, Interval] = field(default_factory=dict)
    weighted: dict[int, Interval] = field(default_factory=dict)  # by a meta RM calibrated on dev


@dataclass(frozen=True, slots=True)
class MetaReport:
    """The meta RM on a model's test trajectories.

    `auc` tells right from wrong over all of them, which easy and hard examples help; a vote needs
    `auc_within`, the mean over the examples that have both.
    """

    auc: float | None
    auc_within: float | None
    calibration: Calibration
    right: float


@dataclass(slots=True)
class Report:
    """Everything measured."""

    n: int
    estimator: str = "Voting@k and Meta@k: the mean over all disjoint groups of k samples"
    unscored: str = UNSCORED_POLICY
    models: dict[str, ModelReport] = field(default_factory=dict)
    meta: dict[str, MetaReport] = field(default_factory=dict)
    comparisons: dict[str, Interval] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The report as JSON values."""
        return dict(plain(asdict(self)))


def ks_up_to(k: int) -> list[int]:
    """1, 2, 4, ... and k itself."""
    powers = [2**i for i in range(k.bit_length()) if 2**i <= k]
    return powers if powers[-1] == k else [*powers, k]


Credits = dict[tuple[str, str, int], list[float]]  # (model, row, k) -> one per example


async def evaluate(
    engines: Mapping[str, Engine],
    examples: Sequence[Example],
    formats: Formats,
    config: EvaluateConfig,
    out: Path,
    meta: str | None = None,
    dev: Sequence[Example] = (),
) -> Report:
    """Draw, vote, compare; writes run folders and the figure under `out`.

    On judgements of `dev` the meta RM is calibrated for each model that it guides.
    """
    report, prompts = Report(len(examples)), prompts_of(examples)
    credits: Credits = {}
    for name, engine in engines.items():
        k = config.k if name in config.full else 1 if name == "base" else config.k_others
        greedy = await _verdicts(engine, examples, formats, config, out / name / "greedy", 1, 0.0)
        folder = out / name / "sampled"
        sampled = await _verdicts(engine, examples, formats, config, folder, k, config.temperature)
        credits[name, "greedy", 1] = credits_at(examples, greedy, 1, by(mean_scores))
        for some in ks_up_to(k):
            credits[name, "voting", some] = credits_at(examples, sampled, some, by(mean_scores))
        report.models[name] = ModelReport(
            greedy=mean_interval(credits[name, "greedy", 1], prompts),
            voting=_intervals(credits, name, "voting", prompts),
            health=health(sampled.values()),
        )
        if meta is not None and name in config.guided:
            guided = await _guided(examples, sampled, meta)
            votes = {"meta": meta_top()}
            if dev:
                folder = out / name / "dev"
                k_dev = config.k_others
                drawn = await _verdicts(
                    engine, dev, formats, config, folder, k_dev, config.temperature
                )
                votes["weighted"] = calibrated_on(dev, await _guided(dev, drawn, meta))
            for kind, vote in votes.items():
                for some in (k for k in ks_up_to(k) if k > 1):
                    credits[name, kind, some] = credits_at(examples, guided, some, by(vote))
            report.models[name].guided = _intervals(credits, name, "meta", prompts)
            report.models[name].weighted = _intervals(credits, name, "weighted", prompts)
            if found := meta_report(examples, guided):
                report.meta[name] = found
    _compare(report, credits, list(engines), prompts)
    save_curves(report, out)
    if all(model.health.unscored == 1 for model in report.models.values()):
        raise OverBudget(f"measuring {', '.join(engines)}: no model wrote one readable judgement")
    return report


def _intervals(
    credits: Credits, model: str, row: str, prompts: Sequence[str]
) -> dict[int, Interval]:
    return {
        k: mean_interval(earned, prompts)
        for (name, kind, k), earned in credits.items()
        if (name, kind) == (model, row)
    }


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
    with Store.open(folder, what.identity(engine, formats)) as store:
        # Not draw_into, which ends where nothing was scored: that a base cannot judge is a finding.
        sampler = Sampler(RecordingEngine(engine, store), formats, what, concurrency=256)
        finished = {v.example_id for v in store.verdicts() if "failed" not in v.unscored}
        await judge_into(sampler, examples, put=store.put_verdict, finished=finished)
        return {v.example_id: v for v in store.verdicts()}


async def _guided(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], meta: str
) -> dict[str, Verdict]:
    scorer = load_scorer(meta, max_batch=128)
    try:
        return await with_scores(examples, verdicts, scorer)
    finally:
        await scorer.aclose()


async def with_scores(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], scorer: Scorer
) -> dict[str, Verdict]:
    """The stored verdicts with a meta score on every trajectory that has a judgement."""
    scored = await asyncio.gather(
        *(with_meta_scores(scorer, e, verdicts[e.id].trajectories) for e in examples)
    )
    return {
        e.id: replace(verdicts[e.id], trajectories=tuple(trajectories))
        for e, trajectories in zip(examples, scored, strict=True)
    }


def calibrated_on(dev: Sequence[Example], verdicts: Mapping[str, Verdict]) -> Vote:
    """Judgements weighted by the probability of being right; plain if dev shows no use of it."""
    labels = [labelled(e, verdicts[e.id].trajectories) for e in dev]
    if len({is_right for label in labels for _, is_right in label}) < 2:
        return mean_scores  # all right or all wrong: nothing can be calibrated
    return vote_named("meta_weighted", None, calibrate(labels))


def meta_report(examples: Sequence[Example], verdicts: Mapping[str, Verdict]) -> MetaReport | None:
    """How well meta scores tell right from wrong, and how well calibrated; None of no scores."""
    scores: list[float] = []
    labels: list[int] = []
    within: list[float] = []
    for example in examples:
        first = len(scores)
        for score, is_right in labelled(example, verdicts[example.id].trajectories):
            scores.append(score)
            labels.append(int(is_right))
        found = auc_of(scores[first:], labels[first:])
        within += [] if found is None else [found]
    points = [(sigmoid(s), float(label)) for s, label in zip(scores, labels, strict=True)]
    calibration = calibrated(points)
    if calibration is None:
        return None
    return MetaReport(
        auc_of(scores, labels),
        sum(within) / len(within) if within else None,
        calibration,
        sum(labels) / len(labels),
    )


def _compare(report: Report, credits: Credits, models: list[str], prompts: Sequence[str]) -> None:
    """Paired differences: each stage against the one before, votes against one sample."""
    pairs = [
        *pairwise(models),
        *([("cold_start", "rl")] if {"cold_start", "rl"} <= {*models} else []),
    ]
    wanted = {
        f"{after} - {before}, {label}": ((after, row, 1), (before, row, 1))
        for before, after in dict.fromkeys(pairs)
        for row, label in (("greedy", "greedy"), ("voting", "one sample"))
    }
    for name in report.models:
        for k in (8, 32):
            voting = (name, "voting", k)
            wanted[f"{name}: Voting@{k} - one sample"] = (voting, (name, "voting", 1))
            wanted[f"{name}: Meta@{k} - Voting@{k}"] = ((name, "meta", k), voting)
            wanted[f"{name}: Weighted@{k} - Voting@{k}"] = ((name, "weighted", k), voting)
    report.comparisons = {
        label: difference(credits[a], credits[b], prompts)
        for label, (a, b) in wanted.items()
        if a in credits and b in credits
    }


def save_curves(report: Report, out: Path) -> list[Path]:
    """The figure of accuracy against k."""
    lines = {}
    for name, model in report.models.items():
        lines[f"{name}, Voting@k"] = Line({float(k): x for k, x in model.voting.items()})
        if model.guided:
            points = {float(k): x for k, x in model.guided.items()}
            lines[f"{name}, Meta@k"] = Line(points, "--s")
    figure = accuracy_figure(
        lines, f"Accuracy against k ({report.n} unseen examples)", x="k, judgements per example"
    )
    return save_figure(figure, out / "accuracy-vs-k")
