"""Orders and seeds: in which order a sample shows the responses and the criteria, and its seed."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Literal

from spct.text.format import Format
from spct.types import Example

Orders = Literal["balanced", "cyclic", "random", "fixed"]
MAX_ORDERS = 8


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


def criteria_order(
    example: Example, fmt: Format, index: int, orders: Orders, seed: int
) -> tuple[int, ...]:
    """The order that sample `index` shows the example's criteria in; () where it shows none."""
    if not fmt.shows_criteria or example.criteria is None:
        return ()
    m = len(example.criteria.items)
    if orders == "fixed" or fmt.asks_one:
        return tuple(range(m))
    if orders == "random":
        rng = random.Random(sample_seed(seed, f"{example.id}\0criteria", index))
        return tuple(rng.sample(range(m), m))
    some = balanced_orders(m, random.Random(sample_seed(seed, f"{example.id}\0criteria", -1)))
    return some[index % len(some)]


def chunks(shown: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """The criteria in pieces of at most `most`, as equal as can be."""
    n = -(-len(shown) // most)
    ends = [len(shown) * i // n for i in range(n + 1)]
    for start, end in itertools.pairwise(ends):
        yield tuple(shown[start:end])
