"""The figure of docs/training.md: runs of two_processes.py, each against the first of them.

    python -m tests.train.two_processes_curves docs/figures/two_processes ONE TWO...

Every folder is one way to train, named as in the legend, with `rft/metrics.jsonl` and
`rl/metrics.jsonl`. Above is the loss by step, below how far each is from the first folder's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spct.measure.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES = {"rft": "RFT", "rl": "RL, scripted rollouts"}


def losses(out: Path) -> list[float]:
    """The loss of each step of a run."""
    logs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [log["loss"] for log in logs if "loss" in log]


def apart(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """How far apart two runs are at each step, relative to the first; 0 where both are 0."""
    return [abs(b - a) / abs(a) if a else abs(b) for a, b in zip(one, other, strict=True)]


def curves(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Loss and distance of each stage; `runs` holds losses by name and stage."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    rows = figure.subplots(2, len(STAGES), sharex="col", squeeze=False)
    first = next(iter(runs.values()))
    for column, (stage, title) in enumerate(STAGES.items()):
        above, below = rows[0][column], rows[1][column]
        for i, (name, stages) in enumerate(runs.items()):
            steps = range(1, len(stages[stage]) + 1)
            # widest first, so that lines on one another are all seen
            how = {"linewidth": 1.5 * (len(runs) - i), "color": f"C{i}"}
            above.plot(steps, stages[stage], label=name, **how)
            if stages is not first:
                far = [max(x, 1e-8) for x in apart(first[stage], stages[stage])]
                below.plot(steps, far, marker=".", color=f"C{i}", label=name)
        below.axhline(1e-3, color="black", linestyle=":", label="the test's limit")
        below.set_yscale("log")
        above.set_title(title, fontsize="medium")
        above.set_ylabel("loss")
        below.set_ylabel(f"relative to {next(iter(runs))}\n(1e-8: equal)")
        below.set_xlabel("step")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.grid(alpha=0.3)
    rows[0][0].legend(fontsize="small")
    rows[1][0].legend(fontsize="small", loc="center")
    return figure


def main() -> None:
    """Draw the folders that are named."""
    stem, *folders = map(Path, sys.argv[1:])
    runs = {f.name: {stage: losses(f / stage) for stage in STAGES} for f in folders}
    for name, stages in list(runs.items())[1:]:
        first = next(iter(runs.values()))
        most = {stage: max(apart(first[stage], stages[stage])) for stage in STAGES}
        print(f"{name}: " + ", ".join(f"{stage} {far:.1e}" for stage, far in most.items()))
    save_figure(curves(runs), stem)


if __name__ == "__main__":
    main()
