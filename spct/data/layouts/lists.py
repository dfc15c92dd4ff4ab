"""Rows with a list of responses: objects with scores or ranks, or texts with a list beside them.

UltraFeedback, NeMo-RL, Nectar, stack-exchange preferences; argilla's generations with ratings, and
rollouts with rewards. A higher score is better, and so is a lower rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spct.data.columns import Columns
from spct.data.fields import number_of
from spct.data.layouts.queries import query_of_row
from spct.data.layouts.unknown import likely_map
from spct.data.printed import as_list
from spct.data.turns import TEXT_KEYS, response_of
from spct.data.values import Cell
from spct.types import Example

COLUMNS = (
    "completions",
    "responses",
    "answers",
    "generations",
    "outputs",
    "candidates",
    "summaries",
    "responses_and_scores",
)
_FLAGS = ("correct", "is_correct")
_SCORES = ("overall_score", "score", "rating", "reward", "pm_score", "helpfulness", *_FLAGS)
_RANKS = ("rank", "ranking")
_SCORE_LISTS = (
    *("scores", "rewards", "ratings", "score", "rating", "reward", "overall_scores"),
    *_FLAGS,
)
_BEST = ("chosen", "best", "best_response", "winner", "preferred", "preference", "label", "choice")
_RANK_LISTS = ("ranks", "rank", "ranking", "rankings")


def list_of(row: Mapping[str, Any]) -> str | None:
    """The column that holds a list of responses."""
    return next((c for c in COLUMNS if as_list(row.get(c)) is not None), None)


def read_list(row: Columns) -> Example:
    """All responses of the list, and gold from what stands in or beside it."""
    column = list_of(row.row)
    if column is None:
        column = row.first(COLUMNS) or "completions"
        raise row.bad(column, row.take(column, "responses"), "a list of at least one object")
    items = as_list(row.take(column, "responses"))
    if not items:
        raise row.bad(column, items, "a list of at least one object")
    for i, item in enumerate(items):
        if item is None:
            fix = "a model that answered nothing has the text ''; if it failed, take the entry out"
            raise row.bad(f"{column}[{i}]", None, "a response", fix)
    labels = row.row.get("labels")
    if isinstance(labels, list) and len(labels) == len(items) and isinstance(labels[0], bool):
        fix = "these are steps of one answer with a label each, and a judge compares whole answers"
        raise row.bad("labels", labels, "a list of responses, not of steps", fix)
    query = query_of_row(row)
    if all(isinstance(item, str | list) for item in items):  # texts, or messages of rollouts
        said = [response_of(row.place, f"{column}[{i}]", item) for i, item in enumerate(items)]
        gold = beside(row, len(items)) or _named(row, said)
        return row.example(query, said, _checked(row, gold, len(items)))
    key = _text_key(row, column, items)
    responses = [
        response_of(row.place, f"{column}[].{key}[{i}]", item[key]) for i, item in enumerate(items)
    ]
    gold = _inside(row, column, items)
    if gold is None:
        gold = beside(row, len(items)) or _named(row, responses)
    details = [{k: v for k, v in item.items() if k != key} for item in items]
    return row.example(query, responses, _checked(row, gold, len(items)), meta={column: details})


def _text_key(row: Columns, column: str, items: Sequence[Any]) -> str:
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise row.bad(f"{column}[{i}]", item, "an object with a response and its score")
    key = next((k for k in TEXT_KEYS if all(item.get(k) is not None for item in items)), None)
    if key is None:
        odd = next((i for i, item in enumerate(items) if item.get("response") is None), 0)
        field = f"{column}[].response[{odd}]"
        got, way = sorted(map(str, items[odd])), f"if it has another name: {likely_map(row.row)}"
        raise row.bad(field, got, f"a text under {', '.join(TEXT_KEYS)}", way)
    return key


def _inside(row: Columns, column: str, items: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Gold from the objects: a score or rank that all have, else the means of their ratings."""
    place = row.place
    for names, sign in ((_SCORES, 1.0), (_RANKS, -1.0)):
        for name in names:
            if all(item.get(name) is not None for item in items):
                where = f"{column}[{{}}].{name}"
                return [
                    sign * worth(place, where.format(i), item[name]) for i, item in enumerate(items)
                ]
    if any("annotations" in item for item in items):
        return [_mean_rating(row, f"{column}[{i}]", item) for i, item in enumerate(items)]
    known = [n for n in (*_SCORES, *_RANKS) if any(item.get(n) is not None for item in items)]
    if known:
        lacking = next(i for i, item in enumerate(items) if item.get(known[0]) is None)
        got, expected = sorted(items[lacking]), f"{known[0]}, as the others have it"
        raise row.bad(f"{column}[{lacking}]", got, expected)
    return None


def _mean_rating(row: Columns, field: str, item: Mapping[str, Any]) -> float:
    """Average the ratings of one completion's annotations; an N/A says nothing."""
    annotations = item.get("annotations")
    if not isinstance(annotations, dict):
        raise row.bad(field, sorted(item), "overall_score, or annotations with ratings")
    ratings: list[float] = []
    for aspect, annotation in annotations.items():
        rating = annotation.get("Rating") if isinstance(annotation, dict) else annotation
        if rating is None or rating == "N/A":
            continue
        where = f"{field}.annotations.{aspect}"
        try:
            number = float(rating) if isinstance(rating, str) else rating
        except ValueError as err:
            raise row.bad(where, rating, "a finite number") from err
        ratings.append(number_of(row.place, where, number))
    if not ratings:
        raise row.bad(f"{field}.annotations", annotations, "at least one rating")
    return sum(ratings) / len(ratings)


def worth(place: str, field: str, value: Any) -> float:
    """A score: a number, also as text; right is 1 and wrong is 0."""
    if isinstance(value, bool):
        return float(value)
    return number_of(place, field, Cell(value) if isinstance(value, str) else value)


def beside(row: Columns, n: int) -> list[float] | None:
    """Gold from a list beside the responses."""
    for names, sign in ((_SCORE_LISTS, 1.0), (_RANK_LISTS, -1.0)):
        for name in names:
            value = as_list(row.row.get(name))
            if value is not None and len(value) == n and name not in row.used:
                if any(item in (None, "", "N/A") for item in value):
                    row.note(f"not every response has a number in {name!r}: the row has no gold")
                    continue
                row.take(name, "gold")
                return [sign * worth(row.place, f"{name}[{i}]", v) for i, v in enumerate(value)]
    return None


def _named(row: Columns, items: Sequence[str]) -> list[float] | None:
    """Gold from a column that says which response is the best: by its text, never by a number."""
    for name in _BEST:
        value = row.row.get(name)
        if isinstance(value, str) and items.count(value) == 1:
            row.take(name, "gold")
            return [float(item == value) for item in items]
        if isinstance(value, int | float) and name not in row.used:
            places = ",".join(str(i) for i in range(len(items)))
            fix = (
                "numbers are never guessed; name the value that means each response, in their "
                f"order, such as --map gold={name}:{places}"
            )
            raise row.bad(name, value, "the text of the best response", fix)
    return None


def _checked(row: Columns, gold: list[float] | None, n: int) -> list[float] | None:
    """Gold, unless it rates a single response on a scale: only 0 and 1 say good or bad there."""
    if gold is None:
        row.note("no score or rank for each response: the row has no gold")
    elif n == 1 and gold[0] not in (0, 1):
        row.note("a single response with a rating: the row has no gold (0 or 1)")
        return None
    return gold
