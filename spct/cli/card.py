"""Verdicts for people, on a terminal: rewards on their scale, right or wrong where there is gold.

Every text that others wrote goes through `printable`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spct.errors import printable
from spct.measure.outcomes import telling
from spct.measure.rules import credit
from spct.types import Example, Trajectory, Unscored, Verdict
from spct.votes.criteria import mean_cells, totals


def brief(text: str, width: int = 300) -> str:
    """One line of at most `width` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def show_verdict(
    console: Console,
    example: Example,
    verdict: Verdict,
    *,
    full: bool,
    top: float | None = None,
    other: Verdict | None = None,
) -> None:
    """Print one verdict: responses with rewards, then one judgement, or all of them if `full`.

    `top` is the best score of the scale that the rewards are means on; `other` is the readout's
    verdict, whose rewards are probabilities.
    """
    one = telling(verdict)
    chosen = verdict.trajectories if full else () if one is None else (one,)
    parts: list[RenderableType] = [
        Text(brief(example.query[-1].content)),
        _responses(example, verdict, top, other),
    ]
    parts += [_criteria(verdict)] if totals(verdict.trajectories) else []
    parts += [_judgement(t) for t in chosen]
    parts.append(_summary(example, verdict, top))
    console.print(Panel(Group(*parts), title=Text(printable(example.id)), title_align="left"))


def _of(reward: float, top: float | None) -> str:
    """A reward with its scale."""
    return f"{reward:.4g}" if top is None else f"{reward:.1f} of {top:g}"


def _chance(other: Verdict, i: int) -> str:
    """The readout's probability that a response is good; marked where it is the highest."""
    if other.rewards is None:
        return "-"
    return f"{other.rewards[i]:.0%}" + (
        " ★" if other.winner == i and len(other.rewards) > 1 else ""
    )


def _responses(
    example: Example, verdict: Verdict, top: float | None, other: Verdict | None
) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    gold = example.gold
    # Gold of all zeros has no right response; the highest of them is not one.
    right = () if gold is None else [i for i, g in enumerate(gold) if g == max(gold) and g > 0]
    readout = [] if other is None else ["readout"]
    titles = ("", "#", "reward", *readout, *([] if gold is None else ["gold"]), "response")
    for title in titles:
        numbers = ("#", "reward", "readout")
        table.add_column(title, justify="right" if title in numbers else "left")
    for i, response in enumerate(example.responses):
        reward = "-" if verdict.rewards is None else _of(verdict.rewards[i], top)
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
            *([] if other is None else [_chance(other, i)]),
            *([] if gold is None else ["✓" if i in right else "✗"]),
            Text(brief(response, 160)),
            style=style,
        )
    return table


def _criteria(verdict: Verdict) -> Padding:
    """Criteria as rows, responses as columns: the share of votes that say it is met."""
    drawn = [t for t in verdict.trajectories if t.parts]
    found, cells, criteria = totals(drawn), mean_cells(drawn), drawn[0].criteria
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("criterion")
    for i in range(len(cells)):
        table.add_column(f"#{i + 1}", justify="right")
    for j, one in enumerate(criteria.items if criteria else ()):
        kind = "" if one.kind == "met" else f" [{one.kind}]"
        name = Text(brief(f"{one.name}{kind}{' [required]' if one.required else ''}", 60))
        row = [cell[j] for cell in cells]
        gated = [t is not None and j in t.gates for t in found]
        shown = [
            Text(
                "-" if p is None else f"{p:.2f}{' ✗' if gate else ''}", style="red" if gate else ""
            )
            for p, gate in zip(row, gated, strict=True)
        ]
        table.add_row(name, *shown)
    total = ["-" if t is None else f"{t.total:.3g}" for t in found]
    table.add_row(Text("total (gates apart)", style="bold"), *total)
    return Padding(table, (1, 0, 0, 0))


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
    lines.append(Text(printable(outcome.critique), style="italic"))
    scores = ", ".join(f"{i + 1}: {score:g}" for i, score in enumerate(outcome.scores))
    lines.append(Text(f"scores by response  {scores}"))
    return Padding(Group(*lines), (1, 0, 0, 0))


def _grade(example: Example, verdict: Verdict, top: float | None) -> float | None:
    """What the verdict earns; None where nothing can be right or wrong.

    A single response is right or wrong by a verdict of 0 or 1 alone: 7 of 10 is neither.
    """
    if example.gold is None or (example.n == 1 and top not in (None, 1)):
        return None
    return credit(verdict.rewards, example.gold)


def _summary(example: Example, verdict: Verdict, top: float | None) -> Padding:
    text = Text()
    if verdict.rewards is None:
        text.append("no verdict", style="bold red")
    elif len(verdict.rewards) == 1:
        text.append(f"reward {_of(verdict.rewards[0], top)}", style="bold")
    elif verdict.winner is None:
        tied = ", ".join(str(i + 1) for i in verdict.best)
        text.append(f"a tie between responses {tied}", style="bold yellow")
    else:
        text.append(f"response {verdict.winner + 1} wins", style="bold green")
    grade = None if verdict.rewards is None else _grade(example, verdict, top)
    if grade is not None:
        word, style = {1.0: ("right", "green"), 0.0: ("wrong", "red")}.get(
            grade, ("partly right", "yellow")
        )
        text.append(f", {word}", style=f"bold {style}")
    text.append(f"   {verdict.k_counted} of {verdict.k_drawn} judgements counted")
    if verdict.k_drawn < verdict.k_asked:
        text.append(f", stopped before {verdict.k_asked}")
    # One response always agrees with itself, and one judgement with the vote that it makes.
    if verdict.agreement is not None and example.n > 1 and verdict.k_counted > 1:
        text.append(f", {verdict.agreement:.0%} agree with the vote")
    for reason, count in verdict.unscored.items():
        text.append(f", {count} {reason}", style="yellow")
    text.append(f"   {verdict.usage.completion_tokens} tokens written", style="dim")
    return Padding(text, (1, 0, 0, 0))


@dataclass(slots=True)
class Grades:
    """How often the verdicts of a run are right, where the examples have gold."""

    top: float | None = None
    credits: list[float] = field(default_factory=list)
    ties: int = 0
    unscored: int = 0

    def add(self, example: Example, verdict: Verdict) -> None:
        """Grade one verdict by the shared rule; one without rewards earns nothing."""
        if (grade := _grade(example, verdict, self.top)) is not None:
            self.credits.append(grade)
            self.ties += example.n > 1 and len(verdict.best) > 1
            self.unscored += verdict.rewards is None

    def line(self) -> str:
        """Accuracy with its interval; what is tied or unscored is in it and named."""
        share = sum(self.credits) / len(self.credits)
        try:
            from spct.measure.intervals import wilson
        except ModuleNotFoundError:  # a base install judges without numpy
            sure = "(its interval: pip install 'spct[bench]')"
        else:
            _, low, high = wilson(sum(self.credits), len(self.credits))
            sure = f"[{low:.1%}, {high:.1%}] (95%, Wilson)"
        return (
            f"accuracy {share:.1%} {sure} of {len(self.credits)} examples with gold; "
            f"{self.ties} ties share their credit, {self.unscored} unscored earn none"
        )
