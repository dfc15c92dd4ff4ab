"""What a verdict on two responses may say: words that name a side or a tie, never a bare number.

Sets number their verdicts in every way (Auto-J: 0 is the first, 2 a tie; PandaLM: 1 is the first,
0 a tie), so a number means something only where the layout that it stands in defines it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from spct.data.columns import Columns
from spct.data.faults import RowError

Gold = tuple[float, float]
FIRST: Gold = (1.0, 0.0)
SECOND: Gold = (0.0, 1.0)
TIE: Gold = (0.5, 0.5)
Said = Gold | Literal["number", "unknown"] | None  # None: no verdict was given

_NOUNS = "model response answer output assistant completion candidate option system text summary"
_SIDES = {
    f"{noun}{sign}": gold
    for noun in ["", *_NOUNS.split()]
    for sign, gold in (("a", FIRST), ("b", SECOND))
} | {
    f"{noun}{sign}": gold for noun in _NOUNS.split() for sign, gold in (("1", FIRST), ("2", SECOND))
}
_SIGNS = {">": FIRST, "<": SECOND, "=": TIE, "~": TIE}
_COMPARISON = re.compile(r"\[*([ab])([<>]+|[=~≈]+)([ab])\]*")
_TIES = frozenset(
    [
        "tie",
        "ties",
        "tied",
        "draw",
        "equal",
        "same",
        "both",
        "bothgood",
        "bothbad",
        "tie(bothbad)",
        "tie(bothgood)",
        "bothequallygood",
        "bothequallybad",
        "neither",
        "nopreference",
    ]
)
_NONE = frozenset(("", "none", "null", "nan", "n/a", "na", "unknown", "unsure", "skip", "invalid"))
_WINS = re.compile(r"(wins?|won|isbetter|better|preferred)$")


def verdict_of(value: Any, columns: Sequence[str] = ()) -> Said:
    """What a verdict says of two responses that lie in the given columns."""
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        return "number"
    if not isinstance(value, str):
        return "unknown"
    word = re.sub(r"[\s_.-]+", "", value).casefold()
    for column, gold in zip(columns, (FIRST, SECOND), strict=False):
        if value == column or word == re.sub(r"[\s_.-]+", "", column).casefold():
            return gold
    if word in _NONE:
        return None
    if word in _TIES:
        return TIE
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", value.strip()):
        return "number"
    if match := _COMPARISON.fullmatch(word):
        left, sign, right = match.groups()
        if left == right:
            return "unknown"
        gold = TIE if sign[0] in "=~≈" else _SIGNS[sign[0]]
        return gold if left == "a" else gold[::-1]
    word = _WINS.sub("", word.strip("[]"))
    if word in ("first", "second"):
        return FIRST if word == "first" else SECOND
    return _SIDES.get(word, "unknown")


def is_tie_word(value: Any) -> bool:
    """Whether a value says that neither response is better."""
    return verdict_of(value) == TIE


def numbered(row: Columns, column: str, responses: str) -> RowError:
    """The error for a verdict in numbers that nothing explains."""
    query = next((c for c, part in row.used.items() if part == "query"), "QUERY")
    way = f"--map query={query} --map responses={responses} --map gold={column}:1,2,0"
    fix = (
        "numbers are never guessed; name the values that mean the first, the second and a tie, "
        f"in this order, such as {way}"
    )
    error = row.bad(column, row.row[column], "a verdict in words (model_a, A>B, tie)", fix)
    assert isinstance(error, RowError)
    return error
