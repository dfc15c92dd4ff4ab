"""What `spct bench` does: load, judge, report, check the gates."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError, GateFailed, OverBudget
from spct.measure.benchmarks import benchmark_named
from spct.measure.estimator import by, votes_at
from spct.measure.figures import draw
from spct.measure.json_files import plain, write_json, write_lines
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.markdown import markdown
from spct.measure.probes import probes_of, results_of
from spct.measure.report import SCHEMA, Settings, benchmark_report, item_lines
from spct.measure.rows import Part
from spct.measure.runner import Job, Progress, labels, run_job, seconds_of, silent
from spct.models.load import load_reward_model
from spct.runs.folder import atomic_text, write_run_files
from spct.runs.judging import run_folder
from spct.types import RewardModel

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The command line, unparsed."""

    models: tuple[str, ...]
    benchmarks: tuple[str, ...]
    data: Path | None = None
    ks: str = "1,2,4,8"
    greedy: bool = True
    limits: tuple[str, ...] = ()
    probes: int = 0
    seeds: tuple[int, ...] = (0,)
    resamples: int = 10_000
    output: Path | None = None
    fresh: bool = False
    accept_drift: bool = False
    fail_under: tuple[str, ...] = ()
    max_unscored: float = 1.0
    as_json: bool = False
    quiet: bool = False


def run_bench(request: Request) -> Json:
    """The whole command; the report is also returned."""
    ks = _numbers(request.ks)
    gates = [_assignment("--fail-under", gate, float) for gate in request.fail_under]
    loaded = _load(request)
    _check_gate_names(loaded, gates)
    specs = labels(request.models)
    models = _models(specs, request.seeds, max(ks))
    identity = {
        "models": ", ".join(specs.values()),
        "benchmarks": ", ".join(request.benchmarks),
        "seeds": ", ".join(map(str, request.seeds)),
    }
    made = {"command": "bench", **identity}
    folder = request.output or run_folder(Path("runs"), "bench", made, fresh=request.fresh)
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(ks, request.resamples, request.seeds[0])
    config = {"identity": made, "settings": plain(_described(request, settings))}
    write_run_files(folder, config)  # before any work: a killed run is found again by it
    progress = silent if request.quiet else _printer()
    job = Job(models, max(ks), request.greedy, request.fresh, request.accept_drift)
    parts, probe_parts, probes = asyncio.run(_judge(job, request, loaded, folder, progress))
    report: Json = {
        "schema": SCHEMA,
        "settings": _described(request, settings),
        "benchmarks": [
            benchmark_report(one, parts[one.benchmark.name], settings) for one in loaded
        ],
    }
    for benchmark, loaded_probes in zip(report["benchmarks"], probes, strict=False):
        name = benchmark["name"]
        changed = probe_parts[f"{name}.probes"]
        benchmark["probes"] = _probe_reports(loaded_probes, parts[name], changed, max(ks))
    _write(folder, report, loaded, parts, settings, config)
    print(json.dumps(plain(report), ensure_ascii=False) if request.as_json else markdown(report))
    if not request.quiet:
        _say_where(folder)
    _check_budget(report, request.max_unscored)
    _check_gates(report, gates)
    return report


def _numbers(text: str) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({int(k) for k in text.split(",")}))
    except ValueError:
        ks = ()
    if not ks or ks[0] < 1:
        raise ConfigError(f"--samples: got {text!r}, expected numbers from 1 up such as 1,2,4,8")
    return ks


def _assignment(flag: str, text: str, read: Callable[[str], float]) -> tuple[str, float]:
    name, found, value = text.rpartition("=")
    try:
        return (name if found else ""), read(value)
    except ValueError:
        raise ConfigError(f"{flag}: got {text!r}, expected NAME=NUMBER or a number") from None


def _load(request: Request) -> list[Loaded]:
    names = list(dict.fromkeys(request.benchmarks))
    limits = dict(_assignment("--limit", limit, int) for limit in request.limits)
    unknown = set(limits) - {"", *names}
    if unknown:
        raise ConfigError(f"--limit: {sorted(unknown)} are not among the benchmarks {names}")
    loaded = []
    for name in names:
        limit = limits.get(name, limits.get(""))
        loaded.append(
            load_benchmark(
                benchmark_named(name),
                request.data,
                limit=None if limit is None else int(limit),
                seed=request.seeds[0],
            )
        )
    return loaded


def _models(specs: dict[str, str], seeds: Sequence[int], k: int) -> dict[str, RewardModel]:
    several = len(seeds) > 1
    return {
        f"{label}, seed {seed}" if several else label: load_reward_model(spec, k=k, seed=seed)
        for label, spec in specs.items()
        for seed in seeds
    }


Parts = dict[str, list[Part]]


async def _judge(
    job: Job, request: Request, loaded: list[Loaded], folder: Path, progress: Progress
) -> tuple[Parts, Parts, list[Loaded]]:
    probes: list[Loaded] = []
    if request.probes:
        seed = request.seeds[0]
        probes = [probes_of(one, per_family=request.probes, seed=seed) for one in loaded]
    parts = await run_job(job, [*loaded, *probes], folder, progress)
    probe_names = {one.benchmark.name for one in probes}
    return (
        {name: found for name, found in parts.items() if name not in probe_names},
        {name: found for name, found in parts.items() if name in probe_names},
        probes,
    )


def _described(request: Request, settings: Settings) -> Json:
    """The settings that the figures depend on."""
    return {
        "models": list(request.models),
        "benchmarks": list(request.benchmarks),
        **asdict(settings),
        "limits": list(request.limits),
        "probes": request.probes,
        "seeds": list(request.seeds),
    }


def _probe_reports(
    probes: Loaded, clean: Sequence[Part], changed: Sequence[Part], k: int
) -> list[Json]:
    """Each model's table: the last row of its voted (or only) part, clean against changed."""
    by_model = {part.model: part for part in clean if part.mode != "greedy"}
    by_model = {part.model: part for part in clean} | by_model
    found = []
    for part in changed:
        base = by_model.get(part.model)
        if base is None or base.mode != part.mode:
            continue
        before, after = (
            {id: votes_at(v, k, by(p.vote))[0] for id, v in p.verdicts.items()}
            for p in (base, part)
        )
        families = results_of(probes, before, after)
        rows = [{**asdict(f), "success": f.success._asdict()} for f in families]
        found.append({"model": part.model, "mode": part.mode, "k": k, "families": rows})
    return found


def _write(
    folder: Path,
    report: Json,
    loaded: Sequence[Loaded],
    parts: Parts,
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


def _printer() -> Progress:
    """A line on standard error at most every ten seconds, and one at each part's end."""
    shown = 0.0

    def show(part: str, done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == total or now - shown > 10:
            shown = now
            print(f"{part}: {done} of {total}", file=sys.stderr, flush=True)

    return show


def _say_where(folder: Path) -> None:
    seconds = sum(entry["seconds"] for entry in seconds_of(folder).values())
    print(f"{folder}: report.md, report.json, figures; judged for {seconds:.1f} s", file=sys.stderr)


def _check_budget(report: Json, most: float) -> None:
    """Raise if a row has more judgements without a verdict than --max-unscored allows."""
    for benchmark in report["benchmarks"]:
        for row in benchmark["rows"]:
            share = row["abstention"]["parse_failure_rate"]
            if share is not None and share > most:
                raise OverBudget(
                    f"{row['model']}, {row['row']} on {benchmark['name']}: {share:.1%} of the "
                    f"judgements have no verdict, allowed is {most:.1%} (--max-unscored)"
                )


def _check_gate_names(loaded: Sequence[Loaded], gates: Sequence[tuple[str, float]]) -> None:
    """Refuse a gate on a benchmark that is not run, before anything is spent."""
    names = sorted(one.benchmark.name for one in loaded)
    for name, _ in gates:
        if name not in names:
            raise ConfigError(f"--fail-under: {name!r} is not among the benchmarks {names}")


def _check_gates(report: Json, gates: Sequence[tuple[str, float]]) -> None:
    """Compare each model's last row with the gate of its benchmark."""
    for name, least in gates:
        rows = next(b for b in report["benchmarks"] if b["name"] == name)["rows"]
        last = {row["model"]: row for row in rows}
        for model, row in last.items():
            point = None if row["score"] is None else row["score"]["overall"]["point"]
            if point is None or not point >= least:  # NaN passes no gate
                raise GateFailed(
                    f"{model}, {row['row']} on {name}: {point}, below --fail-under {least}"
                )
