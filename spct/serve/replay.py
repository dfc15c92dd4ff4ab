"""Answers given again: retries with an Idempotency-Key, and equal requests, share one answer.

The first request with a key does the work; others with that key wait for it, or get the stored
reply. When every waiting client has gone the work is cancelled and the key is free again. Only
successes are kept; a reply that holds a failed judgement is kept for its key, because the same key
must get the same answer, but not for equal content, because a new try may succeed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from starlette.responses import Response

from spct.serve.errors import HttpError

UNSCORED = "X-Spct-Unscored"  # how many judgements of a reply failed


@dataclass(slots=True)
class _Entry:
    body: bytes  # digest of the request's body
    task: asyncio.Task[Response]
    waiting: int = 0
    forget_at: float = 0.0
    size: int = 0


class Replays:
    """Running and stored answers, bounded in number, bytes and age."""

    def __init__(
        self,
        keep_s: float,
        *,
        max_entries: int = 8192,
        max_bytes: int = 64_000_000,
        on_replay: Callable[[], None] = lambda: None,
    ) -> None:
        self._keep_s, self._max_entries, self._max_bytes = keep_s, max_entries, max_bytes
        self._on_replay = on_replay
        self._entries: dict[Hashable, _Entry] = {}
        self._stored: dict[Hashable, int] = {}  # by the time of their end -> bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        """How large the stored answers are together."""
        return self._bytes

    async def answer(
        self,
        key: Hashable,
        body: bytes,
        work: Callable[[], Awaitable[Response]],
        *,
        keep_unscored: bool,
    ) -> Response:
        """The answer to a request; `work` runs if nobody has begun it."""
        self._forget_old()
        entry = self._entries.get(key)
        if entry is None:
            task = asyncio.ensure_future(work())
            assert isinstance(task, asyncio.Task)
            entry = self._entries[key] = _Entry(body, task)
            task.add_done_callback(lambda _: self._end(key, entry, keep_unscored))
        elif entry.body != body:
            raise HttpError(
                409,
                "key_reused",
                "this Idempotency-Key came with another body before; use a new key for a new "
                "request",
                param="Idempotency-Key",
            )
        else:
            self._on_replay()
        entry.waiting += 1
        try:
            return await asyncio.shield(entry.task)
        finally:
            entry.waiting -= 1
            if not entry.waiting and not entry.task.done():
                entry.task.cancel()
                self._drop(key, entry)

    def _end(self, key: Hashable, entry: _Entry, keep_unscored: bool) -> None:
        task = entry.task
        failed = task.cancelled() or task.exception() is not None
        if self._entries.get(key) is not entry:
            return
        if failed or not _is_kept(task.result(), keep_unscored):
            self._drop(key, entry)
            return
        entry.forget_at = asyncio.get_running_loop().time() + self._keep_s
        entry.size = len(task.result().body) + 512
        self._stored[key] = entry.size
        self._bytes += entry.size
        while len(self._stored) > self._max_entries or self._bytes > self._max_bytes:
            oldest = next(iter(self._stored))
            self._drop(oldest, self._entries[oldest])

    def _forget_old(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._stored:
            oldest = next(iter(self._stored))
            if self._entries[oldest].forget_at > now:
                return
            self._drop(oldest, self._entries[oldest])

    def _drop(self, key: Hashable, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._bytes -= self._stored.pop(key, 0)


def _is_kept(response: Response, keep_unscored: bool) -> bool:
    if response.status_code != 200:
        return False
    return keep_unscored or response.headers.get(UNSCORED, "0") == "0"
