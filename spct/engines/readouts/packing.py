"""Prompts with a common beginning as one row of tokens, so that one forward reads them all.

The rests stand one after another behind what they share, each with the positions that it would have
by itself, and an attention mask keeps them apart: a token sees the shared ones and its own rest's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

SHARED = -1
MOST_TOKENS = 2048  # of rests in one row: a mask has the square of all its tokens


class Packed(NamedTuple):
    """One row: of each token its id, its position and its rest (or SHARED); where rests end."""

    ids: list[int]
    places: list[int]
    owners: list[int]
    last: list[int]


def packed(
    shared: Sequence[int], rests: Sequence[Sequence[int]], *, one_by_one: bool = False
) -> Iterator[Packed]:
    """All rests in order, in as few rows as the limit allows; each row has `shared` again."""
    most = 0 if one_by_one else max(MOST_TOKENS, len(shared) // 4)
    some: list[Sequence[int]] = []
    for rest in rests:
        if some and sum(map(len, some)) + len(rest) > most:
            yield _row(shared, some)
            some = []
        some.append(rest)
    if some:
        yield _row(shared, some)


def _row(shared: Sequence[int], rests: Sequence[Sequence[int]]) -> Packed:
    n = len(shared)
    return Packed(
        [*shared, *(token for rest in rests for token in rest)],
        [*range(n), *(n + at for rest in rests for at in range(len(rest)))],
        [*[SHARED] * n, *(i for i, rest in enumerate(rests) for _ in rest)],
        [n + end - 1 for end in accumulate(map(len, rests))],
    )
