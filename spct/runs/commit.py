"""Group commit: rows from many tasks go to SQLite in one transaction, on one thread.

The event loop gathers rows while a commit is under way, or for a moment if none is, and wakes the
thread once a batch. The cost of a row stays close to that of its INSERT, also on a slow disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from spct.errors import StoreError
from spct.runs.database import storage

Row = tuple[str, tuple[Any, ...]]  # a statement and its values
Waiters = list[asyncio.Future[None]]

BATCH_ROWS = 64  # so many rows wait for no more
LINGER_S = 0.002  # how long fewer wait for company: far below any LM call

_log = logging.getLogger(__name__)


class GroupCommit:
    """Owns the connection that writes. A batch is committed whole or not at all."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._thread = ThreadPoolExecutor(1, "spct-store")
        self._rows: list[Row] = []
        self._waiting: Waiters = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_committing = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def put(self, rows: Sequence[Row]) -> None:
        """Return once `rows` are committed, all in the same transaction; raise StoreError if not.

        Rows stay queued when the caller is cancelled: a reply that was paid for is written.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what belonged to a loop that ended is dead, but for the rows
            self._loop, self._timer, self._waiting, self._is_committing = loop, None, [], False
        done = loop.create_future()
        self._rows.extend(rows)
        self._waiting.append(done)
        if not self._is_committing:
            if len(self._rows) >= BATCH_ROWS:
                self._flush(loop)
            elif self._timer is None:
                self._timer = loop.call_later(LINGER_S, self._flush, loop)
        await done

    def put_now(self, rows: Sequence[Row]) -> None:
        """Commit `rows` and return: for the few writes made outside an event loop."""
        self._thread.submit(self._commit, rows).result()

    def close(self) -> None:
        """Commit what is queued, then close the connection. Idempotent."""
        rows, waiting = self._take()
        try:
            if rows:
                self.put_now(rows)
        finally:
            for done in waiting:
                done.cancel()
            self._thread.shutdown()
            self._db.close()

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        rows, waiting = self._take()
        self._is_committing = True
        commit = loop.run_in_executor(self._thread, self._commit, rows)
        commit.add_done_callback(partial(self._release, loop, waiting))

    def _take(self) -> tuple[list[Row], Waiters]:
        rows, waiting, self._rows, self._waiting = self._rows, self._waiting, [], []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return rows, waiting

    def _commit(self, rows: Sequence[Row]) -> None:
        with storage("write to", self._path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for statement, values in rows:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _release(
        self, loop: asyncio.AbstractEventLoop, waiting: Waiters, commit: asyncio.Future[None]
    ) -> None:
        error = commit.exception()
        alive = [done for done in waiting if not done.done()]
        if error is not None and not alive:  # every caller was cancelled, and somebody must say it
            _log.error("%s", error)
        for done in alive:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(StoreError(str(error)))
        self._is_committing = False
        if self._rows:
            self._flush(loop)
