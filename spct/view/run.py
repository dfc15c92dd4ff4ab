"""One run as the page shows it: its head, its list, one example, its figures.

Everything here is read from the run's store and index; every number comes from spct.measure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spct.errors import DataError, SpctError, StoreError
from spct.measure.agreement import cohens_kappa
from spct.measure.outcomes import outcome_of
from spct.measure.runner import slug
from spct.runs.codec import Record, load_verdict
from spct.runs.database import DB_NAME
from spct.runs.folder import CONFIG_NAME, read_config
from spct.runs.store import Store
from spct.view.figures import accuracy_of, compared, figures_of
from spct.view.index import Index
from spct.view.keys import id_of, key_of
from spct.view.marks import Marks
from spct.view.settings import RunSettings, settings_of
from spct.view.votes import votes_of

_log = logging.getLogger(__name__)
FIRST_ROWS_S = 1.0  # what a first screen waits for an index that is being built


class RunView:
    """A run folder behind the page. `follow` in a thread keeps the list up with the run."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        with Store.read(folder) as store:
            self.settings: RunSettings = settings_of({**store.config, **_voted_by(folder)})
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
            "read_only": not self.marks.is_writable,
            "human": self._human(),
            "note": self._problem,
        }

    def _once(self, name: str, n: int, compute: Any) -> Any:
        """A figure that is computed again only when there are more verdicts."""
        if name not in self._kept or self._kept[name][0] != n:
            self._kept[name] = (n, compute())
        return self._kept[name][1]

    def _human(self) -> dict[str, Any] | None:
        """How often a person agrees with the judge, over the marks that decide."""
        marks = {id: m["mark"] for id, m in self.marks.read().items() if m["mark"] != "skip"}
        if not marks:
            return None
        both = [
            (marks[id], "tie" if winner is None else winner)
            for id, winner, outcome in self.index.columns("id", "winner", "outcome")
            if id in marks and outcome != "unscored"
        ]
        if not both:
            return None
        agreement = sum(a == b for a, b in both) / len(both)
        return {"n": len(both), "agreement": agreement, "kappa": cohens_kappa(both)}

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

    def _record(self, id: str, store: Store) -> Record:
        record = store.record(id_of(id))
        if record is None:
            raise DataError(f"no sound verdict on example {id!r} in {self.name}")
        return record

    def example(self, id: str) -> dict[str, Any]:
        """All that one screen shows of an example."""
        return next(self.examples([id]))

    def examples(self, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        """All that one screen shows, of each of these examples."""
        marks = self.marks.read()
        with Store.read(self.folder) as store:
            for id in ids:
                yield self._shown(self._record(id, store), marks.get(id))

    def _shown(self, record: Record, mark: dict[str, Any] | None) -> dict[str, Any]:
        gold = (record.get("example") or {}).get("gold")
        return record | {
            "key": key_of(record["id"]),
            "outcome": outcome_of(record["rewards"], gold).name,
            "votes": votes_of(load_verdict(record), self.settings),
            "human": mark,
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
            record = self._record(id, store)
        n = len((record.get("example") or {}).get("responses") or record["rewards"] or ())
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
    parts = (read_config(folder.absolute().parents[3] / CONFIG_NAME) or {}).get("parts", {})
    for model, by_part in parts.items():
        for name, found in by_part.items():
            if (slug(model), slug(name)) == (label, slug(f"{benchmark}.{mode}")):
                return {key: found[key] for key in ("vote", "k_meta", "scale") if key in found}
    return {}


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
