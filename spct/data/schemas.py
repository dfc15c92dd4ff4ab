"""Rows to Examples: one converter a schema, and the rule that tells schemas apart by their keys.

A converter gets one row, or the consecutive rows of one prompt where the schema splits an example
over rows, and returns an Example or raises a `DataError`. Keys that a foreign schema has beyond
those that it needs are kept in `meta`, never dropped; in our own schema they are errors, since a
misspelt `gold` would otherwise vanish. A null counts as absent (Parquet writes it that way).

Departure from TRL: an implicit text prompt is the shared prefix cut back to white space, so that
no response starts in the middle of a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal, get_args

from spct.data.fields import (
    RawRow,
    build,
    ending_with_user,
    messages_of,
    nearest,
    need,
    number_of,
    numbers_of,
    query_of,
    text_of,
    texts_of,
)
from spct.data.files import bad
from spct.errors import ConfigError
from spct.types import Example, Message

Schema = Literal[
    "spct",
    "preference",  # TRL; RewardBench v1 rows are preference rows with an id and a subset
    "ultrafeedback",
    "helpsteer2",
    "helpsteer2-preference",
    "rewardbench2",
]
SCHEMAS: tuple[Schema, ...] = get_args(Schema)

_FIELDS: Mapping[Schema, tuple[str, ...]] = {
    "spct": ("id", "query", "responses", "gold", "reference", "subset", "meta"),
    "preference": ("id", "prompt", "chosen", "rejected", "subset"),
    "ultrafeedback": ("id", "instruction", "completions", "subset"),
    "helpsteer2": ("id", "prompt", "response", "helpfulness", "subset"),
    "helpsteer2-preference": (
        "id",
        "prompt",
        "response_1",
        "response_2",
        "preference_strength",
        "subset",
    ),
    "rewardbench2": ("id", "prompt", "chosen", "rejected", "subset"),
}
_TURN = re.compile(r"\n\n(Human|Assistant):")  # the dialogue form of the HH sets
_EXTRA_ID = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")  # turns inside a HelpSteer2 prompt


def detect(place: str, row: RawRow) -> Schema:
    """Tell a row's schema by its keys."""
    if "query" in row or "responses" in row:
        return "spct"
    if "completions" in row:
        return "ultrafeedback"
    if "chosen" in row and "rejected" in row:
        chosen = row["chosen"]
        is_list_of_texts = isinstance(chosen, list) and all(isinstance(c, str) for c in chosen)
        return "rewardbench2" if is_list_of_texts else "preference"
    if "response_1" in row and "response_2" in row:
        return "helpsteer2-preference"
    if "prompt" in row and "response" in row:
        return "helpsteer2"
    known = "; ".join(f"{name} ({', '.join(_FIELDS[name])})" for name in SCHEMAS)
    fix = f"rename columns with --map FIELD=COLUMN; schemas: {known}"
    raise bad(place, "keys", sorted(row), "the keys of a known schema", fix)


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `--map` values such as `query=question` or `responses=answer_a,answer_b`."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        field, found, column = pair.partition("=")
        if not found or not field or not all(column.split(",")):
            raise ConfigError(f"reading --map: got {pair!r}, expected FIELD=COLUMN")
        if field in mapping:
            raise ConfigError(f"reading --map: the field {field!r} is mapped twice")
        mapping[field] = column
    check_mapping(mapping)
    return mapping


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuse a mapping to a field that no schema has."""
    known = sorted({field for fields in _FIELDS.values() for field in fields} - {"meta"})
    for field in mapping:
        if field not in known:
            hint = nearest(field, known)
            raise ConfigError(f"mapping columns: got the field {field!r}, expected {known}{hint}")


def mapped(place: str, row: RawRow, mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the row with its columns renamed to fields.

    A column that is moved out of the way, or that our own schema does not have, goes to `meta`.
    """
    taken = {column for columns in mapping.values() for column in columns.split(",")}
    for column in sorted(taken):
        if column not in row:
            hint = nearest(column, list(row))
            raise bad(place, "--map", sorted(row), f"a column named {column!r}{hint}")
    fields: dict[str, Any] = {}
    for field, columns in mapping.items():
        values = [row[column] for column in columns.split(",")]
        fields[field] = values if "," in columns else values[0]
    rest = {key: value for key, value in row.items() if key not in taken}
    own = "query" in fields or "responses" in fields or "query" in rest or "responses" in rest
    keep = set(_FIELDS["spct"]) if own else set(rest)
    meta = {key: value for key, value in rest.items() if key in fields or key not in keep}
    fields |= {key: value for key, value in rest.items() if key not in meta}
    if meta:
        given = fields.get("meta") or {}
        if not isinstance(given, dict):
            raise bad(place, "meta", given, "an object")
        fields["meta"] = {**meta, **given}
    return fields


def convert(schema: Schema, place: str, rows: Sequence[RawRow]) -> Example:
    """Turn the row (or the rows that share a prompt) into an Example; its id may be empty."""
    present = [{k: v for k, v in row.items() if v is not None} for row in rows]
    if schema == "helpsteer2":
        return _helpsteer2(place, present)
    (row,) = present
    return _CONVERTERS[schema](place, row)


def _spct(place: str, row: RawRow) -> Example:
    known = _FIELDS["spct"]
    for key in row:
        if key not in known:
            fix = "put what the judge must not see in meta" + nearest(key, known)
            raise bad(place, key, row[key], f"only the keys {', '.join(known)}", fix)
    meta = row.get("meta", {})
    if not isinstance(meta, dict):
        raise bad(place, "meta", meta, "an object")
    return build(
        place,
        row,
        query=query_of(place, "query", need(place, row, "query")),
        responses=texts_of(place, "responses", need(place, row, "responses")),
        gold=numbers_of(place, "gold", row["gold"]) if "gold" in row else None,
        reference=text_of(place, "reference", row["reference"]) if "reference" in row else None,
        meta=meta,
    )


def _preference(place: str, row: RawRow) -> Example:
    chosen, rejected = need(place, row, "chosen"), need(place, row, "rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        query, responses = _text_pair(place, row, chosen, rejected)
    elif isinstance(chosen, list) and isinstance(rejected, list):
        query, responses = _message_pair(place, row, chosen, rejected)
    else:
        raise bad(place, "chosen, rejected", (chosen, rejected), "two texts or two message lists")
    return build(
        place, row, query=query, responses=responses, gold=(1.0, 0.0), meta=_rest("preference", row)
    )


def _text_pair(
    place: str, row: RawRow, chosen: str, rejected: str
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """Split a pair of texts; without a prompt, what they share at the start is the query."""
    if "prompt" in row:
        return query_of(place, "prompt", row["prompt"]), (chosen, rejected)
    if _TURN.match(chosen) and _TURN.match(rejected):
        return _message_pair(place, row, dialogue(chosen), dialogue(rejected))
    same = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = "".join(letter for letter, _ in same)
    if chosen != rejected:
        shared = shared[: len(shared) - len(re.split(r"\s", shared)[-1])]
    if not shared.strip():
        fix = "add the column prompt"
        raise bad(place, "prompt", None, "a prompt, or one that chosen and rejected share", fix)
    return query_of(place, "prompt", shared.rstrip()), (
        chosen[len(shared) :],
        rejected[len(shared) :],
    )


def dialogue(text: str) -> list[dict[str, str]]:
    """Split a text of Human and Assistant turns, each after an empty line, into message rows."""
    parts = _TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _message_pair(
    place: str, row: RawRow, chosen: list[Any], rejected: list[Any]
) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """Split two conversations into the query that they share and their last assistant turns."""
    ends = messages_of(place, "chosen", chosen), messages_of(place, "rejected", rejected)
    for field, end in zip(("chosen", "rejected"), ends, strict=True):
        if end[-1].role != "assistant":
            raise bad(place, field, end[-1].role, "a conversation that ends with the assistant")
    before, other = ends[0][:-1], ends[1][:-1]
    if before != other:
        fix = "only the last assistant turn may differ"
        raise bad(place, "chosen, rejected", other, "the same turns before the last one", fix)
    responses = (ends[0][-1].content, ends[1][-1].content)
    if "prompt" not in row:
        return ending_with_user(place, "chosen", before), responses
    query = query_of(place, "prompt", row["prompt"])
    if before and before[-len(query) :] != query:
        raise bad(place, "prompt", row["prompt"], "the turns before the last one of chosen")
    return before or query, responses


def _ultrafeedback(place: str, row: RawRow) -> Example:
    completions = need(place, row, "completions")
    if not isinstance(completions, list) or not completions:
        raise bad(place, "completions", completions, "a list of at least one object")
    for i, item in enumerate(completions):
        if not isinstance(item, dict):
            raise bad(place, f"completions[{i}]", item, "an object with response and overall_score")
    scored = all(item.get("overall_score") is not None for item in completions)
    gold = [
        number_of(place, f"completions[{i}].overall_score", item["overall_score"])
        if scored
        else _mean_rating(place, f"completions[{i}]", item)
        for i, item in enumerate(completions)
    ]
    details = [{k: v for k, v in item.items() if k != "response"} for item in completions]
    return build(
        place,
        row,
        query=query_of(place, "instruction", need(place, row, "instruction")),
        responses=texts_of(
            place, "completions[].response", [i.get("response") for i in completions]
        ),
        gold=tuple(gold),
        meta={**_rest("ultrafeedback", row), "completions": details},
    )


def _mean_rating(place: str, field: str, item: RawRow) -> float:
    """Average the ratings of one completion's annotations; an N/A says nothing."""
    annotations = item.get("annotations")
    if not isinstance(annotations, dict):
        raise bad(place, field, sorted(item), "overall_score, or annotations with ratings")
    ratings: list[float] = []
    for aspect, annotation in annotations.items():
        rating = annotation.get("Rating") if isinstance(annotation, dict) else annotation
        if rating is None or rating == "N/A":
            continue
        where = f"{field}.annotations.{aspect}"
        try:
            number = float(rating) if isinstance(rating, str) else number_of(place, where, rating)
        except ValueError as err:
            raise bad(place, where, rating, "a finite number") from err
        ratings.append(number_of(place, where, number))
    if not ratings:
        raise bad(place, f"{field}.annotations", annotations, "at least one rating")
    return sum(ratings) / len(ratings)


def _helpsteer2(place: str, rows: Sequence[RawRow]) -> Example:
    if len(rows) < 2:
        fix = "rows of one prompt must follow each other"
        raise bad(place, "prompt", rows[0].get("prompt"), "two or more rows with this prompt", fix)
    used = ("prompt", "response", "helpfulness")
    ratings = [{k: v for k, v in row.items() if k not in used} for row in rows]
    return build(
        place,
        rows[0],
        query=_helpsteer_query(place, rows[0]),
        responses=tuple(text_of(place, "response", need(place, r, "response")) for r in rows),
        gold=tuple(number_of(place, "helpfulness", need(place, r, "helpfulness")) for r in rows),
        meta={"ratings": ratings},
    )


def _helpsteer2_preference(place: str, row: RawRow) -> Example:
    strength = number_of(place, "preference_strength", need(place, row, "preference_strength"))
    if strength not in range(-3, 4):
        expected = "a whole number from -3 (response 1 is much better) to 3"
        raise bad(place, "preference_strength", row["preference_strength"], expected)
    first = 1.0 if strength < 0 else 0.0 if strength > 0 else 0.5
    meta = _rest("helpsteer2-preference", row) | {"preference_strength": int(strength)}
    fields = ("response_1", "response_2")
    return build(
        place,
        row,
        query=_helpsteer_query(place, row),
        responses=tuple(text_of(place, field, need(place, row, field)) for field in fields),
        gold=(first, 1.0 - first),
        meta=meta,
    )


def _helpsteer_query(place: str, row: RawRow) -> tuple[Message, ...]:
    prompt = text_of(place, "prompt", need(place, row, "prompt"))
    first, *parts = _EXTRA_ID.split(prompt)
    turns = [{"role": "user", "content": first}]
    for role, content in zip(parts[::2], parts[1::2], strict=True):
        turns.append({"role": role.lower(), "content": content})
    return query_of(place, "prompt", turns)


def _rewardbench2(place: str, row: RawRow) -> Example:
    chosen = texts_of(place, "chosen", need(place, row, "chosen"))
    rejected = texts_of(place, "rejected", need(place, row, "rejected"))
    return build(
        place,
        row,
        query=query_of(place, "prompt", need(place, row, "prompt")),
        responses=chosen + rejected,
        gold=(1.0,) * len(chosen) + (0.0,) * len(rejected),
        meta=_rest("rewardbench2", row),
    )


_CONVERTERS: Mapping[Schema, Callable[[str, RawRow], Example]] = {
    "spct": _spct,
    "preference": _preference,
    "ultrafeedback": _ultrafeedback,
    "helpsteer2-preference": _helpsteer2_preference,
    "rewardbench2": _rewardbench2,
}


def _rest(schema: Schema, row: RawRow) -> dict[str, Any]:
    """Return what a foreign row has beyond the schema's fields; a column `meta` is merged in."""
    extra = {k: v for k, v in row.items() if k not in _FIELDS[schema]}
    nested = extra.get("meta")
    return {**extra.pop("meta"), **extra} if isinstance(nested, dict) else extra
