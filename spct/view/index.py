"""An index beside a run: one small row per verdict, so that lists sort and filter at once.

It is a cache (`view.db` in the run's folder, or a temporary file where that cannot be written) and
can be deleted at any time. It follows the run by row id, so a run that is being written grows in
the list; each verdict is decoded once. Rows hold no reply, only what a list shows or filters by.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from spct.core.vote import best
from spct.errors import DataError
from spct.measure.outcomes import flips, outcome_of
from spct.runs.rows import blob
from spct.runs.store import Store
from spct.types import Example, Message, Verdict
from spct.view.keys import key_of

_VERSION = 3
_COLUMNS = (
    *(
        "id",
        "position",
        "head",
        "n",
        "subset",
        "outcome",
        "credit",
        "reason",
        "winner",
        "gold_best",
    ),
    *("rewards", "margin", "agreement", "counted", "drawn", "tokens", "calls", "flips"),
    *("longer", "gold_longer", "cluster", "gold", "samples"),
)
_DEFINED = ", ".join(f"{c} PRIMARY KEY" if c == "id" else c for c in _COLUMNS)
_SCHEMA = f"""
CREATE TABLE rows ({_DEFINED}) WITHOUT ROWID;
CREATE INDEX by_position ON rows (position);
CREATE TABLE texts (id PRIMARY KEY, text);
CREATE TABLE seen (last INTEGER NOT NULL, damaged INTEGER NOT NULL);
INSERT INTO seen VALUES (0, 0);
PRAGMA user_version = {_VERSION};
"""
_HIDDEN = {"credit", "longer", "gold_longer", "cluster", "gold", "samples"}
_SHOWN = [c for c in _COLUMNS if c not in _HIDDEN]
_SORTABLE = set(_SHOWN) - {"rewards"}
_BATCH = 256  # verdicts decoded between two commits: the list grows while the index is built
_TEXT = 4000  # characters of an example that the text filter looks at


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
        # twice as fast as SQLite's own instr, which looks at one character after the other
        db.create_function("holds", 2, lambda text, words: words in text)
        return db

    def follow(self, *, limit: int | None = None) -> int:
        """Read the verdicts stored since the last call; return how many there were."""
        with self._writing, Store.read(self.folder) as store, closing(self._connect()) as db:
            last = db.execute("SELECT last FROM seen").fetchone()[0]
            n_read = counted = 0
            while (reached := store.verdicts_after(last, _BATCH))[0] != last:
                last, batch = reached
                rows = [row_of(s.verdict, s.example, position) for position, s in batch]
                texts = [text_of(s.verdict, s.example) for _, s in batch]
                marks = ", ".join("?" * len(_COLUMNS))
                db.execute("BEGIN")
                db.executemany(f"INSERT OR REPLACE INTO rows VALUES ({marks})", rows)
                db.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", texts)
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
        by = f"ORDER BY {sort} IS NULL, {sort} {down}, position"
        fitting = f"SELECT id AS fits FROM rows {where} {by} LIMIT ? OFFSET ?"
        query = f"SELECT {', '.join(_SHOWN)} FROM rows JOIN ({fitting}) ON id = fits {by}"
        with closing(self._connect()) as db:
            db.execute("BEGIN")  # one moment for rows and counts: the index may be growing
            if filters.get("q"):  # texts are read once, not for the rows and again for their count
                db.execute(f"CREATE TEMP TABLE fit AS SELECT id FROM rows {where}", values)
                query, values = query.replace(where, "WHERE id IN fit"), []
                where = "WHERE id IN fit"
            found = db.execute(query, (*values, limit, offset)).fetchall()
            total = db.execute(f"SELECT count(*) FROM rows {where}", values).fetchone()[0]
            indexed = db.execute("SELECT count(*) FROM rows").fetchone()[0]
            damaged = db.execute("SELECT damaged FROM seen").fetchone()[0]
        rows = [dict(zip(_SHOWN, row, strict=True)) for row in found]
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
            sums = db.execute("SELECT count(*), sum(tokens), sum(calls) FROM rows").fetchone()
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
    if filters.get("q"):
        add("id IN (SELECT id FROM texts WHERE holds(text, ?))", blob(filters["q"].lower()))
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), values


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


def row_of(verdict: Verdict, example: Example | None, position: int) -> tuple[Any, ...]:
    """One verdict as an index row; without its example there is neither text nor gold."""
    responses = () if example is None else example.responses
    query = () if example is None else example.query
    gold = None if example is None else example.gold
    head = " ".join(query[-1].content.split()) if query else ""
    result = outcome_of(verdict.rewards, gold)
    reasons = {str(reason): count for reason, count in verdict.unscored.items()}
    samples = [
        (t.prompt.order, t.judgement.scores if t.judgement else None) for t in verdict.trajectories
    ]
    row = {
        "id": key_of(verdict.example_id),
        "position": position,
        "head": head[:160],
        "n": len(responses) or len(verdict.rewards or ()) or None,
        "subset": None if example is None else example.subset,
        "outcome": result.name,
        "credit": result.credit,
        "reason": max(reasons, key=reasons.__getitem__) if reasons else None,
        "winner": verdict.winner,
        "gold_best": None if gold is None or len(top := best(gold)) > 1 else top[0],
        "rewards": json.dumps(verdict.rewards),
        "margin": _margin(verdict.rewards),
        "agreement": verdict.agreement,
        "counted": verdict.k_counted,
        "drawn": verdict.k_drawn,
        "tokens": verdict.usage.prompt_tokens + verdict.usage.completion_tokens,
        "calls": verdict.usage.calls,
        "flips": flips(samples),
        "longer": _longer(responses, verdict.rewards),
        "gold_longer": _longer(responses, gold),
        "cluster": _digest(query),
        "gold": json.dumps(gold),
        "samples": json.dumps(samples),
    }
    return tuple(_storable(row[name]) for name in _COLUMNS)


def text_of(verdict: Verdict, example: Example | None) -> tuple[str, bytes]:
    """What the text filter looks at, beside the row's key."""
    query = () if example is None else example.query
    responses = () if example is None else example.responses
    texts = [verdict.example_id, *(turn.content for turn in query), *responses]
    return key_of(verdict.example_id), blob("\n".join(texts)[:_TEXT].lower())


def _storable(value: Any) -> Any:
    """SQLite's text is UTF-8, which has no place for a lone surrogate."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _digest(query: Sequence[Message]) -> str:
    """Names the query: examples of one query are resampled together."""
    text = "\0".join(f"{turn.role}\0{turn.content}" for turn in query)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _margin(rewards: Sequence[float] | None) -> float | None:
    if rewards is None or len(rewards) < 2:
        return None
    first, second = sorted(rewards, reverse=True)[:2]
    return first - second


def _longer(responses: Sequence[str], values: Sequence[float] | None) -> str | None:
    """For a pair with a winner: by how many characters it differs, and whether the longer wins."""
    if values is None or len(responses) != 2 or values[0] == values[1]:
        return None
    difference = len(responses[0]) - len(responses[1])
    if difference == 0:
        return None
    return json.dumps([abs(difference), (difference > 0) == (values[0] > values[1])])
