"""One SQLite file per run: every reply before it is parsed, every verdict once it is settled.

Killing the process at any point loses nothing that was acknowledged: `await put_...` returns after
the commit, and rows that arrive together share one. A run folder has one writer; the lock is the
operating system's, so it dies with its holder. A row that is damaged, or is not what this spct
writes (see `spct.runs.rows`), is moved to `quarantine` when it is read, and counted, then redone,
never trusted.

Texts and ids are BLOBs of UTF-8 that lets lone surrogates through: no reply is unstorable. To read
replies in the sqlite3 shell: `select cast(payload as text) from calls`.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spct.errors import StoreError
from spct.runs.codec import BadRecord, Record, decode, dump_example, load_completion
from spct.runs.commit import GroupCommit, Row
from spct.runs.database import (
    DB_NAME,
    VERSION,
    check_version,
    connect_reader,
    connect_writer,
    set_aside,
    settle_config,
    storage,
    stored_config,
)
from spct.runs.folder import RunLock
from spct.runs.packed import Packed
from spct.runs.rows import (
    IN_ORDER,
    OF_EXAMPLE,
    PAYLOAD,
    STORED_AFTER,
    Reply,
    Sound,
    blob,
    is_sound,
    pack,
    packed,
    reply_rows,
    text_of,
    unpack,
    verdict_row,
)
from spct.types import Completion, Example, Verdict

_PAGE = 64  # verdicts read at once: bounds memory, whatever the size of the run
_KEYS = {"calls": "key", "failed_calls": "key", "verdicts": "example_id"}

_log = logging.getLogger(__name__)


class Store:
    """The record of one run. `Store.open` continues or creates it, `Store.read` only looks."""

    def __init__(self, folder: Path, reader: sqlite3.Connection, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.n_damaged = 0  # rows found damaged since this store was opened
        self._reader = reader
        self._version = check_version(reader, folder / DB_NAME)
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
        lock: RunLock | None = None,
    ) -> Store:
        """Continue the run in `folder`, or begin it; only one process at a time may.

        `config` is flat and holds JSON values: all that a finished verdict depends on. `fresh` sets
        an earlier run.db aside under another name. `durable` survives power loss too, not only the
        death of the process; each commit then waits for the disk. `lock` is that of the folder, of
        a caller that holds it already and releases it.
        """
        folder = Path(folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {folder}: {error}") from error
        own = RunLock(folder) if lock is None else None
        try:
            if fresh:
                set_aside(folder / DB_NAME)
            with storage("open", folder / DB_NAME):
                db = connect_writer(folder / DB_NAME, durable)
                try:
                    known = settle_config(db, folder, dict(config), accept_drift)
                    store = cls(folder, connect_reader(folder / DB_NAME), known)
                    store._bring_up_to_date(db)
                except BaseException:
                    db.close()
                    raise
        except BaseException:
            if own is not None:
                own.release()
            raise
        store._lock = own
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

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- replies ----------------------------------------------------------------------------

    async def put_replies(
        self, example_id: str, replies: Sequence[Reply], *, instead: bool = False
    ) -> None:
        """Record replies in one commit.

        A failed call and a refusal are kept apart: they are evidence, and never replayed. With
        `instead` a good reply takes the place of the one under its key, which is kept apart too.
        """
        await self._write(reply_rows(example_id, replies, instead=instead))

    def replies(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Return the stored replies among `keys`."""
        return self._completions("calls", keys)

    def failures(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Return what was kept apart last for each of `keys` that has such a call."""
        return self._completions("failed_calls", keys)

    def n_set_aside(self, key: bytes) -> int:
        """How many calls under this key were kept apart so far."""
        found = self._fetch("SELECT count(*) FROM failed_calls WHERE key = ?", (key,))
        return int(found[0][0])

    def _completions(self, table: str, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        marks = ",".join("?" * len(keys))
        query = (
            f"SELECT rowid, key, {PAYLOAD}, checksum FROM {table} WHERE key IN ({marks})"
            " ORDER BY rowid"
        )
        found: dict[bytes, Completion] = {}
        for rowid, key, payload, checksum in self._fetch(query, tuple(keys)):
            try:
                if not is_sound(checksum, key, payload):
                    raise BadRecord("its checksum is another one")
                found[key] = load_completion(decode(payload))
            except BadRecord as error:
                self._quarantine(table, rowid, error)
        return found

    # --- verdicts ---------------------------------------------------------------------------

    async def put_verdict(
        self, verdict: Verdict | Packed, example: Example | None = None, position: int = 0
    ) -> None:
        """Record a verdict, in place of an earlier one of the same example.

        `example` keeps the original texts beside it (one that is packed has them in it already),
        `position` is its place in the input.
        """
        if isinstance(verdict, Verdict):
            verdict = packed(verdict, None if example is None else dump_example(example))
        row = verdict_row(verdict.example_id, position, verdict.n_failed, verdict.payload)
        await self._write([row])

    def finished_ids(self) -> Iterator[str]:
        """Yield the examples that need no more work: no call failed, and the row is not damaged.

        No verdict is loaded for it, which takes twenty times as long.
        """
        page: Sequence[tuple[Any, ...]] = [(0,)]
        while page := self._fetch(STORED_AFTER, (page[-1][0], _PAGE)):
            yield from (id for _, id, _, _, n_failed in self._undamaged(page) if not n_failed)

    def records(self) -> Iterator[Record]:
        """Yield every verdict's record (see `spct.runs.codec`) by position, a page at a time.

        A record has the key `example` where the example was stored with its verdict.
        """
        return (sound.record() for _, sound in self._sound_rows())

    def judged(self) -> Iterator[Sound]:
        """Yield every verdict by position with its example, where that was stored with it."""
        return (sound for _, sound in self._sound_rows())

    def verdicts(self) -> Iterator[Verdict]:
        """Yield every verdict by position, without loading them all."""
        return (sound.verdict for _, sound in self._sound_rows())

    def _sound_rows(self) -> Iterator[tuple[tuple[int, int], Sound]]:
        """Every verdict by position, with its position and its number of failed calls."""
        after: tuple[int, bytes] = (-(2**63), b"")
        while page := self._fetch(IN_ORDER, (*after, _PAGE)):
            yield from ((row[:2], row[2]) for row in self._sound(page))
            after = (page[-1][4], page[-1][1])  # also past a last row that was not sound

    def _sound(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, int, Sound]]:
        """Position, failed calls and record of the rows that are whole; the others are moved."""
        for rowid, id, payload, position, n_failed in self._undamaged(rows):
            try:
                yield position, n_failed, Sound(unpack(payload), id, self._version)
            except BadRecord as error:
                self._quarantine("verdicts", rowid, error)

    def _undamaged(
        self, rows: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, str, bytes, int, int]]:
        for rowid, example, payload, checksum, position, n_failed in rows:
            try:
                if not is_sound(checksum, example, payload, position, n_failed):
                    raise BadRecord("its checksum is another one")
                yield rowid, text_of(example), payload, position, n_failed
            except BadRecord as error:
                self._quarantine("verdicts", rowid, error)

    def sound(self, example_id: str) -> Sound | None:
        """Return what is held of one example, or None where there is nothing (or nothing sound)."""
        rows = self._fetch(OF_EXAMPLE, (blob(example_id),))
        found = [sound for _, _, sound in self._sound(rows)]
        return found[0] if found else None

    def verdicts_after(self, rowid: int, limit: int) -> tuple[int, list[tuple[int, Sound]]]:
        """Return (position, what is held) of up to `limit` verdicts stored after row `rowid`.

        With the row that was reached: pass it on to follow a run that is being written.
        """
        rows = self._fetch(STORED_AFTER, (rowid, limit))
        found = [(position, sound) for position, _, sound in self._sound(rows)]
        return (rows[-1][0] if rows else rowid), found

    def next_position(self) -> int:
        """One beyond the highest position of a verdict."""
        return int(self._fetch("SELECT coalesce(max(position), -1) + 1 FROM verdicts", ())[0][0])

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

    def _quarantine(self, table: str, rowid: int, why: BadRecord) -> None:
        """Move a row out of `table`; a store that only reads just leaves it out."""
        self.n_damaged += 1
        _log.warning("%s: row %d of %s is left out: %s", self.folder, rowid, table, why)
        if self._writer is not None:
            move = (
                f"INSERT INTO quarantine SELECT ?, {_KEYS[table]}, payload, checksum, ?"
                f" FROM {table} WHERE rowid = ?"
            )
            delete = f"DELETE FROM {table} WHERE rowid = ?"
            self._writer.put_now([(move, (table, time.time(), rowid)), (delete, (rowid,))])

    def _bring_up_to_date(self, db: sqlite3.Connection) -> None:
        """Rewrite the verdicts of spct 0.1.0, whose rewards are sums, in one transaction."""
        if self._version == VERSION:
            return
        rows = [
            verdict_row(sound.verdict.example_id, *place, pack(sound.record(), "a verdict"))
            for place, sound in self._sound_rows()
        ]
        db.execute("BEGIN IMMEDIATE")
        for statement, values in rows:
            db.execute(statement, values)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
        self._version = VERSION
