"""Our own rows: every key is known, since a misspelt `gold` would otherwise vanish in `meta`."""

from __future__ import annotations

from spct.data.columns import Columns
from spct.data.fields import build, nearest, need, numbers_of, text_of, texts_of
from spct.data.turns import query_of
from spct.types import Example

KEYS = ("id", "query", "responses", "gold", "reference", "subset", "meta")


def read(row: Columns) -> Example:
    """A row with the fields of an `Example`."""
    place, fields = row.place, row.row
    for key in fields:
        if key not in KEYS:
            fix = f"put what the judge must not see in meta{nearest(key, KEYS)}"
            raise row.bad(key, fields[key], f"only the keys {', '.join(KEYS)}", fix)
        row.take(key, key)  # type: ignore[arg-type]
    meta = fields.get("meta", {})
    if not isinstance(meta, dict):
        raise row.bad("meta", meta, "an object")
    reference = fields.get("reference")
    return build(
        place,
        fields,
        query=query_of(place, "query", need(place, fields, "query")),
        responses=texts_of(place, "responses", need(place, fields, "responses")),
        gold=numbers_of(place, "gold", fields["gold"]) if "gold" in fields else None,
        reference=None if reference is None else text_of(place, "reference", reference),
        meta=meta,
    )
