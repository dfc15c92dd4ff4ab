"""The shape of a verdict as a row of Parquet: a type for every column, and nothing left out.

What has free keys becomes pairs or JSON. The types do not depend on what a run holds, so files of
many runs are one data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spct.runs.codec import Record, to_line

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_COUNTS = ("prompt_tokens", "completion_tokens", "calls", "cached_tokens")


def row(record: Record) -> Record:
    """A verdict's record in the shape of `schema`."""
    made: Record = valid(record)
    made["unscored"] = list(made["unscored"].items())
    for trajectory in made["trajectories"]:
        for reply in (trajectory, *trajectory.get("parts", ())):
            for token in reply.get("logprobs") or ():
                token["top"] = list(token["top"].items())
    if "example" in made:
        made["example"]["meta"] = to_line(made["example"]["meta"])
    return made


def valid(value: Any) -> Any:
    """Copy JSON values with what the other formats cannot hold replaced.

    A lone surrogate becomes its escape; a whole number that no column can hold, which only a run
    from elsewhere has, is null.
    """
    match value:
        case int() if not -(2**63) <= value < 2**63:
            return None
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case list():
            return [valid(item) for item in value]
        case dict():
            return {valid(key): valid(item) for key, item in value.items()}
        case _:
            return value


def schema(first: Sequence[str] = ()) -> pa.Schema:
    """Every column's type; `first` are columns of text before those of a verdict."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    wholes, reals = pa.list_(whole), pa.list_(real)
    messages, criteria = _rows(role=text, content=text), _criteria()
    example = {
        "id": text,
        "query": messages,
        "responses": pa.list_(text),
        "gold": reals,
        "reference": text,
        "subset": text,
        "meta": text,
        "criteria": criteria,
        "group": text,
    }
    return pa.schema(
        [
            *((name, text) for name in first),
            ("id", text),
            ("rewards", reals),
            ("winner", whole),
            ("best", wholes),
            ("k_asked", whole),
            ("k_drawn", whole),
            ("k_counted", whole),
            ("agreement", real),
            ("usage", _usage()),
            ("unscored", pa.map_(text, whole)),
            ("criteria", criteria),
            ("prompts", _rows(order=wholes, hint=whole, messages=messages, criteria=wholes)),
            ("trajectories", _trajectories()),
            ("example", pa.struct(list(example.items()))),
        ]
    )


def _rows(**fields: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.struct(list(fields.items())))


def _usage() -> pa.DataType:
    import pyarrow as pa

    return pa.struct([(name, pa.int64()) for name in _COUNTS])


def _criteria() -> pa.DataType:
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    kinds = {"weight": pa.float64(), "kind": text, "required": pa.bool_()}
    items = _rows(name=text, text=text, **kinds, choices=texts, tags=texts)
    return pa.struct([("items", items), ("source", text)])


def _trajectories() -> pa.DataType:
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    wholes, reals = pa.list_(whole), pa.list_(real)
    unscored = pa.struct([("reason", text), ("detail", text)])
    reply = {
        "text": text,
        "finish_reason": text,
        "usage": _usage(),
        "error": text,
        "token_ids": wholes,
        "logprobs": _rows(token=text, logprob=real, top=pa.map_(text, real)),
    }
    checked = pa.struct([("met", reals), ("overall", real), ("critique", text)])
    decided = {"question": text, "options": pa.list_(text), "probabilities": reals}
    return _rows(
        index=whole,
        seed=whole,
        order=wholes,
        hint=whole,
        prompt=whole,
        principles=_rows(name=text, weight=text, text=text),
        critique=text,
        scores=reals,
        expected=reals,
        decisions=_rows(**decided, confidence=real, option_mass=real),
        unscored=unscored,
        **reply,
        meta_score=real,
        fingerprint=text,
        parts=_rows(prompt=whole, seed=whole, checked=checked, unscored=unscored, **reply),
    )
