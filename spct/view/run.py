"""One run as the page shows it: its head, its list, one example, its figures.

Everything here is read from the run's store and index; every number comes from spct.measure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from spct.errors import DataError, SpctError, StoreError
from spct.measure.outcomes import outcome_of
from spct.runs.database import DB_NAME, connect_reader, storage
from spct.runs.folder import CONFIG_NAME, read_config
from spct.runs.rows import Sound
from spct.runs.store import Store
from spct.types import Usage
from spct.view.criteria import by_criteria
from spct.view.figures import accuracy_of, compared, figures_of
from spct.view.index import Index
from spct.view.keys import id_of, key_of
from spct.view.marks import Marks, agreement
from spct.view.settings import RunSettings, settings_of
from spct.view.votes import votes_of

_log = logging.getLogger(__name__)
FIRST_ROWS_S = 1.0  # what a first screen waits for an index that is being built


class RunView:
    """A run folder behind the page. `follow` in a thread keeps the list up with the run."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        with Store.read(folder) as store:
            config = {**store.config, **_voted_by(folder)}
        self.settings: RunSettings = settings_of(config, _price_set(folder))
        self.index, self.marks = Index(folder), Marks(folder)
        self._kept: dict[str, tuple[int, Any]] = {}
        self._stop = threading.Event()
        self._problem = ""

    def follow(self, every_s: float = 2.0) -> None:
        """Index what is stored and go on looking, in a thread that ends with the process."""

        def work() -> None:
            while not self._stop.is_set():
                try:
                    self.index.follow()
                    self._problem = ""
                except SpctError as error:  # shown in the page's head; the next look may succeed
                    self._problem = str(error)
                self._stop.wait(every_s)

        threading.Thread(target=work, daemon=True, name=f"index of {self.name}").start()

    def close(self) -> None:
        """End the thread and remove what was temporary."""
        self._stop.set()
        self.index.close()

    def facts(self) -> dict[str, Any]:
        """The head of the page: counts, accuracy with its interval, agreement with a person."""
        found, settings = self.index.facts(), self.settings
        return found | {
            "name": self.name,
            "accuracy": self._once("accuracy", found["n"], lambda: accuracy_of(self.index)),
            "scale": settings.scale and [settings.scale.low, settings.scale.high],
            "model": settings.model,
            "seconds": _seconds(self.folder),
            "price": self._cost(
                Usage(
                    found["prompt_tokens"],
                    found["tokens"] - found["prompt_tokens"],
                    found["calls"],
                    found["cached_tokens"],
                )
            ),
            "read_only": not self.marks.is_writable,
            "human": self._human(),
            "note": self._problem,
        }

    def _cost(self, usage: Usage) -> str | None:
        """What this usage cost, where the run has a price."""
        price = self.settings.price
        return None if price is None else f"{price.cost(usage):,.4f} USD"

    def _once(self, name: str, n: int, compute: Any) -> Any:
        """A figure that is computed again only when there are more verdicts."""
        if name not in self._kept or self._kept[name][0] != n:
            self._kept[name] = (n, compute())
        return self._kept[name][1]

    def _human(self) -> dict[str, Any] | None:
        """How often a person agrees with the judge, over the marks that decide."""
        marks = self.marks.read()
        if not marks:
            return None
        rows = self.index.columns("id", "winner", "outcome")
        return agreement(
            [
                (marks[id]["mark"], winner)
                for id, winner, outcome in rows
                if id in marks and outcome != "unscored"
            ]
        )

    def page(self, filters: Mapping[str, str], *, offset: int, limit: int) -> dict[str, Any]:
        """A page of the list. Before anything is indexed the first rows are read at once."""
        found = self.index.page(filters, offset=offset, limit=limit)
        with Store.read(self.folder) as store:
            stored = store.counts()["verdicts"]
        if not found["indexed"] and stored:
            # a follower holds the index until it has read the whole run: its first rows will do
            if not self.index.wait_for_rows(FIRST_ROWS_S):
                self.index.follow(limit=offset + limit)
            found = self.index.page(filters, offset=offset, limit=limit)
        # a damaged row that was judged again since is there, whatever was counted
        damaged = min(found["damaged"], stored - found["indexed"])
        return found | {"stored": stored, "damaged": max(0, damaged)}

    def _sound(self, id: str, store: Store) -> Sound:
        found = store.sound(id_of(id))
        if found is None:
            raise DataError(f"no sound verdict on example {id!r} in {self.name}")
        return found

    def example(self, id: str) -> dict[str, Any]:
        """All that one screen shows of an example."""
        return next(self.examples([id]))

    def examples(self, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        """All that one screen shows, of each of these examples."""
        marks = self.marks.read()
        with Store.read(self.folder) as store:
            for id in ids:
                yield self._shown(self._sound(id, store), marks.get(id))

    def _shown(self, found: Sound, mark: dict[str, Any] | None) -> dict[str, Any]:
        verdict = found.verdict
        gold = None if found.example is None else found.example.gold
        return found.record() | {
            "key": key_of(verdict.example_id),
            "outcome": outcome_of(verdict.rewards, gold).name,
            "votes": votes_of(verdict, self.settings),
            "by_criteria": by_criteria(verdict),
            "human": mark,
            "price": self._cost(verdict.usage),
            "sampling": dict(self.settings.sampling),
        }

    def figures(self) -> dict[str, Any]:
        """Plots over the whole run."""
        n = self.index.facts()["n"]
        found: dict[str, Any] = self._once(
            "figures", n, lambda: figures_of(self.index, self.settings)
        )
        return found

    def mark(self, id: str, mark: object, note: str) -> None:
        """Keep a person's verdict on an example of this run."""
        with Store.read(self.folder) as store:
            found = self._sound(id, store)
        n = found.example.n if found.example else len(found.verdict.rewards or ())
        self.marks.add(id, mark, note, n)


def compare(before: RunView, after: RunView) -> dict[str, Any]:
    """What changed from one run to another."""
    return compared(before.index, after.index)


def folders_in(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each folder that holds a run.db, or all below it (bench, compare), with a name to show."""
    for folder in folders:
        is_run = (folder / DB_NAME).is_file()
        below = [] if is_run else sorted(p.parent for p in folder.rglob(DB_NAME))
        # compare keeps replies apart from verdicts: a store of replies alone shows nothing
        inside = [folder] if is_run else [p for p in below if _n_verdicts(p)] or below
        if not inside:
            raise DataError(
                f"no run in {str(folder)!r}: expected the folder of spct sample, bench, compare or"
                f" training data, which holds a {DB_NAME}"
            )
        for one in inside:
            inner = "" if one == folder else f"/{one.relative_to(folder)}"
            yield one, f"{folder.resolve().name}{inner}"


def _voted_by(folder: Path) -> Mapping[str, Any]:
    """How a bench part is voted: its store leaves that out, the run's config.json has it."""
    *before, label, benchmark, mode = folder.absolute().parts[-5:]
    if len(before) < 2 or before[1] != "parts":
        return {}
    from spct.measure.runner import slug  # brings all of bench along

    parts = (read_config(folder.absolute().parents[3] / CONFIG_NAME) or {}).get("parts", {})
    for model, by_part in parts.items():
        for name, found in by_part.items():
            if (slug(model), slug(name)) == (label, slug(f"{benchmark}.{mode}")):
                return {key: found[key] for key in ("vote", "k_meta", "scale") if key in found}
    return {}


def _price_set(folder: Path) -> object:
    """The price that the run's settings have; a run of verdicts alone has no settings."""
    settings = (read_config(folder / CONFIG_NAME) or {}).get("settings")
    engine = settings.get("engine") if isinstance(settings, dict) else None
    return engine.get("price") if isinstance(engine, dict) else None


def _seconds(folder: Path) -> float | None:
    """From the first reply stored to the last verdict, pauses included; None of nothing."""
    with storage("read", folder / DB_NAME), closing(connect_reader(folder / DB_NAME)) as db:
        # by row id: `created` stands behind the payload, and a scan would read all of that
        ends = [
            db.execute(f"SELECT created FROM {table} ORDER BY rowid {order} LIMIT 1").fetchone()
            for table, order in (("calls", "ASC"), ("verdicts", "ASC"), ("verdicts", "DESC"))
        ]
    times: list[float] = [row[0] for row in ends if row and isinstance(row[0], float)]
    return round(max(times) - min(times), 3) if times and ends[2] is not None else None


def _n_verdicts(folder: Path) -> int:
    try:
        with Store.read(folder) as store:
            return store.counts()["verdicts"]
    except StoreError:  # said where it is opened
        return 1


def runs_in(folders: Sequence[Path]) -> list[RunView]:
    """The runs in these folders, opened; one below a folder that cannot be read is told of."""
    found = []
    for folder, name in folders_in(folders):
        try:
            found.append(RunView(folder, name))
        except StoreError as error:
            if folder in folders:
                raise
            _log.warning("left out: %s", error)
    return found


def follow_all(
    runs: list[RunView], folders: Sequence[Path], every_s: float = 10.0
) -> threading.Event:
    """Follow every run, and take in those that begin later below the folders, in a thread.

    Setting what is returned ends the thread.

    A benchmark has a run for each of its parts, and most of them begin while the page is open.
    New ones go to the end, so that addresses of the others stay.
    """
    for run in runs:
        run.follow()
    known, told, stop = {run.folder for run in runs}, set[Path](), threading.Event()

    def work() -> None:
        while not stop.wait(every_s):
            try:
                later = [pair for pair in folders_in(folders) if pair[0] not in known]
            except DataError:  # they were moved away: what is open stays open
                continue
            for folder, name in later:
                try:
                    run = RunView(folder, name)
                except StoreError as error:  # it may be at its beginning: the next look will say
                    if folder not in told:
                        _log.warning("not shown yet: %s", error)
                    told.add(folder)
                    continue
                known.add(folder)
                run.follow()
                runs.append(run)

    threading.Thread(target=work, daemon=True, name="runs that begin later").start()
    return stop
