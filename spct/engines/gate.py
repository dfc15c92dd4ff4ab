"""Lets calls through to an endpoint: at most the limit in flight, first come first served, paced.

The asyncio half of `adaptive`. A plain semaphore does not do, because its size changes while it is
in use.
"""

from __future__ import annotations

import asyncio
from collections import deque

from spct.engines.adaptive import AdaptiveLimit, Pacer


class Gate:
    """`await enter(tokens)`, then always `leave()`. Safe to cancel while waiting.

    Who queues calls for several gates enters in two steps: `take()` where there `has_room`, then
    `await pace(tokens)`.
    """

    def __init__(
        self, limit: AdaptiveLimit, *, calls: Pacer | None = None, tokens: Pacer | None = None
    ) -> None:
        self.limit, self.calls, self.tokens = limit, calls, tokens
        self.in_flight = 0
        self.closed_until = 0.0  # of the loop's clock
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, tokens: int) -> None:
        """Wait for a free slot and for the quota of a call of about that many tokens."""
        await self.wait_for_slot()
        try:
            await self.pace(tokens)
        except BaseException:
            self.leave()
            raise

    def has_room(self, now: float) -> bool:
        """Whether a call could start now, but for the quota."""
        return self.in_flight < self.limit.limit and now >= self.closed_until

    def take(self) -> None:
        """Take a slot where there `has_room`."""
        self.in_flight += 1

    def leave(self) -> None:
        """Free the slot."""
        self.in_flight -= 1
        self._wake()

    def close_for(self, seconds: float) -> None:
        """Let no call start for so long, because the server asked for it."""
        until = asyncio.get_running_loop().time() + seconds
        self.closed_until = max(self.closed_until, until)

    async def wait_for_slot(self) -> None:
        """Wait in line for a free slot."""
        if self.in_flight < self.limit.limit and not self._waiting:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever wakes it has already counted it in
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.limit.limit:
            turn = self._waiting.popleft()
            if not turn.done():  # done here means cancelled
                self.in_flight += 1
                turn.set_result(None)

    async def pace(self, tokens: int) -> None:
        """Wait, in a slot, until the quota and the server let a call start."""
        clock = asyncio.get_running_loop().time
        start = now = clock()
        if self.calls is not None:
            start = max(start, now + self.calls.reserve(now, 1))
        if self.tokens is not None:
            start = max(start, now + self.tokens.reserve(now, tokens))
        while (wait := max(start, self.closed_until) - now) > 0:
            await asyncio.sleep(wait)  # in which the server may ask for more
            now = clock()
