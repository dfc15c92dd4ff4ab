"""plan (pure): an example and k give prompts, each with its order and how many samples to draw.

Orders are balanced by default: the k samples share few prompts (an engine computes each prompt
once), chosen so that every response stands in every position equally often. "random" is the
paper's way, a fresh shuffle before each sample; "fixed" shows the given order. Training repeats one
prompt G times instead, a group of GRPO: that is `plan(..., orders="fixed")`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spct.core.format import Format
from spct.types import Example, Message, Prompt

Orders = Literal["balanced", "random", "fixed"]
MAX_ORDERS = 8


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
    turns = [[turn.role, turn.content] for turn in query]
    content = json.dumps([turns, list(responses), reference], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def sample_seed(run_seed: int, example_id: str, index: int) -> int:
    """The seed of one sample, 31 bits: it depends on neither batching nor order."""
    key = f"{run_seed}\0{example_id}\0{index}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest()) & 0x7FFFFFFF


def balanced_orders(n: int, rng: random.Random, cap: int = MAX_ORDERS) -> list[tuple[int, ...]]:
    """The distinct orders that samples go through in turn: at most min(n!, cap), at least n.

    Whole sets of the n cyclic shifts of a base order, each new base drawn from what is left. So
    after every n samples each response has stood in each position equally often, whatever k is.
    """
    wanted = min(math.factorial(min(n, 12)), max(cap, n)) // n * n
    orders: dict[tuple[int, ...], None] = {}
    while len(orders) < wanted:
        base = tuple(rng.sample(range(n), n))
        if base not in orders:
            orders |= {base[i:] + base[:i]: None for i in range(n)}
    return list(orders)


def order_of(example: Example, index: int, orders: Orders, seed: int) -> tuple[int, ...]:
    """The order that sample `index` shows the responses in; it does not depend on k."""
    match orders:
        case "fixed":
            return tuple(range(example.n))
        case "random":
            rng = random.Random(sample_seed(seed, example.id, index))
            return tuple(rng.sample(range(example.n), example.n))
        case "balanced":
            rng = random.Random(sample_seed(seed, example.id, -1))
            some = balanced_orders(example.n, rng)
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
    """The calls for samples start..stop-1 of `k` (all by default), one for each distinct order."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in range(start, k if stop is None else stop):
        groups.setdefault(order_of(example, index, orders, seed), []).append(index)
    return [
        Call(
            fmt.render(example, order, hint),
            tuple(indices),
            tuple(sample_seed(seed, example.id, i) for i in indices),
        )
        for order, indices in groups.items()
    ]
