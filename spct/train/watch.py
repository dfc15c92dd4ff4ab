"""A run while it trains: one line of progress, metrics.jsonl, alarms with their cure, a figure.

Everything hangs on one callback, so that every stage is told alike. On a terminal the line is live,
in a log there is one line a log step; standard output stays free for the report.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from spct.measure.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import Trainer

Log = Mapping[str, float]
METRICS = "metrics.jsonl"
# What the line shows, where a stage logs it: key, label.
SHOWN = (
    ("loss", "loss"), ("accuracy", "accuracy"), ("eval_loss", "dev loss"),
    ("eval_accuracy", "dev accuracy"), ("spct/correct", "correct"),
    ("spct/unscored", "unscored"), ("spct/tie", "ties"), ("kl", "kl"),
)  # fmt: skip
# The figure: one panel for each group of which something was logged.
PANELS = (
    ("loss", "eval_loss"),
    ("accuracy", "eval_accuracy", "mean_token_accuracy"),
    ("spct/correct", "spct/unscored", "spct/tie", "frac_reward_zero_std"),
    ("dev/accuracy_forward", "dev/accuracy_reversed", "dev/accuracy_both"),
    ("kl", "entropy"),
    ("completions/mean_length",),
)
WINDOW = 3  # logs in a row that must agree before an alarm


def alarms(history: Sequence[Log]) -> dict[str, str]:
    """What looks like collapse in a log of RL, by name, with the cure; empty while all is well.

    The last three logs are held against the first: `unscored` above 0.1 and 0.05 over the start,
    `no signal` in more than half of the groups, `length` one and a half times the start or a
    twentieth of the rollouts at their limit, `kl` above 0.3 a token.
    """
    found = {}
    last = [log for log in history if "spct/unscored" in log][-WINDOW:]
    if len(last) < WINDOW:
        return {}
    first = next(log for log in history if "spct/unscored" in log)

    def all_above(key: str, limit: float) -> bool:
        return all(log.get(key, 0.0) > limit for log in last)

    if all_above("spct/unscored", max(0.1, first["spct/unscored"] + 0.05)):
        found["unscored"] = (
            f"{last[-1]['spct/unscored']:.0%} of the rollouts have no readable verdict, from "
            f"{first['spct/unscored']:.0%}: the format is being lost; raise beta, or set "
            "format_reward = 0.1"
        )
    if all_above("frac_reward_zero_std", 0.5):
        found["no signal"] = (
            f"{last[-1]['frac_reward_zero_std']:.0%} of the groups earn all the same and teach "
            "nothing; take harder prompts (spct data rft-filter), or a larger group_size"
        )
    start = first.get("completions/mean_length", 0.0)
    if start and all_above("completions/mean_length", 1.5 * start):
        found["length"] = (
            f"rollouts have {last[-1]['completions/mean_length']:.0f} tokens, from {start:.0f}: "
            "length is running away; lower the rate or raise beta, and read some replies"
        )
    elif all_above("completions/clipped_ratio", 0.05):
        found["length"] = (
            f"{last[-1]['completions/clipped_ratio']:.0%} of the rollouts are cut, and paid -1; "
            "raise max_completion_tokens"
        )
    if all_above("kl", 0.3):
        found["kl"] = (
            f"KL to the start is {last[-1]['kl']:.2f} a token: the policy has left its reference; "
            "lower the rate or raise beta"
        )
    return found


def line(stage: str, step: int, total: int, seconds: float, done: int, log: Log) -> str:
    """Stage, step of total, ETA, and what the stage logs; `done` steps took `seconds`."""
    eta = "?" if not done else _clock((total - step) * seconds / done)
    shown = [f"{label} {log[key]:.3g}" for key, label in SHOWN if key in log]
    speed = log.get("tokens_per_second")
    rate = [] if speed is None else [f"{speed:,.0f} tokens/s"]
    return "  ".join([stage, f"step {step}/{total}", f"ETA {eta}", *shown, *rate])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def watch(trainer: Trainer, out: Path) -> None:
    """Show a stage, by its folder's name; in place of the trainer's own printing."""
    from transformers import PrinterCallback, ProgressCallback, TrainerCallback

    class Watch(TrainerCallback):
        first_step, at = 0, 0.0
        seen: tuple[float, float] | None = None  # tokens and time of the first log
        told: frozenset[str] = frozenset()
        live: Live | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.at, self.first_step = time.monotonic(), state.global_step
            if state.is_world_process_zero and sys.stderr.isatty():
                self.live = Live(console=Console(stderr=True), auto_refresh=False)
                self.live.start()

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            entry = state.log_history[-1]
            seconds, done = time.monotonic() - self.at, state.global_step - self.first_step
            tokens = entry.get("num_tokens")  # TRL's count since the start
            now = time.monotonic()
            if tokens is not None and self.seen is None:
                self.seen = (tokens, now)
            elif tokens is not None and self.seen is not None and now > self.seen[1]:
                entry["tokens_per_second"] = (tokens - self.seen[0]) / (now - self.seen[1])
            if not state.is_world_process_zero:
                return
            write_metrics(state.log_history, out)
            if not any(key in entry for key, _ in SHOWN):
                return
            text = line(out.name, state.global_step, state.max_steps, seconds, done, entry)
            if self.live is not None:
                self.live.update(Text(text), refresh=True)
            else:
                print(text, file=sys.stderr, flush=True)
            for name, told in alarms(state.log_history).items():
                if name not in self.told:
                    print(f"warning: step {state.global_step}: {told}", file=sys.stderr)
                self.told |= {name}

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.live is not None:
                self.live.stop()

    for theirs in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(theirs)
    trainer.add_callback(Watch())


def write_metrics(history: Sequence[Log], out: Path) -> None:
    """Write a trainer's log as JSON lines, so that it outlives the checkpoints."""
    lines = (json.dumps(entry) + "\n" for entry in history)
    (out / METRICS).write_text("".join(lines), encoding="utf-8")


def curves(history: Sequence[Log], out: Path) -> None:
    """Save the figure of what was logged against steps; no panel, no figure."""
    panels = [keys for keys in PANELS if any(key in log for log in history for key in keys)]
    if panels:
        save_figure(curves_figure(history, panels), out / "curves")


def curves_figure(history: Sequence[Log], panels: Sequence[Sequence[str]] = PANELS[:2]) -> Figure:
    """One panel for each group of metrics, against steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    for axes, keys in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key in keys:
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=key)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    return figure
