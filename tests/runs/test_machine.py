"""Judging, failing, killing, exporting and damage in any order: the store keeps its word."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spct.runs.engines import RecordingEngine, call_keys
from spct.runs.export import export
from spct.runs.store import Store
from spct.types import Completion, Prompt, SamplingParams
from tests.runs.nouns import params_of, prompt_of, reply_of, verdict_of

EXAMPLES = st.integers(0, 4)
SEEDS = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


class Run(RuleBasedStateMachine):
    """The model: which samples were paid for, and on which samples each verdict stands."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.lives = 0
        self.loop = asyncio.new_event_loop()
        self.paid: Counter[tuple[str, int]] = Counter()
        self.stored: set[tuple[str, int]] = set()
        self.settled: dict[str, list[int]] = {}
        self.failing: set[int] = set()
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.root / f"life-{self.lives}", {"k": 4})
        self.engine = RecordingEngine(self, self.store)

    def teardown(self) -> None:
        self.store.close()
        self.loop.close()
        shutil.rmtree(self.root)

    # --- the engine under the recorder

    fingerprint = "test"

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        self.paid.update((prompt.example_id, seed) for seed in params.seeds)
        return [
            Completion("", "error", error="down")
            if seed in self.failing
            else reply_of(prompt, seed)
            for seed in params.seeds
        ]

    async def aclose(self) -> None: ...

    # --- what may happen

    @rule(i=EXAMPLES, seeds=SEEDS)
    def judge(self, i: int, seeds: list[int]) -> None:
        prompt = prompt_of(f"id-{i}")
        drawn = self.loop.run_until_complete(
            self.engine.sample(prompt, len(seeds), params_of(*seeds))
        )
        for seed, reply in zip(seeds, drawn, strict=True):
            if reply.finish_reason == "stop":
                assert reply == reply_of(prompt, seed)
                self.stored.add((prompt.example_id, seed))
        verdict = verdict_of(prompt.example_id, list(zip([prompt] * 9, seeds, drawn)))  # noqa: B905
        self.loop.run_until_complete(self.store.put_verdict(verdict, position=i))
        self.settled[prompt.example_id] = [] if verdict.unscored else seeds

    @rule(failing=st.sets(st.integers(0, 3), max_size=2))
    def fail(self, failing: set[int]) -> None:
        self.failing = failing

    @rule()
    def kill(self) -> None:
        """What a kill leaves behind: the files as they are, without a close."""
        new = self.root / f"life-{self.lives + 1}"
        shutil.copytree(self.store.folder, new)
        self.store.close()
        self.lives += 1
        self.open()

    @rule()
    def close(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def lose_a_reply(self) -> None:
        with closing(sqlite3.connect(self.store.folder / "run.db")) as db, db:
            db.execute(
                "UPDATE calls SET payload = x'00' WHERE rowid = (SELECT min(rowid) FROM calls)"
            )

    @rule()
    def export(self) -> None:
        export(self.store, self.root / "out.jsonl")
        lines = (self.root / "out.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == sorted(self.settled)

    @rule(i=EXAMPLES)
    def read_again(self, i: int) -> None:
        prompt, seeds = prompt_of(f"id-{i}"), self.settled.get(f"id-{i}", [])
        if seeds and not self.damaged():
            keys = call_keys("test", prompt, params_of(*seeds))
            assert [self.store.replies(keys)[key] for key in keys] == [
                reply_of(prompt, seed) for seed in seeds
            ]

    def damaged(self) -> int:
        with closing(sqlite3.connect(self.store.folder / "run.db")) as db:
            rows = "SELECT (SELECT count(*) FROM calls WHERE payload = x'00') + count(*)"
            return int(db.execute(f"{rows} FROM quarantine").fetchone()[0])

    # --- what always holds

    @invariant()
    def finished_is_what_was_settled_without_a_failure(self) -> None:
        assert set(self.store.finished_ids()) == {
            name for name, seeds in self.settled.items() if seeds
        }

    @invariant()
    def no_reply_is_paid_for_twice_but_a_lost_one(self) -> None:
        twice = sum(times - 1 for sample, times in self.paid.items() if sample in self.stored)
        failures = self.store.counts()["failed_calls"]
        assert twice <= failures + self.store.counts()["quarantine"]

    @invariant()
    def no_reply_is_stored_twice(self) -> None:
        assert self.store.counts()["calls"] <= len(self.stored)


@pytest.fixture(autouse=True)
def no_linger() -> object:
    with mock.patch("spct.runs.commit.LINGER_S", 0):
        yield


Run.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


class TestRun(Run.TestCase):  # type: ignore[name-defined,misc]
    pass


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestRunAtLength(Run.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
