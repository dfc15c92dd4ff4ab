"""Rows read by a mapping: the columns that it names, and for the rest the layout that fits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from spct.data.columns import Columns, Part
from spct.data.faults import named
from spct.data.fields import number_of, numbers_of, text_of
from spct.data.layouts.queries import query_of_row
from spct.data.layouts.words import numbered, verdict_of
from spct.data.mapping import Mapped
from spct.data.printed import printed
from spct.data.turns import ending_with_user, joined, response_of, turns_of
from spct.errors import did_you_mean
from spct.types import Example, Message

_OURS: tuple[Part, ...] = ("gold", "reference", "subset", "meta")
_PARTS: Mapping[str, Part] = {"response": "responses", "rank": "gold"}
_MISSING = object()
_hint = lru_cache(maxsize=64)(did_you_mean)  # all rows of a file may ask the same


def is_whole(mapping: Mapping[str, Mapped]) -> bool:
    """Whether the mapping names the responses, so that no layout has to find them."""
    return "responses" in mapping or "response" in mapping


def renamed(row: Columns, mapping: Mapping[str, Mapped]) -> Columns:
    """The row with its columns under the names of the fields; gold is applied afterwards."""
    taken: dict[str, Any] = {}
    gone: set[str] = set()
    for field, source in mapping.items():
        values = [value_of(row, column) for column in source.columns]
        gone |= {column for column in source.columns if column in row}
        if field in ("gold", "rank"):
            continue
        name = "prompt" if field == "query" else field
        if name in ("prompt", "instruction"):
            taken[name] = _one_query(row, source, values)
        elif name == "system":
            taken[name] = _one_system(row, source, values)
        else:
            taken[name] = values if len(values) > 1 else values[0]
    # A column that must make room for another one is kept under meta.
    rest = {c: v for c, v in row.row.items() if c not in gone}
    displaced = {c: rest.pop(c) for c in list(rest) if c in taken}
    made = Columns(row.place, {**rest, **taken}, row.notes, row.damaged)
    made.before = row
    made.names = {
        "prompt" if field == "query" else field: ",".join(source.columns)
        for field, source in mapping.items()
    }
    if displaced:
        given = made.row.get("meta", {})
        if not isinstance(given, dict):
            raise row.bad("meta", given, "an object, since displaced columns are kept in it")
        made.row["meta"] = {**displaced, **given}
    return made


def _one_query(row: Columns, source: Mapped, values: Sequence[Any]) -> Any:
    """Texts as one text; if some of the columns hold messages, all as messages."""
    if len(values) == 1:
        return values[0]
    values = [_listed_texts(value) for value in values]
    given = [value for value in values if value is not None and value != ""]
    if all(isinstance(value, str) for value in given):
        return "\n\n".join([text for text in given if text.strip()])
    if len(given) == 1:
        return given[0]
    turns: list[Message] = []
    for column, value in zip(source.columns, values, strict=True):
        if value not in (None, ""):
            turns += turns_of(row.place, column, value)
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _listed_texts(value: Any) -> Any:
    """A list of texts (or of lists of them: titles and passages) as one text."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        parts = [_listed_texts(item) for item in value]
        return "\n\n".join(parts) if all(isinstance(part, str) for part in parts) else value
    return value


def _one_system(row: Columns, source: Mapped, values: Sequence[Any]) -> str:
    """Texts as one text; messages by what they say, and anything else, such as tools, as JSON."""
    texts = []
    for column, value in zip(source.columns, values, strict=True):
        items = value if isinstance(value, list) else [value]
        if isinstance(value, str):
            texts.append(value)
        elif value and all(isinstance(item, dict) and "role" in item for item in items):
            texts.append(joined(turns_of(row.place, column, value)))
        elif value:
            texts.append(json.dumps(value, ensure_ascii=False))
    return "\n\n".join(text for text in texts if text.strip())


def read_mapped(row: Columns, mapping: Mapping[str, Mapped]) -> Example:
    """A row whose responses the mapping names."""
    fields: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    for field, source in mapping.items():
        part: Part = _PARTS.get(field, field)  # type: ignore[arg-type]
        parts[field] = [value_of(row, column, part) for column in source.columns]
    responses = _responses(row, mapping, parts)
    query = _query(row, mapping, parts)
    gold = _gold(row, mapping, parts, len(responses))
    for name in ("id", "subset", "reference"):
        value = parts[name][0] if name in parts else row.row.get(name)
        if value is None or (name not in parts and not _is_ours(name, value)):
            continue
        fields[name] = value
        if name not in parts:
            row.used.setdefault(name, name)
    for name in fields.keys() & {"reference", "subset"}:
        text_of(row.place, name, fields[name])
    return row.example(query, responses, gold, **fields)


def _is_ours(name: str, value: object) -> bool:
    is_id = isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip()
    return bool(is_id) if name == "id" else isinstance(value, str)


def _query(
    row: Columns, mapping: Mapping[str, Mapped], parts: Mapping[str, list[Any]]
) -> tuple[Message, ...]:
    field = next((f for f in ("query", "prompt", "instruction") if f in parts), None)
    if field is None:
        return query_of_row(row)
    value = _one_query(row, mapping[field], parts[field])
    name = ",".join(mapping[field].columns)
    turns = turns_of(row.place, name, value)
    if "history" in parts and parts["history"][0]:
        if not isinstance(parts["history"][0], list):
            way = f"a text is shown with --map query={mapping['history'].columns[0]},{name}"
            expected = "a list of messages, or of pairs of texts"
            raise row.bad("history", parts["history"][0], expected, way)
        before = Columns(row.place, {"history": parts["history"][0], "prompt": value}, row.notes)
        turns = query_of_row(before)
    if "system" in parts and (said := _one_system(row, mapping["system"], parts["system"])):
        turns = (Message("system", said), *turns)
    return ending_with_user(row.place, name, turns)


def _responses(
    row: Columns, mapping: Mapping[str, Mapped], parts: Mapping[str, list[Any]]
) -> tuple[str, ...]:
    field = "response" if "response" in parts else "responses"
    columns, values = mapping[field].columns, parts[field]
    if field == "responses" and len(values) == 1 and isinstance(values[0], list):
        columns = tuple(f"{columns[0]}[{i}]" for i in range(len(values[0])))
        values = values[0]
    if values and all(type(value) is str for value in values):
        return tuple(values)
    if not values or any(value is None for value in values):
        raise row.bad("responses", values, "a text, or a list of at least one text")
    is_turns = field == "response" and isinstance(values[0], list)
    if not is_turns and all(isinstance(v, dict) and v.get("role") == "user" for v in values):
        raise row.bad("responses", values, "responses, not the turns of the user")
    return tuple(response_of(row.place, c, v) for c, v in zip(columns, values, strict=True))


def value_of(row: Columns, column: str, part: Part | None = None) -> Any:
    """The value of a column, or of a path of fields inside it; a null is None.

    With `part` a column counts as used. The object that a path goes through stays in `meta`, since
    its other fields have no other place.
    """
    if column in row.row:
        if part is not None:
            row.used[column] = part
            if row.damaged:
                row.take(column, part)  # refuses a damaged one
        return row.row[column]
    if column in row.nulls:
        return None
    value = _inside(row.row, column.split(".")) if "." in column else _MISSING
    if value is _MISSING:
        hint = _hint(column, tuple(row.row))
        raise row.bad("--map", named(sorted(row.row)), f"a column named {column!r}{hint}")
    return value


def _inside(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return value
    if isinstance(value, str):  # an object in a cell of a table
        value = printed(value)
    if isinstance(value, list):
        if path[0].isdigit():
            index = int(path[0])
            return _inside(value[index], path[1:]) if index < len(value) else _MISSING
        found = [_inside(item, path) for item in value]
        return _MISSING if _MISSING in found or not found else found
    if not isinstance(value, Mapping):
        return _MISSING
    for n in range(len(path), 0, -1):  # the longest name that is there, as names may hold dots
        name = ".".join(path[:n])
        if name in value:
            return _inside(value[name], path[n:])
    return _MISSING


def _gold(
    row: Columns, mapping: Mapping[str, Mapped], parts: Mapping[str, list[Any]], n: int
) -> tuple[float, ...] | None:
    if "rank" in parts:
        return tuple(-number for number in _numbers(row, "rank", parts["rank"]))
    if "gold" not in parts:
        value = row.row.get("gold")
        is_ours = isinstance(value, list) and len(value) == n
        if is_ours and "gold" not in row.used:
            return numbers_of(row.place, "gold", row.take("gold", "gold"))
        return None
    responses = mapping.get("responses", mapping.get("response"))
    columns = responses.columns if responses and len(responses.columns) == n else ()
    return gold_of_map(row, mapping["gold"], n, columns)


def _numbers(row: Columns, field: str, values: list[Any]) -> tuple[float, ...]:
    if len(values) == 1:
        if isinstance(values[0], list):
            return numbers_of(row.place, field, values[0])
        return (number_of(row.place, field, values[0]),)
    return numbers_of(row.place, field, values)


def gold_of_map(
    row: Columns, source: Mapped, n: int, columns: Sequence[str] = ()
) -> tuple[float, ...] | None:
    """Gold of the mapped column or columns for n responses; None where they say nothing."""
    values = [value_of(row, column) for column in source.columns]
    if all(value is None for value in values):
        row.note("no verdict: the row has no gold")
        return None
    value = values[0]
    if source.words:
        return _by_words(row, source, value, n)
    if len(values) > 1 or isinstance(value, list):
        return _numbers(row, "gold", values)
    if n == 1 and isinstance(value, bool | int | float):
        return (float(value),)
    name = source.columns[0]
    said = verdict_of(value, columns) if n == 2 else "unknown"
    if isinstance(said, tuple):
        return said
    if said is None:
        row.note("no verdict: the row has no gold")
        return None
    if n == 2 and said == "number":
        raise numbered(row, name, ",".join(columns) or "FIRST,SECOND")
    expected = "a list of numbers, one per response, or true or false for a single response"
    words = "GOOD,BAD" if n == 1 else "FIRST,SECOND,TIE"
    raise row.bad("gold", value, expected, f"for words: --map gold={name}:{words}")


def _by_words(row: Columns, source: Mapped, value: Any, n: int) -> tuple[float, ...] | None:
    """The word at place i means that response i is the best; those after the last one are ties."""
    words = [_folded(word) for word in source.words]
    word = _folded(value if type(value) is str else str(value))
    if word == "":
        row.note("no verdict: the row has no gold")
        return None
    if word not in words:
        told = ", ".join(source.words)
        raise row.bad(source.columns[0], value, f"one of the words {told}", "name it in --map")
    place = words.index(word)
    if n == 1:
        return (1.0,) if place == 0 else (0.0,)
    if place >= n:
        return (0.5,) * n
    return tuple(float(i == place) for i in range(n))


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """A word without case; 1, 1.0 and "1" are one word."""
    word = text.strip().casefold()
    return re.sub(r"^([-+]?\d+)\.0+$", r"\1", word)
