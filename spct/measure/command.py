"""What `spct bench` does: load, judge, report, check the gates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spct.errors import ConfigError
from spct.measure.benchmarks import benchmark_named
from spct.measure.config import BenchConfig
from spct.measure.criteria_arms import arms
from spct.measure.figures import draw
from spct.measure.gates import assignment, check_gates, check_scored, gates_of
from spct.measure.json_files import plain, write_json, write_lines
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.markdown import markdown
from spct.measure.probes import probe_reports, probes_of
from spct.measure.report import SCHEMA, Settings, benchmark_report, item_lines
from spct.measure.rows import Part
from spct.measure.runner import Job, Watch, labels, run_job, unwatched
from spct.models.load import load_reward_model
from spct.models.prices import prices_named
from spct.protocols import RewardModel
from spct.runs.folder import atomic_text, claimed, write_run_files
from spct.types import Usage

Json = dict[str, Any]


def run_bench(
    specs: Sequence[str],
    config: BenchConfig,
    out: Path | None = None,
    *,
    fresh: bool = False,
    accept_drift: bool = False,
    retry_unscored: bool = False,
    watch: Watch = unwatched,
) -> tuple[Path, Json]:
    """The whole command but its printing: the run folder and the report; `check` judges it.

    `out` is the run folder itself; without one it is found by what is asked, below runs/.
    """
    k, names = max(config.samples), list(dict.fromkeys(config.benchmarks))
    if not names:
        raise ConfigError("spct bench: no benchmark; name one with -b (a name or a file of rows)")
    loaded = [_load(name, config) for name in names]
    gates_of(config.fail_under, [one.benchmark.name for one in loaded])
    by_label = labels(specs)
    models = _models(by_label, config.seed, k)
    if config.criteria:
        models = arms(models, config.criteria, [e for one in loaded for e in one.examples])
    made = {
        "command": "bench",
        "models": ", ".join(by_label.values()),
        "benchmarks": ", ".join(names),
        "seeds": ", ".join(map(str, config.seed)),
    }
    settings = Settings(config.samples, config.resamples, config.seed[0])
    described = _described(specs, config, settings)
    probes = [
        probes_of(one, per_family=config.probes, seed=config.seed[0])
        for one in loaded
        if config.probes
    ]
    job = Job(models, k, config.greedy, fresh, accept_drift, retry_unscored)
    written = {"identity": made, "settings": plain(described)}
    with claimed(Path("runs"), "bench", made, plain(described), fresh=fresh, at=out) as claim:
        write_run_files(claim.folder, written)
        parts = asyncio.run(run_job(job, [*loaded, *probes], claim.folder, watch))
        report = _reported(loaded, probes, parts, settings, described)
        _add_bill(report, by_label)
        _write(claim.folder, report, loaded, parts, settings, written)
    return claim.folder, report


def _reported(
    loaded: Sequence[Loaded],
    probes: Sequence[Loaded],
    parts: dict[str, list[Part]],
    settings: Settings,
    described: Json,
) -> Json:
    """The report; the probes' parts are taken out of `parts` and put into their benchmarks'."""
    report: Json = {
        "schema": SCHEMA,
        "settings": described,
        "benchmarks": [
            benchmark_report(one, parts[one.benchmark.name], settings) for one in loaded
        ],
    }
    for benchmark, probe in zip(report["benchmarks"], probes, strict=False):
        changed = parts.pop(probe.benchmark.name)
        name = benchmark["name"]
        benchmark["probes"] = probe_reports(probe, parts[name], changed, max(settings.ks))
    return report


def _add_bill(report: Json, specs: dict[str, str]) -> None:
    """What the tokens of each row cost in US dollars, where a model's settings have a price."""
    prices = prices_named(specs)
    for row in (row for benchmark in report["benchmarks"] for row in benchmark["rows"]):
        if price := prices.get(row["model"]) or prices.get(row["model"].rpartition(", seed ")[0]):
            row["usd"] = price.cost(Usage(**row["cost"]))
    if prices:
        report["prices"] = {label: str(price) for label, price in prices.items()}


def check(report: Json, config: BenchConfig) -> None:
    """Raise what ends the command with 3 (unscored) or 6 (a gate)."""
    check_scored(report, config.max_unscored)
    check_gates(report, gates_of(config.fail_under, [b["name"] for b in report["benchmarks"]]))


def _load(name: str, config: BenchConfig) -> Loaded:
    limits = dict(assignment("--limit", limit, int) for limit in config.limit)
    unknown = set(limits) - {"", *config.benchmarks}
    if unknown:
        raise ConfigError(
            f"--limit: {sorted(unknown)} are not among the benchmarks {list(config.benchmarks)}"
        )
    limit = limits.get(name, limits.get(""))
    return load_benchmark(
        benchmark_named(name, config.drop_bad, config.negative),
        config.data,
        limit=None if limit is None else int(limit),
        seed=config.seed[0],
    )


def _models(specs: dict[str, str], seeds: Sequence[int], k: int) -> dict[str, RewardModel]:
    several = len(seeds) > 1
    return {
        f"{label}, seed {seed}" if several else label: load_reward_model(spec, k=k, seed=seed)
        for label, spec in specs.items()
        for seed in seeds
    }


def _described(specs: Sequence[str], config: BenchConfig, settings: Settings) -> Json:
    """The settings that the figures depend on."""
    return {
        "models": list(specs),
        "benchmarks": list(config.benchmarks),
        **asdict(settings),
        "limits": list(config.limit),
        "probes": config.probes,
        "seeds": list(config.seed),
        **({"criteria": list(config.criteria)} if config.criteria else {}),
    }


def _write(
    folder: Path,
    report: Json,
    loaded: Sequence[Loaded],
    parts: dict[str, list[Part]],
    settings: Settings,
    config: Json,
) -> None:
    report["figures"] = draw(report, folder / "figures")
    stored: dict[str, Json] = {part.model: {} for found in parts.values() for part in found}
    for name, found in parts.items():
        for part in found:
            stored[part.model][f"{name}.{part.mode}"] = dict(part.config)
    write_run_files(folder, config | {"parts": plain(stored)})
    lines = [
        line for one in loaded for line in item_lines(one, parts[one.benchmark.name], settings)
    ]
    write_lines(folder / "items.jsonl", lines)
    write_json(folder / "report.json", report)
    with atomic_text(folder / "report.md") as file:
        file.write(markdown(plain(report)))
