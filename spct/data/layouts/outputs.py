"""Rows with two (or more) outputs in columns of their own, and a verdict or ratings beside them.

AlpacaEval, JudgeBench, HelpSteer 2 and 3, PPE, the arena's conversations, SHP, PKU-SafeRLHF,
WebGPT and what follows them. A row without a verdict has no gold, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from spct.data.columns import Columns
from spct.data.faults import named
from spct.data.layouts.lists import beside, worth
from spct.data.layouts.queries import MAIN, has_query, query_of_row, with_context
from spct.data.layouts.words import FIRST, SECOND, TIE, Gold, Said, numbered, verdict_of
from spct.data.printed import as_list
from spct.data.turns import response_of, split_pair, turns_of
from spct.types import Example, Message

_STEM = (
    "response|output|answer|completion|generation|candidate|reply|solution|summary|prediction|"
    "assistant|human_ref|model_output|model_response|text|essay|argument"
)
_MARK = r"(\d{1,4}|[a-zA-Z])"
_COLUMN = re.compile(rf"({_STEM})[ _-]?{_MARK}(?:_(?:body|text|content))?")
_PREFIXED = re.compile(rf"(?:model|assistant)?_?{_MARK}_({_STEM})")
_STARTS = (0, 1, ord("a"), ord("A"))

# Columns that hold a verdict and nothing else, and such as often hold other things.
STRONG = (
    "winner",
    "preference",
    "verdict",
    "preferred",
    "preferred_response",
    "better",
    "overall_preference",
    "preference_strength",
    "better_response_id",
    "safer_response_id",
    "winner_model_a",
)
WEAK = ("label", "labels", "human", "choice", "chosen", "vote", "annotation", "judgment")
_CHOICES = ("label", "labels", "choice", "chosen", "vote")  # a number there is a verdict
_RATINGS = ("score", "rating", "reward", "overall_score", "rank", "ranking")
_NUMBER = re.compile(r"[-+]?\d{1,9}(?:\.\d{1,15})?")
NO_VERDICT = "no verdict: the row has no gold"


@lru_cache(maxsize=512)
def outputs_of(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of the outputs in their order, at least two, or none."""
    found: dict[str, dict[int, str]] = {}
    for column in columns:
        if match := _COLUMN.fullmatch(column):
            found.setdefault(match[1], {}).setdefault(_number(match[2]), column)
        elif match := _PREFIXED.fullmatch(column):
            found.setdefault(match[2] + "_", {}).setdefault(_number(match[1]), column)
    for marks in found.values():
        start = next((s for s in _STARTS if s in marks), None)
        if start is None:
            continue
        run = [marks[n] for n in range(start, start + len(marks)) if n in marks]
        if len(run) == len(marks) > 1:  # none is missing, and none stands apart
            return tuple(run)
    return ()


def _number(mark: str) -> int:
    return int(mark) if mark.isdigit() else ord(mark)


def has_outputs(row: Mapping[str, Any]) -> bool:
    """Whether the row has outputs in columns of their own."""
    return bool(outputs_of(tuple(row)))


def read_outputs(row: Columns) -> Example:
    """The outputs, and gold from ratings beside them or, for two, from a verdict."""
    columns = outputs_of(tuple(row.row))
    if not columns:
        expected = "outputs in columns of their own, such as response_1 and response_2"
        raise row.bad("responses", named(row.row), expected)
    query, responses = _turn_lists(row, columns) or _texts(row, columns)
    meta: dict[str, Any] = {}
    gold: Sequence[float] | None = gold_of(row, columns, meta) if len(columns) == 2 else None
    if gold is None:
        gold = _rated(row, columns)
    if gold is None:
        row.note(NO_VERDICT)
    return row.example(query, responses, gold, meta=meta)


def _texts(row: Columns, columns: Sequence[str]) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    responses = tuple(response_of(row.place, c, row.take(c, "responses")) for c in columns)
    return query_of_row(row), responses


def _turn_lists(
    row: Columns, columns: Sequence[str]
) -> tuple[tuple[Message, ...], tuple[str, ...]] | None:
    """The arena's contest files: lists of what was said turn by turn, also as JSON text.

    Where the two models had answered differently before, the pair is refused, as in `read_arena`.
    """
    main = row.first(MAIN)
    said = [_listed(row.row[c]) for c in (main, *columns) if c is not None]
    if main is None or len(said) != 3 or len({len(texts) for texts in said}) > 1 or not said[0]:
        return None
    asked, *answers = said
    row.take(main, "query")
    whole = []
    for column, answered in zip(columns, answers, strict=True):
        row.take(column, "responses")
        both = zip(asked, answered, strict=True)
        whole.append(
            tuple(m for q, a in both for m in (Message("user", q), Message("assistant", a)))
        )
    shared, responses = split_pair(row.place, (columns[0], columns[1]), (whole[0], whole[1]))
    return with_context(row, main, shared), responses


def _listed(value: Any) -> list[str]:
    """A list of texts, also one that is written as text; anything else is an empty list."""
    value = as_list(value) or []
    return value if all(isinstance(text, str) for text in value) else []


def _rated(row: Columns, columns: Sequence[str]) -> list[float] | None:
    """Numbers beside the outputs, under the same mark: score_1 of output_1; or a list of them."""
    for name in _RATINGS:
        found = [_beside(row, column, name) for column in columns]
        if all(found):
            sign = -1.0 if name.startswith("rank") else 1.0  # rank 1 is the best
            return [sign * worth(row.place, str(c), row.take(str(c), "gold")) for c in found]
    return beside(row, len(columns))


def _beside(row: Columns, column: str, name: str) -> str | None:
    match = _COLUMN.fullmatch(column)
    mark = match[2] if match else ""
    forms = (f"{name}_{mark}", f"{name}{mark}", f"{column}_{name}", f"{name}_{column}")
    return next((f for f in forms if mark and f in row and _is_worth(row.row[f])), None)


def _is_worth(value: object) -> bool:
    return _is_number(value) or (isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip())))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def gold_of(row: Columns, columns: Sequence[str], meta: dict[str, Any]) -> Gold | None:
    """The verdict on two outputs, wherever it lies; what it was stays in `meta`."""
    if "winner_model_a" in row:
        return _one_hot(row)
    usable: dict[str, Gold] = {}
    first_odd = None
    for column in (*STRONG, *WEAK):
        if column not in row or column in row.used:
            continue
        value = row.row[column]
        said: Said = _known_numbers(row, column, columns) or verdict_of(value, columns)
        named = _by_name(row, value, columns)
        if named is not None and isinstance(said, tuple) and named != said:
            expected = "a verdict that is one of the outputs or the name of a side, not both"
            raise row.bad(column, value, expected)
        said = named or said
        if isinstance(said, tuple):
            usable[column] = said
        elif said is None:
            row.take(column, "gold")
        elif column in STRONG or (said == "number" and column in _CHOICES):
            first_odd = first_odd or column
    if len(usable) > 1:
        way = f"--map query={_query(row)} --map responses={','.join(columns)}"
        one = next(iter(usable))
        words = "0,1" if one.endswith("_id") else "FIRST,SECOND,TIE"
        fix = f"say which of them is gold: {way} --map gold={one}:{words}"
        got = {c: row.row[c] for c in usable}
        raise row.bad(", ".join(usable), got, "one column with a verdict", fix)
    if not usable and first_odd is not None:
        raise _not_a_verdict(row, first_odd, columns)
    for column, gold in usable.items():
        meta[column] = row.take(column, "gold")
        return gold
    return None


def _by_name(row: Columns, value: Any, columns: Sequence[str]) -> Gold | None:
    """The side of a verdict that repeats one of the two outputs, or the name of its model."""
    if not isinstance(value, str) or not value:
        return None
    models = [next((row.row[m] for m in _models(c) if m in row), None) for c in columns]
    for sides in ([row.row[c] for c in columns], models):
        if sides.count(value) == 1:
            return FIRST if sides[0] == value else SECOND
    return None


def _models(column: str) -> Iterator[str]:
    """Where the name of the model that made an output may lie."""
    mark = column[-1]
    for name in ("model", "generator", "model_name"):
        yield from (f"{name}_{mark}", f"{name}{mark}", f"{column}_{name}", f"{name}_{column}")


def _query(row: Columns) -> str:
    return row.first(MAIN) or "QUERY"


def _not_a_verdict(row: Columns, column: str, columns: Sequence[str]) -> Exception:
    value = row.row[column]
    if column == "preference" and _is_alpaca_eval(columns):
        fix = f"--map gold={column}:1,2,0 if 0 is a tie"
        return row.bad(column, value, "a number from 1 (the first) to 2 (the second)", fix)
    if column in ("preference_strength", "overall_preference"):
        expected = "a whole number from -3 (response 1 is much better) to 3"
        return row.bad(column, value, expected)
    if verdict_of(value) == "number":
        return numbered(row, column, ",".join(columns))
    way = f"--map gold={column}:FIRST,SECOND,TIE"
    fix = f"name its words for the first, the second and a tie: {way}"
    return row.bad(column, value, "a verdict in words (model_a, A>B, tie)", fix)


def _is_alpaca_eval(columns: Sequence[str]) -> bool:
    return tuple(columns) == ("output_1", "output_2")


def _known_numbers(row: Columns, column: str, columns: Sequence[str]) -> Gold | None:
    """The numbers that a published layout defines; None for all others."""
    value = row.row[column]
    if not _is_number(value):
        return None
    if column == "preference" and _is_alpaca_eval(columns) and 1 <= value <= 2:
        return (2.0 - value, value - 1.0)
    if column in ("preference_strength", "overall_preference") and value in range(-3, 4):
        return FIRST if value < 0 else SECOND if value > 0 else TIE
    if column in ("better_response_id", "safer_response_id") and value in (0, 1):
        return FIRST if f"response_{value}" == columns[0] else SECOND
    if column == "labels" and columns[0] == "human_ref_A" and value in (0, 1):  # SHP
        return FIRST if value == 1 else SECOND
    return None


def _one_hot(row: Columns) -> Gold | None:
    """The arena's contest files: one column of 0 and 1 for each outcome."""
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    values = [row.number(c, "gold") if c in row else 0.0 for c in names]
    if sorted(values) == [0.0, 0.0, 0.0]:
        return None
    if sorted(values) != [0.0, 0.0, 1.0]:
        raise row.bad(", ".join(names), values, "a single 1 among them")
    return (FIRST, SECOND, TIE)[values.index(1.0)]


def read_arena(row: Columns) -> Example:
    """The arena's pairs: two conversations of one user with two models, and who won."""
    names = ("conversation_a", "conversation_b")
    whole = [turns_of(row.place, c, row.take(c, "responses")) for c in names]
    turn = row.row.get("turn")
    if isinstance(turn, int) and not isinstance(turn, bool) and turn > 0:
        whole = [_up_to(turns, turn) for turns in whole]  # MT-bench: the verdict is on this turn
    shared, responses = split_pair(row.place, names, (whole[0], whole[1]))
    if not shared:
        raise row.bad("conversation_a", whole[0][:1], "a turn of the user that both share")
    meta: dict[str, Any] = {}
    gold = gold_of(row, names, meta)
    if gold is None:
        row.note(NO_VERDICT)
    if not has_query(row):
        shared = with_context(row, None, shared)
    return row.example(shared, responses, gold, meta=meta)


def _up_to(turns: tuple[Message, ...], turn: int) -> tuple[Message, ...]:
    """The conversation up to the answer to the user's turn of this number, counted from 1."""
    asked = [i for i, message in enumerate(turns) if message.role == "user"]
    return turns[: asked[turn]] if turn < len(asked) else turns
