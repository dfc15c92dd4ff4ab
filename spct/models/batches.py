"""Length-sorted batches: how sequences of unequal length share forwards without padding waste.

A batch pads every sequence to its longest one. Sorted by length, neighbours differ little, and a
batch is closed as soon as the next sequence would push the share of padding above `MAX_WASTE`. So
the bound holds for every batch of every input, not on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_WASTE = 0.10


def length_sorted(
    lengths: Sequence[int], *, max_batch: int, max_tokens: int
) -> Iterator[list[int]]:
    """Yield batches of indices, longest first; `max_tokens` counts padding and never splits one."""
    batch: list[int] = []
    width = used = 0
    # longest first: a batch that does not fit into memory fails at once, not after an hour
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        padded = (len(batch) + 1) * width
        full = len(batch) == max_batch or padded > max_tokens
        if batch and (full or padded - used - lengths[index] > MAX_WASTE * padded):
            yield batch
            batch, used = [], 0
        if not batch:
            width = lengths[index]
        batch.append(index)
        used += lengths[index]
    if batch:
        yield batch


def waste(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of padding in what the batches compute."""
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths) / padded if padded else 0.0
