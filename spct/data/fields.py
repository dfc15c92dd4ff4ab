"""The fields that all schemas share: read strictly, or refused with place, got and expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spct.data.faults import bad
from spct.data.values import Cell
from spct.errors import did_you_mean
from spct.types import Criteria, Example, Message

if TYPE_CHECKING:
    from spct.data.criteria import Polarity

RawRow = Mapping[str, Any]


def build(
    place: str,
    row: RawRow,
    *,
    query: tuple[Message, ...],
    responses: tuple[str, ...],
    gold: tuple[float, ...] | None,
    meta: Mapping[str, Any],
    reference: str | None = None,
    criteria: Criteria | None = None,
) -> Example:
    """Check what every schema must satisfy and build the Example."""
    if gold is not None:
        _check_gold(place, responses, gold)
    given = row.get("id", "")
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise bad(place, "id", given, "text or a whole number")
    if "id" in row and not str(given).strip():
        raise bad(place, "id", given, "a text that is not empty", "leave id out to get one")
    subset = text_of(place, "subset", row["subset"]) if "subset" in row else None
    return Example(str(given), query, responses, gold, reference, subset, meta, criteria)


def _check_gold(place: str, responses: tuple[str, ...], gold: tuple[float, ...]) -> None:
    n = len(responses)
    if len(gold) != n:
        raise bad(place, "gold", gold, f"{n} numbers, one per response")
    if n == 1 and gold[0] not in (0, 1):
        raise bad(place, "gold", gold, "0 or 1 for a single response")
    seen: dict[str, float] = {}
    for response, value in zip(responses, gold, strict=True):
        if seen.setdefault(response, value) != value:
            fix = f"one text cannot have two rewards: {response!r:.60}; leave it out (--drop-bad)"
            raise bad(place, "gold", gold, "equal gold for equal responses", fix)


def texts_of(place: str, field: str, value: Any) -> tuple[str, ...]:
    """Read a list of at least one text; a text may be empty, since a model may answer nothing."""
    if not isinstance(value, list) or not value:
        raise bad(place, field, value, "a list of at least one text")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise bad(place, f"{field}[{i}]", item, "a text")
    return tuple(value)


def text_of(place: str, field: str, value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise bad(place, field, value, "a text")
    return value


def numbers_of(place: str, field: str, value: Any) -> tuple[float, ...]:
    """Read a list of finite numbers."""
    if not isinstance(value, list):
        raise bad(place, field, value, "a list of numbers, one per response")
    return tuple(number_of(place, f"{field}[{i}]", item) for i, item in enumerate(value))


def number_of(place: str, field: str, value: Any) -> float:
    """Read a finite number; a bool is none, a cell of a CSV table may be one."""
    if value is None:
        raise bad(
            place, field, value, "a finite number", "null, or NaN, which reads as null, is none"
        )
    if isinstance(value, Cell):
        try:
            value = float(value)
        except ValueError:
            raise bad(place, field, value, "a finite number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad(place, field, value, "a finite number")
    try:
        number = float(value)
    except OverflowError as err:
        raise bad(place, field, value, "a finite number") from err
    if not math.isfinite(number):
        raise bad(place, field, value, "a finite number")
    return number


def need(place: str, row: RawRow, field: str) -> Any:
    """Return a field that must be there."""
    if field not in row:
        raise bad(place, field, sorted(row), f"the field {field!r}{did_you_mean(field, list(row))}")
    return row[field]


OWN_KEYS = ("id", "query", "responses", "gold", "reference", "subset", "meta", "criteria")
# What people say of a row beside its gold: reasons, and labels by criterion. No judge sees them.
HUMAN_KEYS = ("rationale", "met")
_KNOWN = OWN_KEYS + HUMAN_KEYS


def read_own(
    place: str, row: RawRow, damaged: Mapping[str, str], polarity: Polarity | None = None
) -> Example:
    """Read one of our own rows; `polarity` says what negative criteria of its file mean.

    Every key is known, since a misspelt `gold` would otherwise vanish in `meta`; a null is absent.
    """
    fields = {key: value for key, value in row.items() if value is not None}
    for key in fields:
        if key not in _KNOWN:
            fix = f"put what the judge must not see in meta{did_you_mean(key, _KNOWN)}"
            raise bad(place, key, fields[key], f"only the keys {', '.join(_KNOWN)}", fix)
        if key in damaged:
            raise bad(place, key, fields[key], "a value that can be stored and sent", damaged[key])
    meta = fields.get("meta", {})
    if not isinstance(meta, dict):
        raise bad(place, "meta", meta, "an object")
    meta = {**meta, **{key: fields[key] for key in HUMAN_KEYS if key in fields}}
    return build(
        place,
        fields,
        query=_own_query(place, need(place, fields, "query")),
        responses=texts_of(place, "responses", need(place, fields, "responses")),
        gold=numbers_of(place, "gold", fields["gold"]) if "gold" in fields else None,
        reference=text_of(place, "reference", fields["reference"])
        if "reference" in fields
        else None,
        meta=meta,
        criteria=_criteria(place, fields["criteria"], polarity) if "criteria" in fields else None,
    )


def _criteria(place: str, value: Any, polarity: Polarity | None) -> Criteria:
    from spct.data.criteria import read_criteria

    return read_criteria(place, value, polarity)


def _own_query(place: str, value: Any) -> tuple[Message, ...]:
    """The query of our own row: a text is one user turn, whatever marks it holds."""
    if isinstance(value, str):
        if not value.strip():
            raise bad(place, "query", value, "a last user message that is not empty")
        return (Message("user", value),)
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        turns = tuple(Message(turn["role"], turn["content"]) for turn in value)
        if turns[-1].role == "user" and turns[-1].content.strip():
            return turns
    from spct.data.turns import query_of

    return query_of(place, "query", value)


def _is_plain(turn: object) -> bool:
    """Whether a message is as our own files hold it, so that no vendor's form has to be known."""
    return (
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and turn["role"] in ("system", "user", "assistant")
        and isinstance(turn["content"], str)
    )
