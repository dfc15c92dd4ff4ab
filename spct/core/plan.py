"""plan (pure): an example and k give prompts, each with its order and how many samples to draw.

Orders are balanced by default: the k samples share few prompts (an engine computes each prompt
once), chosen so that every response stands in every position equally often and, from n = 4 on,
directly before every other. "cyclic" balances the positions alone, "random" is the paper's way, a
fresh shuffle before each sample; "fixed" shows the given order. Training repeats one
prompt G times instead, a group of GRPO: that is `plan(..., orders="fixed")`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _json

from spct.core.orders import (
    Orders,
    balanced_orders,
    chunks,
    criteria_order,
    cyclic_orders,
    sample_seed,
)
from spct.text.format import Format
from spct.types import Example, Message, Prompt

Shown = tuple[tuple[int, ...], tuple[int, ...]]  # the orders of responses and of criteria


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an engine: a prompt, the sample indices drawn from it, and their seeds."""

    prompt: Prompt
    indices: tuple[int, ...]
    seeds: tuple[int, ...]


def content_id(
    query: Sequence[Message], responses: Sequence[str], reference: str | None = None
) -> str:
    """The id of an example that has none of its own: a digest of what is judged, in this order.

    Seeds depend on the id, so one question has the same seeds through a file, `--query`, Python, a
    gateway and a hook.
    """
    # JSON of [[[role, content], ...], [response, ...], reference]; put together here because a
    # shard names every row of its input, and json.dumps took longer than reading the row.
    turns = ", ".join([f"[{_json(turn.role)}, {_json(turn.content)}]" for turn in query])
    last = "null" if reference is None else _json(reference)
    content = f"[[{turns}], [{', '.join(map(_json, responses))}], {last}]"
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def order_of(example: Example, index: int, orders: Orders, seed: int) -> tuple[int, ...]:
    """The order that sample `index` shows the responses in; it does not depend on k."""
    match orders:
        case "fixed":
            return tuple(range(example.n))
        case "random":
            rng = random.Random(sample_seed(seed, example.id, index))
            return tuple(rng.sample(range(example.n), example.n))
        case "balanced" | "cyclic":
            rng = random.Random(sample_seed(seed, example.id, -1))
            some = (balanced_orders if orders == "balanced" else cyclic_orders)(example.n, rng)
            return some[index % len(some)]


def plan(
    example: Example,
    fmt: Format,
    k: int,
    *,
    orders: Orders = "balanced",
    seed: int = 0,
    hint: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> list[Call]:
    """The calls for samples start..stop-1 of `k` (all by default), one for each distinct prompt."""
    fmt.check(example)
    groups: dict[Shown, list[int]] = {}
    for index in range(start, k if stop is None else stop):
        criteria = criteria_order(example, fmt, index, orders, seed)
        if fmt.pattern == "met":  # one response a call, and a piece of a long list
            shown: list[Shown] = [
                ((i,), piece) for i in range(example.n) for piece in chunks(criteria, fmt.chunk)
            ]
        else:
            shown = [(order_of(example, index, orders, seed), criteria)]
        for one in shown:
            groups.setdefault(one, []).append(index)
    return [
        Call(
            fmt.render(example, order, hint, criteria),
            tuple(indices),
            tuple(sample_seed(seed, _name(example, fmt, order, criteria), i) for i in indices),
        )
        for (order, criteria), indices in groups.items()
    ]


def _name(example: Example, fmt: Format, order: tuple[int, ...], criteria: tuple[int, ...]) -> str:
    """What a sample's seed is made of beside its index: the parts of a judgement differ in it."""
    if fmt.pattern != "met":
        return example.id
    return f"{example.id}\0{order[0]}\0{','.join(map(str, criteria))}"
