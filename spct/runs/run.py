"""A run: the folder that a command continues, open for this process alone, and what is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from spct.core.seen import Names
from spct.runs.database import DB_NAME
from spct.runs.engines import Again
from spct.runs.folder import claimed, write_run_files
from spct.runs.judging import Tally
from spct.runs.store import Store
from spct.types import Trajectory, Unscored, Verdict


@contextmanager
def open_run(
    root: Path,
    name: str,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    at: Path | None = None,
    fresh: bool = False,
    accept_drift: bool = False,
    durable: bool = False,
) -> Iterator[Store]:
    """The store of the run that a command continues, or of a new one, under `root` or `at`.

    A set-up that fails leaves no folder behind: nothing would ever continue it.
    """
    with claimed(root, name, identity, settings, fresh=fresh, at=at) as claim:
        try:
            store = Store.open(
                claim.folder,
                identity,
                fresh=fresh,
                accept_drift=accept_drift,
                durable=durable,
                lock=claim.lock,
            )
        except BaseException:
            if claim.is_new:
                shutil.rmtree(claim.folder, ignore_errors=True)
            raise
        with store:
            if not claim.is_new:  # after the store has said that it is the same run
                write_run_files(claim.folder, {"identity": identity, "settings": settings})
            yield store


class Before(NamedTuple):
    """What a run holds when a command begins."""

    finished: Names
    again: Again  # what to draw once more, if that is asked for

    def add_to(self, tally: Tally, store: Store, *, whole: bool = True) -> None:
        """Count what was finished before in the tally of a session, so that it is of the run.

        A million verdicts take minutes to load: unless the `whole` is wanted, only so many of
        them are as tell that something was scored.
        """
        for verdict in store.verdicts() if self.finished else ():
            if not whole and tally.examples > tally.without_rewards:
                break
            if verdict.example_id in self.finished:
                tally.add(verdict)


def look_back(store: Store, *, retry_unscored: bool = False) -> Before:
    """Find what is finished: with `retry_unscored`, no example that lacks a judgement."""
    before = Before(Names(), {})
    if not retry_unscored:
        for id in store.finished_ids():
            before.finished.add(id)
        return before
    for verdict in store.verdicts():
        if unscored := [t for t in verdict.trajectories if isinstance(t.outcome, Unscored)]:
            before.again.update(_asked(unscored))
        else:
            before.finished.add(verdict.example_id)
    return before


def open_anew(folder: Path, identity: Mapping[str, Any]) -> Store:
    """The store of what has this identity; one of another identity is set aside, not continued."""
    identity = json.loads(json.dumps(identity))  # as the store holds it: tuples are lists there
    is_other = False
    if (folder / DB_NAME).is_file():
        with Store.read(folder) as before:
            is_other = before.config != identity
    return Store.open(folder, identity, fresh=is_other)


def finished(store: Store, ids: Container[str], k: int) -> Iterator[Verdict]:
    """The verdicts on `ids` that need no more work: at least k were asked for, no call failed."""
    return (
        v
        for v in store.verdicts()
        if v.k_asked >= k and "failed" not in v.unscored and v.example_id in ids
    )


def _asked(unscored: list[Trajectory]) -> Again:
    """The replies that did not count, or of a judgement in parts those of them that did not."""
    whole = {(t.example_id, t.seed): t.completion for t in unscored if not t.parts}
    parts = {
        (t.example_id, part.seed): part.completion
        for t in unscored
        for part in t.parts
        if isinstance(part.outcome, Unscored)
    }
    return whole | parts
