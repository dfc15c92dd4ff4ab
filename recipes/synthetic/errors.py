"""What is wrong with a judgement of the world: the teacher's habits, slips of its own, or nothing.

A judgement is checked line by line against the exact checks, so that the page can say which stage
removed which error. A judgement may have several; a fault need not change the verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from recipes.synthetic.teacher import FAVOUR, score_of, write_checks
from recipes.synthetic.world import NOTHING, Constraint, check, parse_query
from spct.types import Example, Trajectory, Verdict

FAULTS = ("hasty", "favour", "blind", "other check", "sum", "copy", "none", "unscored")
CRITERION = re.compile(r"\*\*\w+\*\* \(Weight: \d+%\): ")
LINE = re.compile(r"^Response \d+: (.*) => (\d+)$", re.MULTILINE)
BOXED = re.compile(r"boxed\{([^}]*)\}")


def faults(example: Example, trajectory: Trajectory) -> set[str]:
    """The kinds of fault in one judgement; `none` if it is as a careful teacher writes it."""
    if trajectory.judgement is None:
        return {"unscored"}
    text, found = trajectory.completion.text, set()
    asked = parse_query(example.query[-1].content)
    used = asked[: len(CRITERION.findall(text)) or len(asked)]
    if len(used) < len(asked):
        found.add("hasty")
    lines = LINE.findall(text)
    boxed = BOXED.search(text)
    if boxed is None or [score for _, score in lines] != boxed[1].split(", "):
        found.add("copy")
    if len(lines) < example.n:
        found.add("other check")  # a response that nothing was checked of
    for shown, (original, (checks, score)) in enumerate(
        zip(trajectory.prompt.order, lines, strict=False)
    ):
        response = example.responses[original]
        if checks != write_checks(used, [check(response, c) for c in used]):
            found.add("blind" if _is_blind(response, used, checks) else "other check")
        met = [word == "yes" for word in checks.split() if word in ("yes", "no")]
        earned = score_of(met, used, example.n) if len(met) == len(used) else None
        if str(earned) != score:
            favoured = shown == 0 and earned is not None and score == str(earned + FAVOUR)
            found.add("favour" if favoured else "sum")
    return found or {"none"}


def _is_blind(response: str, used: Sequence[Constraint], checks: str) -> bool:
    """Whether an order's second word was taken for its first, with `yes`."""
    for c in used:
        exact = check(response, c)
        if c.kind == "order" and not exact.met and exact.evidence != NOTHING:
            cited = re.search(rf"{c.mark} {c.text} (\w+) yes", checks)
            if cited and cited[1] != exact.evidence:
                return True
    return False


def fault_shares(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], each: int = 4
) -> dict[str, float]:
    """Share of judgements with each fault, over the first `each` of every example."""
    counts: Counter[str] = Counter()
    total = 0
    for example, trajectory in first_judgements(examples, verdicts, each):
        counts.update(faults(example, trajectory))
        total += 1
    return {fault: counts[fault] / total for fault in FAULTS}


def first_judgements(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], each: int = 4
) -> Iterator[tuple[Example, Trajectory]]:
    """The first `each` judgements of every example: models with more of them count alike."""
    for example in examples:
        for trajectory in verdicts[example.id].trajectories[:each]:
            yield example, trajectory
