"""One line of requests for several servers: who goes next, and where to. Pure but for its futures.

A request goes to the server that has its prefix in its cache, if that one is free; so do up to
`PASSED` requests from further back, before the first in line goes anywhere else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WINDOW = 64  # so many requests at the head of the line are looked at for a prefix
PASSED = 16
HOMES = 2**14  # prefixes whose server is remembered

Server = TypeVar("Server")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Server]):
    turn: asyncio.Future[Server]
    prefix: int | None
    tried: Collection[Server]
    passed: int = 0


class Line(Generic[Server]):
    """Requests in the order of their arrival; `serve` sends one of them to a server."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting[Server]] = deque()
        self._homes: OrderedDict[int, Server] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, prefix: int | None, tried: Collection[Server]) -> asyncio.Future[Server]:
        """Stand in line; the future is the server. `tried` ones come last."""
        turn: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(turn, prefix, frozenset(tried)))
        return turn

    def serve(self, free: Sequence[Server], up: Sequence[Server]) -> Server | None:
        """Send one request to one of the `free` servers, the least busy first; None if none can go.

        `up` are all that work: who has tried them all may try them again.
        """
        while self._waiting and self._waiting[0].turn.done():  # cancelled
            self._waiting.popleft()
        waiting, server = next(self._matches(free, up), (None, None))
        if waiting is None or server is None:
            return None
        self._waiting.remove(waiting)
        if waiting.prefix is not None:
            self._homes[waiting.prefix] = server
            self._homes.move_to_end(waiting.prefix)
            if len(self._homes) > HOMES:
                self._homes.popitem(last=False)
        waiting.turn.set_result(server)
        return server

    def _matches(
        self, free: Sequence[Server], up: Sequence[Server]
    ) -> Iterator[tuple[_Waiting[Server], Server]]:
        """Who may go where, the best first."""
        line = [w for w, _ in zip(self._waiting, range(WINDOW), strict=False) if not w.turn.done()]
        for waiting in line if line and line[0].passed < PASSED else ():
            home = self._homes.get(waiting.prefix) if waiting.prefix is not None else None
            if home is not None and home in free and home not in waiting.tried:
                line[0].passed += waiting is not line[0]
                yield waiting, home
        for waiting in line:
            untried = [server for server in free if server not in waiting.tried]
            if untried or all(server in waiting.tried for server in up):
                yield waiting, (untried or free)[0]

    def end(self, error: Exception) -> None:
        """Tell everybody in line that nothing more is served."""
        while self._waiting:
            turn = self._waiting.popleft().turn
            if not turn.done():
                turn.set_exception(error)
