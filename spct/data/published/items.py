"""The Examples of a benchmark: one maker for all loaders, so that every item is built alike.

`meta` holds what rules and reports need, and no judge sees: `unit` (what the rule scores as one),
`cluster` (the prompt, for resampling), `source` (the source row, for counting) and `place`.

Where a benchmark publishes the right response first (chosen, rejected), the responses are shuffled
here by a hash of the id. A model that looks at positions gains nothing, and "first position" is a
meaningful baseline.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

from spct.data.published.readers import Read
from spct.data.published.sources import Row
from spct.errors import DataError
from spct.types import Example, Message


def item(
    row: Row,
    id: str,
    query: tuple[Message, ...],
    responses: Sequence[str],
    gold: Sequence[float],
    subset: str,
    **meta: Any,
) -> Example:
    """One Example; its unit and source are its id unless `meta` says otherwise."""
    text = "\0".join(f"{turn.role}\0{turn.content}" for turn in query)
    cluster = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    known = {"unit": id, "cluster": cluster, "source": id, "place": row.place}
    return Example(id, query, tuple(responses), tuple(gold), subset=subset, meta=known | meta)


def user(text: str) -> tuple[Message, ...]:
    """A query of one user turn."""
    return (Message("user", text),)


def shuffled(
    id: str, chosen: Sequence[str], rejected: Sequence[str]
) -> tuple[list[str], list[float], list[int]]:
    """Right and wrong responses in an order that the id decides: texts, gold, former places."""
    entries = [(text, 1.0, i) for i, text in enumerate(chosen)]
    entries += [(text, 0.0, i) for i, text in enumerate(rejected)]
    random.Random(f"order of {id}").shuffle(entries)
    texts, gold, origins = (list(part) for part in zip(*entries, strict=True))
    return texts, gold, origins


def preference(
    row: Row, id: str, query: tuple[Message, ...], chosen: str, rejected: str, subset: str
) -> Example:
    """A pair of which the first is right, shuffled."""
    texts, gold, _ = shuffled(id, [chosen], [rejected])
    return item(row, id, query, texts, gold, subset)


def both_orders(row: Row, id: str, read: Read, subset: str) -> Iterator[Example]:
    """A pair as two presentations of one unit: as published, and swapped."""
    assert read.gold is not None
    for number, step in (("1", 1), ("2", -1)):
        responses, gold = read.responses[::step], read.gold[::step]
        yield item(row, f"{id}#{number}", read.query, responses, gold, subset, unit=id, source=id)


def problems_of(examples: Sequence[Example]) -> list[str]:
    """Raise for an id that occurs twice; return what is odd but published that way."""
    place_of: dict[str, str] = {}
    problems = []
    for example in examples:
        place = str(example.meta["place"])
        if example.id in place_of:
            raise DataError(
                f"reading {place}: id: got {example.id!r}, expected an id that occurs once; "
                f"{place_of[example.id]} has it too"
            )
        place_of[example.id] = place
        if len(set(example.responses)) < example.n and not example.id.endswith("#2"):
            problems.append(f"{place}: {example.id}: equal responses; kept, as published")
        elif not all(response.strip() for response in example.responses):
            problems.append(f"{place}: {example.id}: an empty response; kept, as published")
    return problems
