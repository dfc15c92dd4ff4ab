"""What goes into a prompt's slots: an example's texts, neutralised and between their markers."""

from __future__ import annotations

from functools import lru_cache

from spct.core.neutralise import neutralise
from spct.types import Message


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
