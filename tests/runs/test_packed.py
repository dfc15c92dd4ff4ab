"""Verdicts that come packed from where they were judged: the same run, and no payload is read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.protocols import Traits
from spct.runs import rows
from spct.runs.codec import dump_example
from spct.runs.database import DB_NAME
from spct.runs.judging import Tally, judge_into
from spct.runs.packed import Packed
from spct.runs.saving import Saving
from spct.runs.store import Store
from spct.types import Criteria, Criterion, Example, Verdict
from tests.runs.test_judging import EXAMPLES, wavering

CRITERIA = Criteria((Criterion("tide", "It names the tide."),))
MIXED = [
    replace(example, reference="\ud800 \u00fc", gold=(1.0, 0.0), meta={"n": i}, criteria=CRITERIA)
    for i, example in enumerate(EXAMPLES)
]
JUDGE = GenerativeRM(ScriptedEngine(wavering, name="x"), k=4)


@dataclass
class Elsewhere:
    """A judge whose verdicts are packed where they are made; what it cannot send is a fault."""

    model: GenerativeRM
    broken: str = ""

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def traits(self) -> Traits:
        return self.model.traits

    @property
    def concurrency(self) -> int:
        return self.model.concurrency

    async def judge(self, example: Example) -> Verdict | Packed:
        if example.id == self.broken:
            raise KeyError(example.id)
        verdict = await self.model.judge(example)
        return rows.packed(verdict, dump_example(example), Saving(self.model).of(verdict))


async def run_of(judge: Any, folder: Path) -> tuple[Any, ...]:
    """All that is left of a run: what was counted, what is finished, and the rows of the store."""
    saving, tally = Saving(JUDGE), Tally()

    def count(_: Example, verdict: Verdict | Packed) -> None:
        saving.add(verdict)

    with Store.open(folder, {}) as store:
        await judge_into(judge, MIXED, put=store.put_verdict, on_verdict=count, tally=tally)
        done = set(store.finished_ids())
    with closing(sqlite3.connect(folder / DB_NAME)) as db:
        columns = "example_id, position, n_failed, payload, checksum"
        found = db.execute(f"SELECT {columns} FROM verdicts ORDER BY position").fetchall()
    saved = (saving.n_drawn, saving.n_needed, saving.n_winners, saving.n_changed)
    return tally.summary(), tally, saved, done, found


async def test_a_run_of_packed_verdicts_is_the_run_byte_by_byte(tmp_path: Path) -> None:
    here = await run_of(JUDGE, tmp_path / "here")
    there = await run_of(Elsewhere(JUDGE), tmp_path / "there")
    assert there == here
    summary, tally, saved, done, found = here
    assert tally.unscored["failed"] and tally.unscored["truncated"] and saved[1] > 0
    assert len(found) == len(MIXED) > len(done) > 0
    assert "12 of 12 examples bring criteria, which this judge does not read" in summary


async def test_a_packed_verdict_is_stored_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = rows.packed(await JUDGE.judge(MIXED[0]), dump_example(MIXED[0]))
    with Store.open(tmp_path, {}) as store:
        for name in ("packed", "unpack", "dump_example"):
            monkeypatch.setattr(f"spct.runs.store.{name}", None)  # what reads or writes it raises
        await store.put_verdict(verdict, MIXED[0], 7)
        monkeypatch.undo()
        (sound,) = store.judged()
    assert sound.example == MIXED[0] and sound.verdict == await JUDGE.judge(MIXED[0])


async def test_what_goes_wrong_beside_the_judge_is_of_that_example_alone(tmp_path: Path) -> None:
    summary, tally, _, done, found = await run_of(Elsewhere(JUDGE, broken="id-3"), tmp_path)
    assert len(found) == len(MIXED) and "id-3" not in done
    assert tally.without_rewards == 1 and "KeyError" in summary
