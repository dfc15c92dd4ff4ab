"""What ends `spct bench` with an exit code: a score below a gate, or too much that is unscored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spct.errors import ConfigError, GateFailed, OverBudget

Json = dict[str, Any]
Gate = tuple[str, float]  # benchmark, least score


def assignment(flag: str, text: str, read: Callable[[str], float]) -> tuple[str, float]:
    """Read NAME=NUMBER, or a number that holds for every name ("")."""
    name, found, value = text.rpartition("=")
    try:
        return (name if found else ""), read(value)
    except ValueError:
        raise ConfigError(f"{flag}: got {text!r}, expected NAME=NUMBER or a number") from None


def gates_of(texts: Sequence[str], benchmarks: Sequence[str]) -> list[Gate]:
    """Read the gates; one on a benchmark that is not run is refused before anything is spent."""
    gates = [assignment("--fail-under", text, float) for text in texts]
    for name, _ in gates:
        if name not in benchmarks:
            raise ConfigError(
                f"--fail-under: {name!r} is not among the benchmarks {sorted(benchmarks)}"
            )
    return gates


def check_scored(report: Json, most: float) -> None:
    """Raise if a row has more judgements without a verdict than --max-unscored, or no score."""
    for benchmark in report["benchmarks"]:
        for row in benchmark["rows"]:
            where = f"{row['model']}, {row['row']} on {benchmark['name']}"
            share = row["abstention"]["parse_failure_rate"]
            if share is not None and share > most:
                raise OverBudget(
                    f"{where}: {share:.1%} of the judgements have no verdict, allowed is "
                    f"{most:.1%} (--max-unscored)"
                )
            if row["abstention"]["unscored_rate"] > 1 - 1e-9:  # a mean of shares, so not exact
                raise OverBudget(f"{where}: nothing was scored; the report says why")


def check_gates(report: Json, gates: Sequence[Gate]) -> None:
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
