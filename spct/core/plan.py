"""plan (pure): an example and k give prompts, each with its order and how many samples to draw.

Orders are balanced by default: the k samples share few prompts (an engine computes each prompt
once), chosen so that every response stands in every position equally often and, from n = 4 on,
directly before every other. "cyclic" balances the positions alone, "random" is the paper's way, a
fresh shuffle before each sample; "fixed" shows the given order. Training repeats one
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

Orders = Literal["balanced", "cyclic", "random", "fixed"]
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


def balanced_orders(n: int, rng: random.Random) -> list[tuple[int, ...]]:
    """The distinct orders that samples go through in turn, from a random naming of the responses.

    After every n samples each response has stood in each place equally often, whatever k is. From
    n = 4 on the orders are a Williams square: after n samples (2n where n is odd) each response
    has also stood directly before each other one equally often. The shifts of one order, which
    would do for the places, show some pairs side by side in all orders and others in none.
    """
    if n < 4:  # all orders there are
        return cyclic_orders(n, rng)
    names = rng.sample(range(n), n)
    # 0, n-1, 1, n-2, ...: the steps between neighbours are all different, so the shifts of this
    # row hold each pair once (n even), or together with their mirror images twice (n odd).
    zigzag = [i // 2 if i % 2 == 0 else n - 1 - i // 2 for i in range(n)]
    rows = [tuple(names[(place + i) % n] for place in zigzag) for i in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def cyclic_orders(n: int, rng: random.Random, cap: int = MAX_ORDERS) -> list[tuple[int, ...]]:
    """At most min(n!, cap) orders, at least n: whole sets of the n cyclic shifts of an order."""
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
