"""What a run found, as plain JSON values: every figure with its interval and its n.

Equal stores and settings give equal bytes: nothing of the clock or the machine is in here, and
floats are rounded to eight digits. Seconds are in timing.json beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from spct.errors import DataError
from spct.measure.adaptive import can_stop, replays, spread
from spct.measure.bias import length, neighbour, position
from spct.measure.estimator import UNSCORED_POLICY, named
from spct.measure.failing import failing, last_rows
from spct.measure.intervals import bootstrap
from spct.measure.loading import Loaded
from spct.measure.metrics import abstention, calibration, cost
from spct.measure.rows import Part, Row, credits_of, row_of, rows_of, units_of
from spct.measure.rules import Credit

Json = dict[str, Any]
SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """How figures are made of stored verdicts."""

    ks: tuple[int, ...] = (1, 2, 4, 8)
    resamples: int = 10_000
    seed: int = 0
    stop_error: float = 0.02


def rows_by_model(parts: Sequence[Part], ks: Sequence[int]) -> list[Row]:
    """All rows, model by model."""
    by_model: dict[str, list[Part]] = {}
    for part in parts:
        by_model.setdefault(part.model, []).append(part)
    return [row for some in by_model.values() for row in rows_of(some, ks)]


def benchmark_report(loaded: Loaded, parts: Sequence[Part], settings: Settings) -> Json:
    """Everything about one benchmark."""
    rows = rows_by_model(parts, settings.ks)
    sampled = [part for part in parts if part.mode == "sampled"]
    benchmark = loaded.benchmark
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "rule": benchmark.about,
        "unscored": UNSCORED_POLICY,
        "licence": benchmark.licence,
        "sha256": loaded.sha256,
        "complete": loaded.is_complete,
        "missing": list(loaded.missing),
        "problems": list(loaded.problems),
        "units": loaded.n_units,
        "units_of_copy": loaded.n_units_of_copy,
        "two_orders": benchmark.two_orders,
        "rows": [_row_report(loaded, row, settings) for row in rows],
        "adaptive": _plain_some(_adaptive_report(loaded, part, rows, settings) for part in sampled),
        "budgets": [line for part in sampled for line in _budgets(loaded, part, rows, settings)],
        "neighbours": _plain_some(
            _neighbour_report(loaded, part, rows, settings) for part in sampled
        ),
        "failing": [failing(loaded, row) for row in last_rows(rows)],
        "published": [p for p in published() if p["benchmark"] == benchmark.name],
    }


def _plain_some(found: Iterable[Json | None]) -> list[Json]:
    return [one for one in found if one is not None]


def _row_report(loaded: Loaded, row: Row, settings: Settings) -> Json:
    votes = [row.votes[e.id] for e in loaded.examples if e.id in row.votes]
    if not votes:
        raise DataError(
            f"reporting {row.label} on {loaded.benchmark.title}: got no verdict, expected one for "
            f"each of {len(loaded.examples)} presentations; run the benchmark again"
        )
    units, rule = units_of(loaded, row), loaded.benchmark.rule
    score = _scores(credits_of(rule, units, row.policy), loaded, settings)
    return {
        "model": row.model,
        "row": row.name,
        "k": row.k,
        "policy": row.policy,
        "n": len(units),
        "official": score if loaded.is_complete and len(units) == loaded.n_units else None,
        "score": score,
        "shared": _scores(credits_of(rule, units, "shared"), loaded, settings),
        "abstention": asdict(abstention(votes)),
        "position": asdict(position(loaded, row)),
        "length": asdict(length(loaded, row)),
        "calibration": _plain(calibration(loaded, row)),
        "judgements": sum(len(v.trajectories) for v in row.first.values()),
        "cost": asdict(cost(row.first.values())),
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
        **{name: interval._asdict() for name, interval in found.items()},
    }


def _plain(value: Any) -> Any:
    return None if value is None else asdict(value)


def _adaptive_report(
    loaded: Loaded, part: Part, rows: Sequence[Row], settings: Settings
) -> Json | None:
    """Stopping rules against the votes on all k samples; None where there is nothing to stop."""
    k = max(settings.ks)
    fixed = _row_at(rows, part, k)
    found = replays(part, k, fixed.first, settings.stop_error) if fixed else ()
    if fixed is None or not found:
        return None
    return {
        "model": part.model,
        "fixed": {"k": k, "score": _accuracy(loaded, fixed, settings)},
        "rules": [
            {
                "rule": replay.rule,
                "stated": replay.stated,
                "score": _accuracy(loaded, row_of(part, replay.rule, replay.verdicts, k), settings),
                "mean_samples": replay.mean_samples,
                "changed": replay.changed._asdict(),
                "n": len(replay.verdicts),
            }
            for replay in found
        ],
    }


def _budgets(loaded: Loaded, part: Part, rows: Sequence[Row], settings: Settings) -> Iterable[Json]:
    """One budget for all items beside the same tokens spent on k samples for each."""
    *ks, most = sorted(set(settings.ks))
    if not ks or _row_at(rows, part, most) is None or not can_stop(part):
        return
    for k in ks:
        found, uniform = spread(part, k, most), _row_at(rows, part, k)
        if found is not None and uniform is not None:
            yield {
                "model": part.model,
                "k": k,
                "uniform": _accuracy(loaded, uniform, settings),
                "most": most,
                "tokens": found.tokens,
                "mean_samples": found.mean_samples,
                "score": _accuracy(loaded, row_of(part, "budget", found.verdicts, most), settings),
            }


def _row_at(rows: Sequence[Row], part: Part, k: int) -> Row | None:
    name = named("Voting", k)
    return next((r for r in rows if (r.model, r.name) == (part.model, name)), None)


def _neighbour_report(
    loaded: Loaded, part: Part, rows: Sequence[Row], settings: Settings
) -> Json | None:
    row = _row_at(rows, part, max(settings.ks))
    how = {"resamples": settings.resamples, "seed": settings.seed}
    found = None if row is None else neighbour(loaded, row, **how)
    if found is None:
        return None
    return {"model": part.model, "effect": found.effect._asdict(), "n": found.n}


def _accuracy(loaded: Loaded, row: Row, settings: Settings) -> Json | None:
    credits = credits_of(loaded.benchmark.rule, units_of(loaded, row), row.policy)
    scores = _scores(credits, loaded, settings)
    return None if scores is None else scores["overall"]


def published() -> list[Json]:
    """The paper's figures, each with the table that it stands in; values are fractions here."""
    data = json.loads((files("spct.measure") / "published.json").read_text("utf-8"))
    return [{**entry, "value": entry["value"] / 100} for entry in data["figures"]]


def item_lines(loaded: Loaded, parts: Sequence[Part], settings: Settings) -> list[Json]:
    """One object a unit, row and column, for comparing runs item by item."""
    return [
        {
            "benchmark": loaded.benchmark.name,
            "model": row.model,
            "row": row.name,
            **credit._asdict(),
        }
        for row in rows_by_model(parts, settings.ks)
        for credit in credits_of(loaded.benchmark.rule, units_of(loaded, row), row.policy)
    ]
