"""One SQLite file a run: every reply before it is parsed, every verdict once it is settled.

Killing the process at any point loses nothing that was acknowledged: `await put_...` returns after
the commit, and rows that arrive together share one. A run folder has one writer; the lock is the
operating system's, so it dies with its holder. Each row carries a checksum, and a row that fails it
is moved to `quarantine` and counted, then redone, never trusted.

Texts and ids are BLOBs of UTF-8 that lets lone surrogates through: no reply is unstorable. To read
replies in the sqlite3 shell: `select cast(payload as text) from calls`. Verdicts repeat texts, so
theirs is deflated to about a quarter: the scan that finds what is finished reads all of them.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from spct.errors import StoreError
from spct.runs.codec import (
    Record,
    decode,
    dump_completion,
    dump_example,
    dump_verdict,
    encode,
    load_completion,
    load_verdict,
)
from spct.runs.commit import GroupCommit, Row
from spct.runs.database import (
    DB_NAME,
    check_version,
    connect_reader,
    connect_writer,
    set_aside,
    settle_config,
    storage,
    stored_config,
)
from spct.runs.folder import RunLock
from spct.types import Completion, Example, Verdict

_PAGE = 64  # verdicts read at once: bounds memory, whatever the size of the run
_VERDICT = "rowid, example_id, payload, checksum, position, n_failed"
_PUT_CALL = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
_PUT_FAILED = "INSERT INTO failed_calls VALUES (?, ?, ?, ?, ?, ?)"
_PUT_VERDICT = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?)"
_PUT_QUARANTINE = "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)"

_log = logging.getLogger(__name__)


class Store:
    """The record of one run. `Store.open` continues or creates it, `Store.read` only looks."""

    def __init__(self, folder: Path, reader: sqlite3.Connection, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.n_damaged = 0  # rows found damaged since this store was opened
        self._reader = reader
        self._writer: GroupCommit | None = None
        self._lock: RunLock | None = None

    # --- open and close ---------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        folder: str | Path,
        config: Mapping[str, Any],
        *,
        fresh: bool = False,
        accept_drift: bool = False,
        durable: bool = False,
    ) -> Store:
        """Continue the run in `folder`, or begin it; only one process at a time may.

        `config` is flat and holds JSON values: all that a finished verdict depends on. `fresh` sets
        an earlier run.db aside under another name. `durable` survives power loss too, not only the
        death of the process; each commit then waits for the disk.
        """
        folder = Path(folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {folder}: {error}") from error
        lock = RunLock(folder)
        try:
            if fresh:
                set_aside(folder / DB_NAME)
            with storage("open", folder / DB_NAME):
                db = connect_writer(folder / DB_NAME, durable)
                try:
                    known = settle_config(db, folder, dict(config), accept_drift)
                    store = cls(folder, connect_reader(folder / DB_NAME), known)
                except BaseException:
                    db.close()
                    raise
        except BaseException:
            lock.release()
            raise
        store._lock = lock
        store._writer = GroupCommit(db, folder / DB_NAME)
        return store

    @classmethod
    def read(cls, folder: str | Path) -> Store:
        """Look at a run without the lock, also while another process writes it."""
        path = Path(folder) / DB_NAME
        if not path.is_file():
            raise StoreError(f"no run in {folder}: expected the file {path}")
        with storage("read", path):
            reader = connect_reader(path)
            try:
                check_version(reader, path)
                return cls(Path(folder), reader, stored_config(reader) or {})
            except BaseException:
                reader.close()
                raise

    def close(self) -> None:
        """Commit what waits, then let go of the files and the lock. Idempotent."""
        writer, lock, self._writer, self._lock = self._writer, self._lock, None, None
        self._reader.close()
        try:
            if writer is not None:
                writer.close()
        finally:
            if lock is not None:
                lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- replies ----------------------------------------------------------------------------

    async def put_replies(
        self, example_id: str, replies: Sequence[tuple[bytes, int, Completion]]
    ) -> None:
        """Record `(key, seed, completion)` triples in one commit.

        A failed call and a refusal are kept apart: they are evidence, and never replayed.
        """
        rows, now, blob = [], time.time(), _blob(example_id)
        for key, seed, completion in replies:
            payload = encode(dump_completion(completion))
            put = _PUT_FAILED if is_failed(completion) else _PUT_CALL
            rows.append((put, (key, blob, seed, payload, _checksum(key, payload), now)))
        await self._write(rows)

    def replies(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Return the stored replies among `keys`."""
        return self._completions("calls", keys)

    def failures(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Return the latest failed call or refusal for each of `keys` that has one."""
        return self._completions("failed_calls", keys)

    def _completions(self, table: str, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        marks = ",".join("?" * len(keys))
        query = (
            f"SELECT rowid, key, payload, checksum FROM {table} WHERE key IN ({marks})"
            " ORDER BY rowid"
        )
        found: dict[bytes, Completion] = {}
        for row in self._fetch(query, tuple(keys)):
            _, key, payload, checksum = row
            if _is_sound(checksum, key, payload):
                found[key] = load_completion(decode(payload))
            else:
                self._quarantine(table, [row])
        return found

    # --- verdicts ---------------------------------------------------------------------------

    async def put_verdict(
        self, verdict: Verdict, example: Example | None = None, *, position: int = 0
    ) -> None:
        """Record a verdict, in place of an earlier one of the same example.

        `example` keeps the original texts beside it, `position` is its place in the input.
        """
        record = dump_verdict(verdict)
        if example is not None:
            record["example"] = dump_example(example)
        payload, blob = zlib.compress(encode(record), 1), _blob(verdict.example_id)
        n_failed = verdict.unscored.get("failed", 0)
        checksum = _checksum(blob, payload, position, n_failed)
        row = (blob, position, n_failed, payload, checksum, time.time())
        await self._write([(_PUT_VERDICT, row)])

    def finished_ids(self) -> set[str]:
        """Return the examples that need no more work, after checking every verdict's checksum.

        A verdict with a failed call is not among them: the next run tries those calls again.
        """
        finished, damaged = set(), []
        query = f"SELECT {_VERDICT} FROM verdicts"
        with storage("read", self.folder / DB_NAME):
            for *row, position, n_failed in self._reader.execute(query):
                _, blob, payload, checksum = row
                if not _is_sound(checksum, blob, payload, position, n_failed):
                    damaged.append(row)
                elif not n_failed:
                    finished.add(_text(blob))
        self._quarantine("verdicts", damaged)
        return finished

    def records(self) -> Iterator[Record]:
        """Yield every verdict's record (see `spct.runs.codec`) by position, a page at a time.

        A record has the key `example` where the example was stored with its verdict.
        """
        query = (
            f"SELECT {_VERDICT} FROM verdicts WHERE (position, example_id) > (?, ?)"
            f" ORDER BY position, example_id LIMIT {_PAGE}"
        )
        after: tuple[int, bytes] = (-(2**63), b"")
        while page := self._fetch(query, after):
            for *row, position, n_failed in page:
                _, blob, payload, checksum = row
                if _is_sound(checksum, blob, payload, position, n_failed):
                    yield decode(zlib.decompress(payload))
                else:
                    self._quarantine("verdicts", [row])
                after = (position, blob)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield every verdict by position, without loading them all."""
        return map(load_verdict, self.records())

    def counts(self) -> dict[str, int]:
        """Return how many rows there are: calls, failed_calls, verdicts and quarantine."""
        tables = ("calls", "failed_calls", "verdicts", "quarantine")
        return {t: self._fetch(f"SELECT count(*) FROM {t}", ())[0][0] for t in tables}

    # --- inside -----------------------------------------------------------------------------

    def _fetch(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with storage("read", self.folder / DB_NAME):
            return self._reader.execute(query, values).fetchall()

    async def _write(self, rows: Sequence[Row]) -> None:
        await self._open_writer().put(rows)

    def _open_writer(self) -> GroupCommit:
        if self._writer is None:
            raise StoreError(f"cannot write to {self.folder}: it is closed or open for reading")
        return self._writer

    def _quarantine(self, table: str, damaged: Collection[Sequence[Any]]) -> None:
        """Move damaged rows out of `table`; a store that only reads just leaves them out."""
        for rowid, key, payload, checksum in damaged:
            self.n_damaged += 1
            _log.warning("%s: row %d of %s is damaged and left out", self.folder, rowid, table)
            if self._writer is not None:
                moved = (table, key, payload, checksum, time.time())
                delete = f"DELETE FROM {table} WHERE rowid = ?"
                self._writer.put_now([(_PUT_QUARANTINE, moved), (delete, (rowid,))])


def is_failed(completion: Completion) -> bool:
    """Say whether a completion must never be replayed: its call failed, or a filter stopped it."""
    return completion.finish_reason in ("error", "content_filter")


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _is_sound(checksum: object, key: object, payload: object, *numbers: int) -> bool:
    """Compare a row with its checksum; damage may have changed the type of a value too."""
    if not (isinstance(key, bytes) and isinstance(payload, bytes)):
        return False
    return checksum == _checksum(key, payload, *numbers)


def _checksum(key: bytes, payload: bytes, *numbers: int) -> bytes:
    """Cover a row's key too, so that a row under another one's key is found out."""
    digest = sha256(key)
    digest.update(repr(numbers).encode())
    digest.update(payload)
    return digest.digest()[:16]
