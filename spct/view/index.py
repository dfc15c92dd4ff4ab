"""An index beside a run: one small row per verdict, so that lists sort and filter at once.

It is a cache (`view.db` in the run's folder, or a temporary file where that cannot be written) and
can be deleted at any time. It follows the run by row id, so a run that is being written grows in
the list; each verdict is decoded once. Rows hold no reply, only what a list shows or filters by.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from spct.errors import DataError
from spct.runs.database import DB_NAME, connect_reader, storage
from spct.runs.rows import blob
from spct.runs.store import Store
from spct.view.row import COLUMNS, row_of, text_of

_VERSION = 4
_DEFINED = ", ".join(f"{c} PRIMARY KEY" if c == "id" else c for c in COLUMNS)
_SCHEMA = f"""
CREATE TABLE rows ({_DEFINED}) WITHOUT ROWID;
CREATE INDEX by_position ON rows (position);
CREATE INDEX by_head ON rows (head, position);
-- what the head of the page counts and what it computes accuracy of, without reading wide rows
CREATE INDEX counted ON rows (outcome, tokens, calls, prompt, cached);
CREATE INDEX by_query ON rows (cluster, credit, position);
CREATE INDEX of_subset ON rows (subset);
CREATE INDEX of_reason ON rows (reason);
CREATE INDEX of_n ON rows (n);
CREATE INDEX of_batch ON rows (batch);
CREATE TABLE texts (batch INTEGER PRIMARY KEY, ids, body);
CREATE TABLE seen (last INTEGER NOT NULL, damaged INTEGER NOT NULL, born);
INSERT INTO seen VALUES (0, 0, NULL);
PRAGMA user_version = {_VERSION};
"""
_HIDDEN = {
    "credit",
    "longer",
    "gold_longer",
    "cluster",
    "gold",
    "samples",
    "batch",
    "prompt",
    "cached",
}
_SHOWN = [c for c in COLUMNS if c not in _HIDDEN]
_SORTABLE = set(_SHOWN) - {"rewards"}
_ALWAYS = {"id", "position", "head", "outcome", "counted", "drawn", "tokens", "calls"}  # not null
_BATCH = 256  # verdicts decoded between two commits: the list grows while the index is built
_BETWEEN = b"\xff"  # between the texts of a batch: a byte that UTF-8 has no use for
_TOP = 1000  # up to this place SQLite keeps the first rows; below it sorting all is faster
_AT_ONCE = 500  # rows read by their ids in one query


class Index:
    """The rows of one run. `follow` reads what is new; `page` answers from what has been read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        self._spare: tempfile.TemporaryDirectory[str] | None = None
        self._path = folder / "view.db"
        try:
            self._open_new(self._path)
        except sqlite3.Error:  # a read-only folder, or somebody else's file of that name
            self._spare = tempfile.TemporaryDirectory(prefix="spct-view-")
            self._path = Path(self._spare.name) / "view.db"
            self._open_new(self._path)

    @property
    def is_temporary(self) -> bool:
        """Whether the folder could not be written, so that the index goes with this process."""
        return self._spare is not None

    def _open_new(self, path: Path) -> None:
        with closing(self._connect(path)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                return
            db.execute("PRAGMA page_size = 16384")  # several texts on a page: fewer reads
            db.execute("PRAGMA journal_mode = WAL")
            for name in ("rows", "texts", "seen"):
                db.execute(f"DROP TABLE IF EXISTS {name}")
            db.executescript(_SCHEMA)

    def _connect(self, path: Path | None = None) -> sqlite3.Connection:
        # one connection per call: a request's thread may be any thread
        db = sqlite3.connect(path or self._path, timeout=5, isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")  # a cache: it is rebuilt when it is lost
        return db

    def follow(self, *, limit: int | None = None) -> int:
        """Read the verdicts stored since the last call; return how many there were."""
        with self._writing, Store.read(self.folder) as store, closing(self._connect()) as db:
            last = _place_in(db, _born(self.folder))
            n_read = counted = 0
            while (reached := store.verdicts_after(last, _BATCH))[0] != last:
                last, batch = reached
                rows = [row_of(s.verdict, s.example, position, last) for position, s in batch]
                texts = [text_of(s.verdict, s.example) for _, s in batch]
                db.execute("BEGIN")
                _put(db, last, rows, texts)
                damaged, counted = store.n_damaged - counted, store.n_damaged
                db.execute("UPDATE seen SET last = ?, damaged = damaged + ?", (last, damaged))
                db.execute("COMMIT")
                n_read += len(batch)
                if limit is not None and n_read >= limit:
                    break
            return n_read

    def wait_for_rows(self, seconds: float) -> bool:
        """Whether somebody is reading the run already; waits for the first rows, no longer."""
        end = time.monotonic() + seconds
        while self._writing.locked():
            if self.facts()["n"] or time.monotonic() > end:
                return True
            time.sleep(0.02)
        return False

    def page(self, filters: Mapping[str, str], *, offset: int, limit: int) -> dict[str, Any]:
        """Rows in the order asked for, with how many fit the filters in all."""
        where, values = _where(filters)
        sort = filters.get("sort") or "position"
        if sort not in _SORTABLE:
            raise DataError(f"sorting by {sort!r}; expected one of {', '.join(sorted(_SORTABLE))}")
        down = "DESC" if filters.get("order") == "desc" else "ASC"
        last = "" if sort in _ALWAYS else f"{sort} IS NULL, "
        by = f"ORDER BY {last}{sort} {down}, position"
        with closing(self._connect()) as db:
            db.execute("BEGIN")  # one moment for rows and counts: the index may be growing
            if filters.get("q"):
                where = f"{where} {'AND' if where else 'WHERE'} (id, batch) IN found"
                _find(db, blob(filters["q"].lower()))
            at_most = f"LIMIT {offset + limit}" if offset + limit <= _TOP else ""
            fitting = db.execute(f"SELECT id FROM rows {where} {by} {at_most}", values)
            ids = [id for (id,) in islice(fitting, offset, offset + limit)]
            rows = _rows_of(db, ids)
            total = db.execute(f"SELECT count(*) FROM rows {where}", values).fetchone()[0]
            indexed = db.execute("SELECT count(*) FROM rows").fetchone()[0]
            damaged = db.execute("SELECT damaged FROM seen").fetchone()[0]
        return {"total": total, "rows": rows, "indexed": indexed, "damaged": damaged}

    def columns(self, *names: str, limit: int = -1) -> Iterator[tuple[Any, ...]]:
        """These columns of the rows by position, for figures over the whole run."""
        with closing(self._connect()) as db:
            query = f"SELECT {', '.join(names)} FROM rows ORDER BY position LIMIT ?"
            yield from db.execute(query, (limit,))

    def credits(self) -> list[tuple[float, int, int]]:
        """(sum of credits, examples, how often) of the queries with gold, equal ones together."""
        with closing(self._connect()) as db:
            return db.execute(kinds_query("credit", "rows")).fetchall()

    @contextmanager
    def beside(self, other: Index) -> Iterator[sqlite3.Connection]:
        """A connection whose table `other.rows` is that of another run."""
        with closing(self._connect()) as db:
            db.execute("ATTACH DATABASE ? AS other", (str(other._path),))
            yield db

    def facts(self) -> dict[str, Any]:
        """Counts over the whole run, and what there is to filter by."""
        with closing(self._connect()) as db:
            outcomes = dict(db.execute("SELECT outcome, count(*) FROM rows GROUP BY outcome"))
            summed = ", ".join(f"sum({name})" for name in ("tokens", "calls", "prompt", "cached"))
            sums = db.execute(f"SELECT count(*), {summed} FROM rows").fetchone()
            names = {
                column: [
                    value
                    for (value,) in db.execute(
                        f"SELECT DISTINCT {column} FROM rows WHERE {column} IS NOT NULL"
                        f" ORDER BY {column} LIMIT 500"
                    )
                ]
                for column in ("subset", "reason", "n")
            }
        return {
            "n": sums[0],
            "tokens": sums[1] or 0,
            "calls": sums[2] or 0,
            "prompt_tokens": sums[3] or 0,
            "cached_tokens": sums[4] or 0,
            "ties": outcomes.get("tie", 0),
            "unscored": outcomes.get("unscored", 0),
            "subsets": names["subset"],
            "reasons": names["reason"],
            "ns": names["n"],
        }

    def close(self) -> None:
        """Remove a temporary index."""
        if self._spare is not None:
            self._spare.cleanup()


def _put(
    db: sqlite3.Connection, batch: int, rows: Sequence[tuple[Any, ...]], texts: Sequence[bytes]
) -> None:
    """Keep rows and their texts, in place of those of the same examples."""
    ids = [row[0] for row in rows]
    known = f"SELECT count(*) FROM rows WHERE id IN ({', '.join('?' * len(ids))})"
    is_again = db.execute(known, ids).fetchone()[0] > 0
    marks = ", ".join("?" * len(COLUMNS))
    db.executemany(f"INSERT OR REPLACE INTO rows VALUES ({marks})", rows)
    held = (batch, json.dumps(ids), _BETWEEN.join(texts))
    db.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", held)
    if is_again:  # a log that is a ring judges every id again, and its old texts would pile up
        left = "SELECT 1 FROM rows WHERE rows.batch = texts.batch"
        db.execute(f"DELETE FROM texts WHERE NOT EXISTS ({left})")


def _born(folder: Path) -> float | None:
    """When the run.db of this folder began: another one may have taken its place."""
    with storage("read", folder / DB_NAME), closing(connect_reader(folder / DB_NAME)) as db:
        row = db.execute("SELECT created FROM configs ORDER BY rowid LIMIT 1").fetchone()
    born: float | None = None if row is None else row[0]
    return born


def _place_in(db: sqlite3.Connection, born: float | None) -> int:
    """The row of the run that was read last; 0 where the index is of a run that was set aside."""
    last, known = db.execute("SELECT last, born FROM seen").fetchone()
    if known == born:
        return int(last)
    db.execute("BEGIN")
    for table in ("rows", "texts"):
        db.execute(f"DELETE FROM {table}")
    db.execute("UPDATE seen SET last = 0, damaged = 0, born = ?", (born,))
    db.execute("COMMIT")
    return 0


def _where(filters: Mapping[str, str]) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []

    def add(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    for name in ("outcome", "reason", "subset"):
        if filters.get(name):
            add(f"{name} = ?", filters[name])
    if filters.get("n"):
        add("n = ?", _number("n", filters["n"]))
    if filters.get("agreement"):
        add("agreement <= ?", _number("agreement", filters["agreement"]))
    if filters.get("flips"):
        add("flips = 1")
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), values


def _find(db: sqlite3.Connection, words: bytes) -> None:
    """The table `found`: which examples hold these words, and in which batch they were read.

    Whole batches are searched at once. Looking into each example's text costs as much again.
    """
    db.execute("CREATE TEMP TABLE found (id, batch, PRIMARY KEY (id, batch)) WITHOUT ROWID")
    for batch, ids, body in db.execute("SELECT batch, ids, body FROM texts"):
        numbers = list(_holding(body, words))
        if numbers:
            names = json.loads(ids)
            db.executemany("INSERT INTO found VALUES (?, ?)", [(names[i], batch) for i in numbers])


def _holding(body: bytes, words: bytes) -> Iterator[int]:
    """The numbers of the texts of a batch that hold the words."""
    number, counted_to, at = 0, 0, body.find(words)
    while at >= 0:
        number += body.count(_BETWEEN, counted_to, at)
        yield number
        counted_to = body.find(_BETWEEN, at)
        at = body.find(words, counted_to) if counted_to >= 0 else -1


def _rows_of(db: sqlite3.Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What the list shows of these rows, in their order."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        query = f"SELECT {', '.join(_SHOWN)} FROM rows WHERE id IN ({marks})"
        for row in db.execute(query, some):
            found[row[0]] = dict(zip(_SHOWN, row, strict=True))
    return [found[id] for id in ids]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"the filter {name!r}: got {text!r}, expected a number") from None


def kinds_query(value: str, table: str) -> str:
    """Sums of a value by query, and how many queries have the same: in the order of the input."""
    by_query = (
        f"SELECT sum({value}) AS total, count({value}) AS n, min(rows.position) AS first"
        f" FROM {table} WHERE {value} IS NOT NULL GROUP BY rows.cluster"
    )
    return f"SELECT total, n, count(*) FROM ({by_query}) GROUP BY total, n ORDER BY min(first)"
