"""A bounded number of judgements at once, first come first served, and how long the wait is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """Slots for judgements; `waiting` and `busy` are read by admission and metrics."""

    def __init__(self, size: int, queue: int) -> None:
        self.size, self.queue = size, queue
        self.waiting = 0
        self.busy = 0
        self._semaphore = asyncio.Semaphore(size)
        self._mean_s = 1.0

    @property
    def is_full(self) -> bool:
        """Whether another example would wait beyond the queue's bound."""
        return self.busy >= self.size and self.waiting >= self.queue

    @property
    def retry_after_s(self) -> int:
        """An honest guess at when there is room: the queue's length at the recent pace."""
        return max(1, min(60, math.ceil((self.waiting + 1) / self.size * self._mean_s)))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        self.waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self.waiting -= 1
        self.busy += 1
        started = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.busy -= 1
            self._semaphore.release()
            took = asyncio.get_running_loop().time() - started
            self._mean_s += 0.1 * (took - self._mean_s)
