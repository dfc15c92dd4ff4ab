"""A judge over the store, from end to end: judged once, then only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.core.vote import majority
from spct.engines.scripted import ScriptedEngine, fake_judgement
from spct.errors import StoreError
from spct.runs.engines import RecordingEngine, ReplayEngine
from spct.runs.export import export
from spct.runs.store import Store
from spct.types import Completion, Engine, Example, Message, Prompt, Verdict

EXAMPLES = [
    Example(f"id-{i}", (Message("user", f"Which tide is number {i}?"),), ("ebb tide", "flood"))
    for i in range(12)
]


def wavering(prompt: Prompt, seed: int) -> str | Completion:
    """Fails one call in five and ends one reply in five too soon."""
    match seed % 5:
        case 0:
            return Completion("", "error", error="timed out")
        case 1:
            return Completion(fake_judgement(prompt, seed)[:40], "length")
        case _:
            return fake_judgement(prompt, seed)


async def judge_all(store: Store, engine: Engine, **options: object) -> dict[str, Verdict]:
    positions = {example.id: i for i, example in enumerate(EXAMPLES)}
    judge = GenerativeRM(engine, k=4, **options)  # type: ignore[arg-type]
    verdicts = {}
    async for verdict in judge.judge_many(EXAMPLES):
        await store.put_verdict(verdict, position=positions[verdict.example_id])
        verdicts[verdict.example_id] = verdict
    return verdicts


async def test_judging_again_makes_no_call_but_for_those_that_failed(tmp_path: Path) -> None:
    with Store.open(tmp_path, {}) as store:
        first = await judge_all(store, RecordingEngine(ScriptedEngine(wavering, name="x"), store))
        failed = sum(verdict.unscored.get("failed", 0) for verdict in first.values())
        assert failed > 0
        done = {name for name, verdict in first.items() if "failed" not in verdict.unscored}
        assert store.finished_ids() == done
    with Store.open(tmp_path, {}) as store:
        inner = ScriptedEngine(name="x")
        again = await judge_all(store, RecordingEngine(inner, store))
        assert inner.n_samples == failed
        assert all(again[name] == first[name] for name in done)
        assert store.finished_ids() == {example.id for example in EXAMPLES}


async def test_a_rescore_gives_the_same_verdicts_and_another_vote_without_an_engine(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "run", {}) as store:
        engine = ScriptedEngine(wavering, name="x")
        first = await judge_all(store, RecordingEngine(engine, store))
        export(store, tmp_path / "first.jsonl")
        replay = ReplayEngine(store, engine.fingerprint)
        assert await judge_all(store, replay) == first
        export(store, tmp_path / "again.jsonl")
        assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "first.jsonl").read_bytes()
        shares = await judge_all(store, replay, vote=majority)
        assert any(shares[name].rewards != first[name].rewards for name in first)
        for verdict in shares.values():
            assert verdict.rewards is None or sum(verdict.rewards) == pytest.approx(1)


async def test_a_rescore_under_another_prompt_format_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path, {}) as store:
        engine = ScriptedEngine(name="x")
        await judge_all(store, RecordingEngine(engine, store))
        with pytest.raises(StoreError, match="no stored reply for"):
            await judge_all(store, ReplayEngine(store, engine.fingerprint), seed=1)
