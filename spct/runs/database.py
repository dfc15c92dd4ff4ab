"""The file run.db: its schema, how it is opened, the config that it belongs to.

A run continues only under the config that it began with; otherwise every key that differs is named.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from spct.errors import StoreError

DB_NAME = "run.db"
VERSION = 2  # 2: rewards are means; in 1, of spct 0.1.0, those of most votes are sums
READABLE = (1, VERSION)
_SCHEMA = """
CREATE TABLE calls (
    key BLOB NOT NULL UNIQUE, example_id BLOB NOT NULL, seed INTEGER NOT NULL,
    payload BLOB NOT NULL, checksum BLOB NOT NULL, created REAL NOT NULL);
CREATE TABLE failed_calls (
    key BLOB NOT NULL, example_id BLOB NOT NULL, seed INTEGER NOT NULL,
    payload BLOB NOT NULL, checksum BLOB NOT NULL, created REAL NOT NULL);
CREATE INDEX failed_calls_by_key ON failed_calls (key);
CREATE TABLE verdicts (
    example_id BLOB NOT NULL UNIQUE, position INTEGER NOT NULL, n_failed INTEGER NOT NULL,
    payload BLOB NOT NULL, checksum BLOB NOT NULL, created REAL NOT NULL);
CREATE INDEX verdicts_in_order ON verdicts (position, example_id);
CREATE TABLE quarantine (
    source TEXT NOT NULL, key BLOB, payload BLOB, checksum BLOB, created REAL NOT NULL);
CREATE TABLE configs (config TEXT NOT NULL, created REAL NOT NULL);
PRAGMA user_version = 2;
"""


@contextmanager
def storage(doing: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError with what was being done and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        raise StoreError(f"cannot {doing} {path}: {error} ({code}); {_advice(code)}") from error


def _advice(code: str) -> str:
    kept = "all that was acknowledged is kept, and the same command then continues"
    match code.removeprefix("SQLITE_").split("_")[0]:
        case "FULL":
            return f"free some space; {kept}"
        case "IOERR" | "READONLY" | "CANTOPEN" | "PERM" | "AUTH":
            return f"check the disk, its quota and the permissions of the folder; {kept}"
        case "ERROR":
            return "it is not the run.db of an spct run, or it is damaged"
        case "BUSY" | "LOCKED":
            return f"another program holds the file; close it; {kept}"
        case "CORRUPT" | "NOTADB":
            return (
                "the file is damaged: copy it, try `sqlite3 run.db .recover`, or start over with"
                " --fresh, which sets it aside"
            )
        case _:
            return "please report this"


def connect_writer(path: Path, durable: bool) -> sqlite3.Connection:
    """Open the file, made if it is not there, for the one connection that writes."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        is_new = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_new:  # before anything is changed: it may be somebody else's file
            check_version(db, path)
        path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        if is_new:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading only, beside the connection or the process that writes."""
    try:
        return _reader(path, "mode=ro")
    except sqlite3.OperationalError:
        # Beside a file in WAL mode SQLite makes two more, which a read-only folder does not let
        # it. Without a log left by a kill, the file alone is the whole run.
        if Path(f"{path}-wal").exists():
            raise
        return _reader(path, "mode=ro&immutable=1")


def _reader(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        db.text_factory = bytes  # a damaged row may hold anything, and reading it must not raise
        db.execute("PRAGMA trusted_schema = OFF")  # the file may come from anybody
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """The version of the file's schema; raise StoreError unless this spct knows it."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version not in READABLE:
        raise StoreError(
            f"cannot read {path}: its schema version is {version}, this spct reads {READABLE};"
            " use the spct that wrote it, or another run folder"
        )
    return version


def stored_config(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Return the latest config that the run went on with, or None before the first."""
    query = "SELECT CAST(config AS BLOB) FROM configs ORDER BY rowid DESC LIMIT 1"
    row = db.execute(query).fetchone()
    try:
        return None if row is None else dict(json.loads(row[0]))
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the config stored in run.db is damaged: got {row[0][:80]!r}, expected a JSON object;"
            " keep what is finished with --accept-drift, or start over with --fresh"
        ) from error


def settle_config(
    db: sqlite3.Connection, folder: Path, config: dict[str, Any], accept_drift: bool
) -> dict[str, Any]:
    """Return the run's config, which is `config` unless the run began with another one."""
    text = json.dumps(config, sort_keys=True, allow_nan=False)
    config = json.loads(text)
    old = None if accept_drift else stored_config(db)
    if old is not None and (drift := _drift(old, config)):
        raise StoreError(
            f"the run in {folder} has another configuration:\n{drift}\n"
            "go back to the old values, choose another run folder, start over with --fresh, or"
            " keep what is finished and go on with --accept-drift"
        )
    if old != config:
        db.execute("INSERT INTO configs VALUES (?, ?)", (text, time.time()))
    return config


def _drift(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return one line a key whose value differs; a key that is missing says so."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        was, now = (repr(c[key]) if key in c else "(absent)" for c in (old, new))
        if was != now:
            lines.append(f"  {key}: was {was}, now {now}")
    return "\n".join(lines)


def set_aside(path: Path) -> None:
    """Rename an earlier run.db, for what it holds was paid for."""
    if not path.exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # folds the -wal file into the one renamed
    number = 1
    while (aside := path.with_name(f"run-{number}.db")).exists():
        number += 1
    try:
        for suffix in ("-wal", "-shm", ""):  # the first two are left only by a damaged file
            if (part := Path(f"{path}{suffix}")).exists():
                part.rename(f"{aside}{suffix}")
    except OSError as error:
        raise StoreError(f"cannot set {path} aside as {aside}: {error}") from error
