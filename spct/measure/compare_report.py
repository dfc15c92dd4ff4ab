"""A comparison for people: tables in Markdown, and accuracy against k as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spct.measure.compare import Comparison, Cost, Curve
from spct.measure.estimator import UNSCORED_POLICY
from spct.measure.figures import Line, accuracy_figure, save_figure
from spct.measure.intervals import sign_of
from spct.measure.json_files import write_json
from spct.measure.tables import interval, percent, safe, table
from spct.types import Usage
from spct.votes.price import Price

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "accuracy_vs_k"


Prices = Mapping[str, Price]  # by the names of the models; those without one are not there
NONE: Prices = {}


def write_report(comparison: Comparison, out: Path, prices: Prices = NONE) -> list[Path]:
    """Write compare.json, compare.md and the figure; return the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "compare.json", out / "compare.md"]
    told = {"prices": {name: str(price) for name, price in prices.items()}} if prices else {}
    write_json(paths[0], asdict(comparison) | told)
    paths[1].write_text(markdown(comparison, prices), encoding="utf-8")
    return paths + save_figure(figure(comparison), out / STEM)


def markdown(comparison: Comparison, prices: Prices = NONE) -> str:
    """Both tables; with prices, what 1,000 examples cost in US dollars."""
    left_out = ", ".join(f"{n} {why}" for why, n in comparison.left_out.items()) or "none"
    rows = [
        [
            curve.name,
            str(p.k),
            interval(p.accuracy),
            percent(p.unscored),
            percent(p.ties),
            f"{p.cost.seconds:.3g}",
            f"{p.cost.prompt_tokens:.0f} + {p.cost.completion_tokens:.0f}",
            f"{p.cost.calls:g}",
            *([dollars(p.cost, prices.get(curve.name))] if prices else []),
        ]
        for curve in comparison.curves
        for p in curve.points
        if curve.repeat_difference is None or p is curve.points[0]
    ]
    head = ["model", "k", "accuracy [95%]", "unscored", "ties", "s", "tokens in + out", "calls"]
    head += ["USD / 1,000"] if prices else []
    n_timed = comparison.curves[0].points[0].cost.n_timed
    return safe(
        f"{comparison.n_examples} examples; left out: {left_out}. Seconds, tokens and calls are "
        f"per example, measured on {n_timed} of them judged concurrently; calls are LM calls and "
        "forwards of a head. A deterministic model has one row. Accuracy at k is the mean over all "
        f"disjoint groups of k samples, with its 95% interval over prompts; {UNSCORED_POLICY}.\n\n"
        f"{table(head, rows)}\n"
        f"{properties(comparison)}"
        f"{calibrations(comparison)}"
    )


def dollars(cost: Cost, price: Price | None) -> str:
    """What 1,000 examples cost."""
    if price is None:
        return "-"
    read, written, cached = cost.prompt_tokens, cost.completion_tokens, cost.cached_tokens
    used = (round(1000 * tokens) for tokens in (read, written, cached))
    prompt_tokens, completion_tokens, cached_tokens = used
    return f"{price.cost(Usage(prompt_tokens, completion_tokens, 0, cached_tokens)):,.4f}"


def properties(comparison: Comparison) -> str:
    """The two-column table: what sampling gains, and which numbers of responses are taken."""
    rows = [[c.name, gains(c), accepts(c)] for c in comparison.curves]
    head = ["model", "gains from sampling: points per doubling of k [95%]", "n that it takes"]
    return table(head, rows)


def calibrations(comparison: Comparison) -> str:
    """How sure the models are whose rewards are log odds; nothing where there are none."""
    rows = [
        [
            curve.name,
            str(sure.n),
            f"{sure.before:.3f}",
            f"{sure.temperature:.2f}",
            f"{sure.after:.3f}",
            "-" if sure.option_mass is None else f"{sure.option_mass:.3f}",
        ]
        for curve in comparison.curves
        if (sure := curve.sure) is not None
    ]
    head = ["model", "pairs", "ECE as it is", "temperature", "ECE with it", "option mass"]
    said = (
        "Expected calibration error of the better response's probability in each pair; with a "
        "temperature it is that of queries which the temperature was not fitted on.\n\n"
    )
    return f"\n{said}{table(head, rows)}" if rows else ""


def gains(curve: Curve) -> str:
    """The measured slope, and what it says."""
    if curve.repeat_difference is not None:
        return f"no: deterministic (judged twice, rewards differ by {curve.repeat_difference:.2g})"
    word = {1: "yes", -1: "loses", 0: "not shown"}[sign_of(curve.slope)]
    return f"{word}: {interval(curve.slope, digits=2, signed=True)}"


def accepts(curve: Curve) -> str:
    """Which numbers of responses the model takes."""
    taken, refused = (
        ", ".join(str(n) for n, is_taken in curve.takes.items() if is_taken is wanted)
        for wanted in (True, False)
    )
    return taken + (f" (not {refused})" if refused else "")


def figure(comparison: Comparison) -> Figure:
    """Accuracy against k, one line per model; dashed where k makes no difference."""
    lines = {
        curve.name: Line(
            {float(p.k): p.accuracy for p in curve.points},
            "-o" if curve.repeat_difference is None else "--",
        )
        for curve in comparison.curves
    }
    title = f"Accuracy against k, n = {comparison.n_examples}"
    return accuracy_figure(lines, title, x="k, samples per example")
