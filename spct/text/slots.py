"""What goes into a prompt's slots: an example's texts, neutralised and between their markers."""

from __future__ import annotations

from functools import lru_cache

from spct.text.neutralise import neutralise
from spct.types import Criteria, Message


@lru_cache(maxsize=8)
def harmless(
    query: tuple[Message, ...], responses: tuple[str, ...], reference: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """What an example's slots hold, neutralised: once, and not again for each order and wave."""
    turns = tuple(
        neutralise(turn.content)
        if len(query) == 1
        else f"{turn.role.capitalize()}: {neutralise(turn.content)}"
        for turn in query
    )
    shown = (
        ""
        if reference is None
        else (
            "#### Reference Answer ####\n[The Begin of Reference]\n"
            f"{neutralise(reference)}\n[The End of Reference]\n\n"
        )
    )
    return turns, tuple(map(neutralise, responses)), shown


@lru_cache(maxsize=64)
def _statements(criteria: Criteria) -> tuple[str, ...]:
    """Each criterion on one line, neutralised: its text, and the levels of a graded one.

    Its weight and its kind are not shown: a judge that knows them bends its answers to the total.
    """
    lines = []
    for one in criteria.items:
        levels = [f"{i} = {neutralise(level)}" for i, level in enumerate(one.levels)]
        shown = f"{neutralise(one.text)} [{'; '.join(levels)}]" if levels else neutralise(one.text)
        lines.append(neutralise(" ".join(shown.split())))
    return tuple(lines)


def listed(criteria: Criteria | None, shown: tuple[int, ...]) -> str:
    """The criteria in the order shown, numbered from 1; nothing where there are none."""
    lines = () if criteria is None else _statements(criteria)
    return "\n".join(f"{i}. {lines[j]}" for i, j in enumerate(shown, 1))


def marked(number: str, text: str) -> str:
    """A response between its markers; without a number where there is only one."""
    mark = f"Response {number}".rstrip()
    return f"[The Begin of {mark}]\n{text}\n[The End of {mark}]"


def hint_line(best: int, strength: object) -> str:
    """The line that names the best response as shown, for hinted sampling."""
    how = ""
    if isinstance(strength, int | float) and not isinstance(strength, bool):
        how = f" (preference strength: {abs(strength):g})"
    return f"\n\nThe best response is: Response {best}{how}"
