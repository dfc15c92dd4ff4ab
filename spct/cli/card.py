"""Verdicts for people, on a terminal. One exit for untrusted text: controls never get through."""

from __future__ import annotations

import re

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spct.core.vote import best
from spct.types import Example, Judgement, Trajectory, Unscored, Verdict

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def safe(text: str) -> str:
    """Text without control, bidi and zero-width characters or lone surrogates."""
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()


def brief(text: str, width: int = 300) -> str:
    """One line of at most `width` characters."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def show_verdict(console: Console, example: Example, verdict: Verdict, *, full: bool) -> None:
    """Print one verdict: responses with rewards, then one judgement, or all of them if `full`."""
    counted = [t for t in verdict.trajectories if isinstance(t.outcome, Judgement)]
    chosen = list(verdict.trajectories) if full else _telling(counted, verdict)
    parts: list[RenderableType] = [
        Text(brief(example.query[-1].content)),
        _responses(example, verdict),
    ]
    parts += [_judgement(t) for t in chosen]
    parts.append(_summary(verdict))
    console.print(Panel(Group(*parts), title=Text(safe(example.id)), title_align="left"))


def _telling(counted: list[Trajectory], verdict: Verdict) -> list[Trajectory]:
    """The first counted judgement that agrees with the vote, or else the first one."""
    agreeing = [t for t in counted if t.judgement and best(t.judgement.scores) == verdict.best]
    return (agreeing or counted)[:1]


def _responses(example: Example, verdict: Verdict) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    for title, justify in (("", "left"), ("#", "right"), ("reward", "right"), ("response", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for i, response in enumerate(example.responses):
        reward = "-" if verdict.rewards is None else f"{verdict.rewards[i]:g}"
        mark = (
            "★"
            if verdict.winner == i
            else "="
            if verdict.winner is None and i in verdict.best
            else ""
        )
        style = "bold green" if mark == "★" else ""
        table.add_row(
            mark if example.n > 1 else "",
            str(i + 1),
            reward,
            Text(brief(response, 160)),
            style=style,
        )
    return table


def _judgement(trajectory: Trajectory) -> Padding:
    outcome = trajectory.outcome
    head = Text(f"judgement {trajectory.index + 1}", style="bold")
    shown = [i + 1 for i in trajectory.prompt.order]
    if len(shown) > 1:
        theirs = ", ".join(str(i + 1) for i in range(len(shown)))
        ours = ", ".join(map(str, shown))
        head.append(f"  (its responses {theirs} are {ours} above)", style="dim")
    if isinstance(outcome, Unscored):
        why = Text(f"unscored: {outcome.reason}. {brief(outcome.detail)}", style="yellow")
        return Padding(Group(head, why), (1, 0, 0, 0))
    lines: list[RenderableType] = [head]
    for principle in outcome.principles:
        line = Text("  • ")
        line.append(brief(principle.name, 80) or "criterion", style="cyan")
        line.append(f" ({brief(principle.weight, 12)})" if principle.weight else "")
        line.append(f": {brief(principle.text)}" if principle.text else "")
        lines.append(line)
    lines.append(Text(safe(outcome.critique), style="italic"))
    scores = ", ".join(f"{i + 1}: {score:g}" for i, score in enumerate(outcome.scores))
    lines.append(Text(f"scores by response  {scores}"))
    return Padding(Group(*lines), (1, 0, 0, 0))


def _summary(verdict: Verdict) -> Padding:
    text = Text()
    if verdict.rewards is None:
        text.append("no verdict", style="bold red")
    elif len(verdict.rewards) == 1:
        text.append(f"reward {verdict.rewards[0]:g}", style="bold")
    elif verdict.winner is None:
        tied = ", ".join(str(i + 1) for i in verdict.best)
        text.append(f"a tie between responses {tied}", style="bold yellow")
    else:
        text.append(f"response {verdict.winner + 1} wins", style="bold green")
    text.append(f"   {verdict.k_counted} of {verdict.k_drawn} judgements counted")
    if verdict.k_drawn < verdict.k_asked:
        text.append(f", stopped before {verdict.k_asked}")
    if verdict.agreement is not None:
        text.append(f", {verdict.agreement:.0%} agree with the vote")
    for reason, count in verdict.unscored.items():
        text.append(f", {count} {reason}", style="yellow")
    text.append(f"   {verdict.usage.completion_tokens} tokens written", style="dim")
    return Padding(text, (1, 0, 0, 0))
