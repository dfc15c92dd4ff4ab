"""Two runs side by side: what changed in the settings, which items flipped, and how sure that is.

Both are read from what `spct bench` wrote (config.json, items.jsonl), so comparing costs nothing.
Only units that both runs scored are compared, and how many were left out is said.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError, DataError
from spct.measure import aggregates
from spct.measure.benchmarks import BENCHMARKS
from spct.measure.intervals import mcnemar, paired_bootstrap
from spct.measure.rules import Credit
from spct.measure.tables import interval, safe, table
from spct.runs.identity import differences, unlike_totals

Json = dict[str, Any]
Key = tuple[str, str, str]  # benchmark, model, row


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder says of itself."""

    folder: Path
    config: Json
    credits: Mapping[Key, Sequence[Credit]]


def read_run(folder: Path) -> Run:
    """Read a finished run folder."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        lines = (folder / "items.jsonl").read_text("utf-8").splitlines()
        items = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DataError(
            f"reading the run {folder}: {error}; expected the config.json and items.jsonl of a "
            "finished spct bench"
        ) from error
    credits: defaultdict[Key, list[Credit]] = defaultdict(list)
    for i in items:
        weight = i.get("weight", 1.0)  # runs of 0.1.0 have none
        credit = Credit(i["unit"], i["cluster"], tuple(i["column"]), i["value"], weight)
        credits[i["benchmark"], i["model"], i["row"]].append(credit)
    return Run(folder, config, credits)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which model and row of a run to compare; None for all."""

    model: str | None = None
    row: str | None = None

    def of(self, run: Run) -> list[Key]:
        """The run's results that are meant."""
        return [
            key
            for key in run.credits
            if self.model in (None, key[1])
            and self.row in (None, key[2], key[2].partition(",")[0])  # Voting@8 will do
        ]


EVERYTHING = Choice()


def pairs_of(a: Run, b: Run, of_a: Choice, of_b: Choice) -> list[tuple[Key, Key]]:
    """What to compare with what: equal benchmark, model and row, as far as none was chosen.

    Where one model of each run is left, their names need not agree.
    """
    keys_a, keys_b = of_a.of(a), of_b.of(b)
    one_model = len({key[1] for key in keys_a}) == 1 == len({key[1] for key in keys_b})
    any_row = of_a.row is not None and of_b.row is not None
    found = [
        (key, other)
        for key in keys_a
        for other in keys_b
        if key[0] == other[0]
        and (one_model or key[1] == other[1])
        and (any_row or key[2] == other[2])
    ]
    if not found:
        raise ConfigError(
            f"nothing to compare: {a.folder} has {sorted(a.credits)}, {b.folder} has "
            f"{sorted(b.credits)}; expected a benchmark and a row that both have"
        )
    return found


def compare(
    a: Run,
    b: Run,
    of_a: Choice = EVERYTHING,
    of_b: Choice = EVERYTHING,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Json:
    """The whole comparison as JSON values."""
    return {
        "a": a.folder.name,
        "b": b.folder.name,
        "config": config_difference(a.config, b.config),
        "rows": [
            _compare_row(a, b, key, other, resamples=resamples, seed=seed)
            for key, other in pairs_of(a, b, of_a, of_b)
        ],
    }


def _compare_row(a: Run, b: Run, key: Key, other: Key, *, resamples: int, seed: int) -> Json:
    credits_a, credits_b = _common(a.credits[key], b.credits[other])
    if not credits_a:
        raise DataError(
            f"comparing {key} with {other}: got no unit that both runs scored; were they run on "
            "other selections (--limit) of the benchmark?"
        )
    right_a, right_b = _right(credits_a), _right(credits_b)
    lost = won = None
    if right_a is not None and right_b is not None:
        lost = sorted(unit for unit in right_a if right_a[unit] and not right_b[unit])
        won = sorted(unit for unit in right_a if right_b[unit] and not right_a[unit])
    known = BENCHMARKS.get(key[0])  # else it was a file of the user's
    aggregate = aggregates.any_n if known is None else known.aggregate
    found = paired_bootstrap(credits_a, credits_b, aggregate, resamples=resamples, seed=seed)
    n_both = len({c.unit for c in credits_a})
    n_units = {u.unit for u in a.credits[key]} | {u.unit for u in b.credits[other]}
    return {
        "benchmark": key[0],
        "row_a": key[2],
        "row_b": other[2],
        "model_a": key[1],
        "model_b": other[1],
        "n": n_both,
        "not_in_both": len(n_units) - n_both,
        "difference": {name: d._asdict() for name, d in found.items()},
        "right_in_a_only": lost,
        "right_in_b_only": won,
        "totals": unlike_totals(_part(a, key), _part(b, other)),
        "mcnemar_p": None if lost is None or won is None else mcnemar(len(lost), len(won)),
    }


def _common(a: Sequence[Credit], b: Sequence[Credit]) -> tuple[list[Credit], list[Credit]]:
    both = {c.unit for c in a} & {c.unit for c in b}
    return [c for c in a if c.unit in both], [c for c in b if c.unit in both]


def _right(credits: Sequence[Credit]) -> dict[str, bool] | None:
    """A unit is right if it earned all that it could; a half for a tie is not.

    None for a ranking (columns of subset, gold and reward): no unit is right by itself there.
    """
    if any(len(credit.column) == 3 for credit in credits):
        return None
    right: dict[str, bool] = {}
    for credit in credits:
        right[credit.unit] = right.get(credit.unit, True) and credit.value == 1.0
    return right


def _part(run: Run, key: Key) -> Json:
    """What a model's judgements on a benchmark depend on, but for how they were sampled."""
    parts: Json = run.config.get("parts", {}).get(key[1], {})
    return next((made for name, made in parts.items() if name.startswith(f"{key[0]}.")), {})


def config_difference(a: Json, b: Json) -> list[Json]:
    """Every setting that differs, by its dotted name; None where a run has no such setting."""
    return [{"key": d.key, "a": d.before, "b": d.now} for d in differences(a, b)]


def comparison_markdown(found: Json, shown: int = 10) -> str:
    """The comparison for people."""
    parts = [f"# {found['b']} against {found['a']}\n"]
    parts.append("Differences are B minus A with their paired 95% bootstrap interval.\n")
    lines = [
        [
            row["benchmark"],
            f"{row['model_a']}, {row['row_a']}",
            f"{row['model_b']}, {row['row_b']}",
            str(row["n"]),
            interval(row["difference"]["overall"], signed=True),
            _count(row["right_in_a_only"]),
            _count(row["right_in_b_only"]),
            _p(row["mcnemar_p"]),
        ]
        for row in found["rows"]
    ]
    head = ["Benchmark", "A", "B", "n", "B - A", "Right in A only", "Right in B only"]
    head += ["McNemar p"]
    parts.append(table(head, lines))
    for why in dict.fromkeys(row["totals"] for row in found["rows"] if row["totals"]):
        parts.append(f"Accuracy is compared, rewards are not: {why}.\n")
    if found["config"]:
        lines = [[c["key"], repr(c["a"]), repr(c["b"])] for c in found["config"]]
        parts.append("## Settings that differ\n\n" + table(["Setting", "A", "B"], lines))
    for row in found["rows"]:
        for name, units in (("A", row["right_in_a_only"]), ("B", row["right_in_b_only"])):
            if units:
                more = f" and {len(units) - shown} more" if len(units) > shown else ""
                what = f"{row['benchmark']}, {row['row_a']}"
                parts.append(f"{what}, right in {name} only: {', '.join(units[:shown])}{more}\n")
    return safe("\n".join(parts))


def _count(units: list[str] | None) -> str:
    return "-" if units is None else str(len(units))


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "under 0.0001" if p < 1e-4 else f"{p:.4f}"
