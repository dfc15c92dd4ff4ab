"""The figure of every report: accuracy against k (or tokens) with its interval, as PNG and SVG.

Equal figures are equal files: the SVG's ids are salted with a constant and neither file holds a
date, with the same version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spct.errors import ExtraMissing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spct.measure.intervals import Interval

Json = dict[str, Any]
_STYLES = {
    "Meta": "--s",
    "greedy": "^",
    "reward": "D",
    "one budget": ":v",
}  # by the kind of row; "-o" for the others


class Line(NamedTuple):
    """One line of the figure: where each point stands, and its share with an interval."""

    points: Mapping[float, Interval]
    style: str = "-o"


def accuracy_figure(lines: Mapping[str, Line], title: str, *, x: str, ticks: bool = True) -> Figure:
    """Accuracy against `x`; with `ticks` that is k, on a log scale with a tick for each value."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExtraMissing("matplotlib", "bench") from error
    with rc_context({"font.size": 9}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for i, (name, line) in enumerate(lines.items()):
            # a little apart, so that intervals at one k do not hide each other
            dodge = 2 ** (0.05 * (i - (len(lines) - 1) / 2)) if ticks else 1.0
            xs = [at * dodge for at in line.points]
            _draw(axes, xs, list(line.points.values()), name, line.style)
        if ticks:
            ks = sorted({at for line in lines.values() for at in line.points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [f"{k:g}" for k in ks])
        axes.set_xlabel(x)
        axes.set_ylabel("accuracy, %, with its 95% interval")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def _draw(axes: Any, xs: Sequence[float], ys: Sequence[Interval], name: str, style: str) -> None:
    ends = [
        [0.0 if end is None else 100 * abs(end - y.point) for y, end in zip(ys, side, strict=True)]
        for side in ([y.low for y in ys], [y.high for y in ys])
    ]
    points = [100 * y.point for y in ys]
    axes.errorbar(xs, points, ends, fmt=style, label=name, capsize=2, markersize=4)


def save_figure(figure: Figure, stem: Path, *, dpi: int = 150) -> list[Path]:
    """Write `stem`.png and `stem`.svg, without dates, versions or random ids; return the paths."""
    from matplotlib import rc_context

    # the stem may hold dots, so no with_suffix
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    stem.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "spct", "svg.fonttype": "none"}):
        figure.savefig(paths[0], dpi=dpi, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def draw(report: Json, folder: Path) -> dict[str, list[str]]:
    """Both figures of every benchmark with rows at several k; their names by benchmark."""
    return {
        b["name"]: [
            _bench_figure(b, folder, "k", "judgements per presentation (k)", lambda row: row["k"]),
            _bench_figure(b, folder, "tokens", "tokens per unit", _tokens),
        ]
        for b in report["benchmarks"]
        if any(row["k"] > 1 for row in b["rows"])
    }


def _tokens(row: Json) -> float:
    cost = row["cost"]
    return float(cost["prompt_tokens"] + cost["completion_tokens"]) / max(1, int(row["n"]))


def _bench_figure(
    b: Json, folder: Path, name: str, label: str, x_of: Callable[[Json], float]
) -> str:
    from spct.measure.intervals import Interval

    found: dict[tuple[str, str], dict[float, Interval]] = {}
    for row in b["rows"]:
        kind = row["row"].partition("@")[0]
        kind = "Voting" if kind.startswith("one sample") else kind
        if row["score"] is not None:
            points = found.setdefault((row["model"], kind), {})
            points[x_of(row)] = Interval(**row["score"]["overall"])
    spread = [one for one in b["budgets"] if name == "tokens" and one["score"] is not None]
    for one in spread:
        points = found.setdefault((one["model"], "one budget"), {})
        points[one["tokens"] / max(1, b["units"])] = Interval(**one["score"])
    lines = {
        f"{model}, {kind}": Line(points, _STYLES.get(kind, "-o"))
        for (model, kind), points in found.items()
    }
    title = f"{b['title']}, n = {b['units']}" + ("" if b["complete"] else " (partial)")
    stem = f"{b['name']}_score_vs_{name}".replace("/", "_")
    figure = accuracy_figure(lines, title, x=label, ticks=name == "k")
    save_figure(figure, folder / stem, dpi=120)
    return stem
