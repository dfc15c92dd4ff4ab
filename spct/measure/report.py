"""What a run found, as plain JSON values: every figure with its interval and its n.

Equal stores and settings give equal bytes: nothing of the clock or the machine is in here, and
floats are rounded to eight digits. Seconds are in timing.json beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from spct.errors import DataError
from spct.measure.adaptive import replays
from spct.measure.intervals import Interval, bootstrap
from spct.measure.loading import Loaded
from spct.measure.metrics import abstention, calibration, cost, length, position
from spct.measure.results import Part, Row, booked, credits_of, judged, rows_of
from spct.measure.rules import Credit
from spct.runs.folder import atomic_text

Json = dict[str, Any]
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How figures are made of stored verdicts."""

    ks: tuple[int, ...] = (1, 2, 4, 8)
    resamples: int = 10_000
    seed: int = 0
    stop_error: float = 0.05


def benchmark_report(loaded: Loaded, parts: Sequence[Part], settings: Settings) -> Json:
    """Everything about one benchmark."""
    by_model: dict[str, list[Part]] = {}
    for part in parts:
        by_model.setdefault(part.model, []).append(part)
    rows = [row for some in by_model.values() for row in rows_of(some, settings.ks)]
    benchmark = loaded.benchmark
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "rule": benchmark.about,
        "licence": benchmark.licence,
        "sha256": loaded.sha256,
        "complete": loaded.is_complete,
        "missing": list(loaded.missing),
        "problems": list(loaded.problems),
        "units": loaded.n_units,
        "units_of_copy": loaded.n_units_of_copy,
        "two_orders": benchmark.two_orders,
        "rows": [_row_report(loaded, row, settings) for row in rows],
        "adaptive": [
            found
            for part in parts
            if part.mode == "sampled" and (found := _adaptive_report(loaded, part, rows, settings))
        ],
        "published": [p for p in published() if p["benchmark"] == benchmark.name],
    }


def _row_report(loaded: Loaded, row: Row, settings: Settings) -> Json:
    verdicts = [row.verdicts[e.id] for e in loaded.examples if e.id in row.verdicts]
    if not verdicts:
        raise DataError(
            f"reporting {row.label} on {loaded.benchmark.title}: got no verdict, expected one for "
            f"each of {len(loaded.examples)} presentations; run the benchmark again"
        )
    units, rule = judged(loaded, row), loaded.benchmark.rule
    n_judged = len(units)
    score = _scores(booked(rule, units, row.policy), loaded, settings)
    return {
        "model": row.model,
        "row": row.name,
        "k": row.k,
        "policy": row.policy,
        "n": n_judged,
        "official": score if loaded.is_complete and n_judged == loaded.n_units else None,
        "score": score,
        "shared": _scores(booked(rule, units, "shared"), loaded, settings),
        "abstention": asdict(abstention(verdicts)),
        "position": asdict(position(loaded, row)),
        "length": asdict(length(loaded, row)),
        "calibration": _plain(calibration(loaded, row)),
        "cost": asdict(cost(verdicts)),
    }


def _scores(credits: Sequence[Credit], loaded: Loaded, settings: Settings) -> Json | None:
    """Overall and sections with intervals, and the n of each column; None without a scored unit."""
    if not credits:
        return None
    found = bootstrap(
        credits, loaded.benchmark.aggregate, resamples=settings.resamples, seed=settings.seed
    )
    return {
        "units": len({c.unit for c in credits}),
        "prompts": len({c.cluster for c in credits}),
        **{name: interval_json(interval) for name, interval in found.items()},
    }


def interval_json(interval: Interval) -> Json:
    """An interval as JSON values."""
    return {"point": interval.point, "low": interval.low, "high": interval.high}


def _plain(value: Any) -> Any:
    return None if value is None else asdict(value)


def _adaptive_report(
    loaded: Loaded, part: Part, rows: Sequence[Row], settings: Settings
) -> Json | None:
    """Stopping rules against the row at the largest k; None where there is nothing to stop."""
    k = max(settings.ks)
    fixed = [r for r in rows if (r.model, r.name) == (part.model, f"Voting@{k}")]
    found = replays(part, k, fixed[0].verdicts, settings.stop_error) if fixed else ()
    if not found:
        return None
    return {
        "model": part.model,
        "fixed": {"k": k, "score": _accuracy(loaded, fixed[0], settings)},
        "rules": [
            {
                "rule": replay.rule,
                "score": _accuracy(
                    loaded, Row(part.model, replay.rule, k, replay.verdicts, part.policy), settings
                ),
                "mean_samples": replay.mean_samples,
                "changed": interval_json(replay.changed),
                "n": len(replay.verdicts),
            }
            for replay in found
        ],
    }


def _accuracy(loaded: Loaded, row: Row, settings: Settings) -> Json | None:
    scores = _scores(credits_of(loaded, row), loaded, settings)
    return None if scores is None else scores["overall"]


def published() -> list[Json]:
    """The paper's figures, each with the table that it stands in; values are fractions here."""
    data = json.loads((files("spct.measure") / "published.json").read_text("utf-8"))
    return [{**entry, "value": entry["value"] / 100} for entry in data["figures"]]


def item_lines(loaded: Loaded, parts: Sequence[Part], settings: Settings) -> list[Json]:
    """One object a credit, for comparing runs item by item."""
    by_model: dict[str, list[Part]] = {}
    for part in parts:
        by_model.setdefault(part.model, []).append(part)
    return [
        {
            "benchmark": loaded.benchmark.name,
            "model": row.model,
            "row": row.name,
            "unit": credit.unit,
            "cluster": credit.cluster,
            "column": list(credit.column),
            "value": credit.value,
        }
        for some in by_model.values()
        for row in rows_of(some, settings.ks)
        for credit in credits_of(loaded, row)
    ]


def rounded(value: Any) -> Any:
    """JSON values with floats to eight digits and NaN as null."""
    match value:
        case float():
            return None if math.isnan(value) else round(value, 8)
        case dict() | Mapping():
            return {str(key): rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [rounded(item) for item in value]
        case _:
            return value


def write_json(path: Path, value: Any) -> None:
    """Write a report that is complete or not there."""
    with atomic_text(path) as file:
        file.write(json.dumps(rounded(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: Sequence[Json]) -> None:
    """Write JSON lines."""
    with atomic_text(path) as file:
        for value in values:
            file.write(json.dumps(rounded(value), ensure_ascii=False) + "\n")
