"""Accuracy against k and against tokens, as PNG and SVG, from the report alone.

The SVG's ids are salted with a constant and neither file holds a date, so equal reports give equal
files with the same version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spct.errors import ExtraMissing
from spct.measure.plots import save_figure

Json = dict[str, Any]
_KINDS = {"Voting": "-o", "Meta": "--s", "greedy": "^", "reward": "D"}


def draw(report: Json, folder: Path) -> dict[str, list[str]]:
    """Draw both figures of every benchmark with rows at several k; their names by benchmark."""
    drawn: dict[str, list[str]] = {}
    for benchmark in report["benchmarks"]:
        if any(row["k"] > 1 for row in benchmark["rows"]):
            drawn[benchmark["name"]] = [
                _draw(benchmark, folder, "k", "judgements a presentation (k)", _k),
                _draw(benchmark, folder, "tokens", "tokens a unit", _tokens),
            ]
    return drawn


def _k(row: Json) -> float:
    return float(row["k"])


def _tokens(row: Json) -> float:
    cost = row["cost"]
    return float(cost["prompt_tokens"] + cost["completion_tokens"]) / max(1, int(row["n"]))


def _draw(b: Json, folder: Path, name: str, label: str, x_of: Callable[[Json], float]) -> str:
    try:
        import matplotlib
    except ImportError as error:
        raise ExtraMissing("matplotlib", "bench") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        lines = _lines(b["rows"])
        for i, ((model, kind), rows) in enumerate(lines.items()):
            dodge = 2 ** (0.05 * (i - (len(lines) - 1) / 2)) if name == "k" else 1.0
            xs = [x_of(row) * dodge for row in rows]
            _line(axes, rows, xs, f"{model}, {kind}", _KINDS[kind])
        axes.set_xlabel(label)
        axes.set_ylabel("score, 95% interval" + ("" if b["complete"] else " (partial)"))
        axes.set_title(f"{b['title']}, n = {b['units']}")
        axes.legend(fontsize=7)
        if name == "k":
            ks = sorted({row["k"] for row in b["rows"]})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [str(k) for k in ks])
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{b['name']}_score_vs_{name}".replace("/", "_")
        save_figure(figure, folder / stem, dpi=120)
        pyplot.close(figure)
    return stem


def _lines(rows: Sequence[Json]) -> dict[tuple[str, str], list[Json]]:
    found: dict[tuple[str, str], list[Json]] = {}
    for row in rows:
        kind = row["row"].partition("@")[0]
        kind = "Voting" if kind == "one sample" else kind
        if row["score"] is not None:
            found.setdefault((row["model"], kind), []).append(row)
    return found


def _line(axes: Any, rows: Sequence[Json], xs: Sequence[float], label: str, style: str) -> None:
    overall = [row["score"]["overall"] for row in rows]
    ys = [o["point"] for o in overall]
    below = [o["point"] - (o["point"] if o["low"] is None else o["low"]) for o in overall]
    above = [(o["point"] if o["high"] is None else o["high"]) - o["point"] for o in overall]
    errors = [[max(0.0, e) for e in below], [max(0.0, e) for e in above]]
    axes.errorbar(xs, ys, errors, fmt=style, label=label, capsize=2, markersize=4)
