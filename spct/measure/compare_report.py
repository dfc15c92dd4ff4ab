"""A comparison for people: tables in Markdown, and accuracy against k as PNG and SVG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spct.errors import ExtraMissing
from spct.measure.compare import Comparison, Curve, Estimate
from spct.measure.plots import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "accuracy_vs_k"


def write_report(comparison: Comparison, out: Path) -> list[Path]:
    """Write compare.json, compare.md and the figure; return the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "compare.json", out / "compare.md"]
    paths[0].write_text(json.dumps(asdict(comparison), indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(markdown(comparison), encoding="utf-8")
    return paths + save_figure(figure(comparison), out / STEM)


def markdown(comparison: Comparison) -> str:
    """Both tables."""
    left_out = ", ".join(f"{n} {why}" for why, n in comparison.left_out.items()) or "none"
    rows = [
        [
            curve.name,
            str(p.k),
            percent(p.accuracy),
            f"{100 * p.unscored:.1f}%",
            f"{100 * p.ties:.1f}%",
            f"{p.cost.seconds:.3g}",
            f"{p.cost.prompt_tokens:.0f} + {p.cost.completion_tokens:.0f}",
            f"{p.cost.calls:g}",
        ]
        for curve in comparison.curves
        for p in curve.points
        if curve.repeat_difference is None or p is curve.points[0]
    ]
    head = ["model", "k", "accuracy [95%]", "unscored", "ties", "s", "tokens in + out", "calls"]
    n_timed = comparison.curves[0].points[0].cost.n_timed
    return (
        f"{comparison.n_examples} examples; left out: {left_out}. Seconds, tokens and calls are "
        f"per example, measured on {n_timed} of them judged concurrently; calls are LM calls and "
        "forwards of a head. A deterministic model has one row.\n\n"
        f"{_table(head, rows)}\n"
        f"{properties(comparison)}"
    )


def properties(comparison: Comparison) -> str:
    """The two-column table: what sampling gains, and which numbers of responses are taken."""
    rows = [[c.name, gains(c), accepts(c)] for c in comparison.curves]
    head = ["model", "gains from sampling: points a doubling of k [95%]", "n that it accepted"]
    return _table(head, rows)


def gains(curve: Curve) -> str:
    """The measured slope, and what it says."""
    if curve.repeat_difference is not None:
        return f"no: deterministic (judged twice, rewards differ by {curve.repeat_difference:.2g})"
    word = "yes" if curve.slope.low > 0 else "loses" if curve.slope.high < 0 else "not shown"
    return f"{word}: {percent(curve.slope, signed=True)}"


def accepts(curve: Curve) -> str:
    """The sizes that were tried, taken and refused."""
    taken = ", ".join(str(n) for n, why in curve.accepted_n.items() if not why)
    refused = ", ".join(str(n) for n, why in curve.accepted_n.items() if why)
    return taken + (f" (refused {refused})" if refused else "")


def percent(estimate: Estimate, *, signed: bool = False) -> str:
    """An estimate in percent, or signed points."""
    sign = "+" if signed else ""
    mean, low, high = (100 * x for x in (estimate.mean, estimate.low, estimate.high))
    digits = 2 if signed else 1
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def figure(comparison: Comparison) -> Figure:
    """Accuracy against k, a line and a band a model."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExtraMissing("matplotlib", "bench") from error
    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawn.subplots()
    for curve in comparison.curves:
        ks = [p.k for p in curve.points]
        style = "-o" if curve.repeat_difference is None else "--"
        (line,) = axes.plot(
            ks, [100 * p.accuracy.mean for p in curve.points], style, label=curve.name
        )
        axes.fill_between(
            ks,
            [100 * p.accuracy.low for p in curve.points],
            [100 * p.accuracy.high for p in curve.points],
            color=line.get_color(),
            alpha=0.12,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(comparison.ks, [str(k) for k in comparison.ks])
    axes.set_xlabel("k, samples an example")
    axes.set_ylabel(f"accuracy, % (95%, n = {comparison.n_examples})")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return drawn


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
