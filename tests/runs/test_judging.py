"""A judge over the store, from end to end: judged once, then only read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine, fake_judgement
from spct.errors import (
    ConfigError,
    ContextOverflow,
    DataError,
    EngineError,
    FormatError,
    OverBudget,
    StoreError,
)
from spct.protocols import Engine
from spct.runs.engines import recorded
from spct.runs.judging import Tally, judge_into
from spct.runs.run import look_back
from spct.runs.store import Store
from spct.text.format import SINGLE
from spct.types import (
    Completion,
    Criteria,
    Criterion,
    Example,
    Message,
    Prompt,
    SamplingParams,
    Verdict,
)

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


async def judge_all(store: Store, engine: Engine) -> tuple[dict[str, Verdict], Tally]:
    model, _ = recorded(GenerativeRM(engine, k=4), store)
    seen: dict[str, Verdict] = {}
    tally = await judge_into(
        model, EXAMPLES, put=store.put_verdict, on_verdict=lambda e, v: seen.update({e.id: v})
    )
    return seen, tally


async def test_judging_again_makes_no_call_but_for_those_that_failed(tmp_path: Path) -> None:
    with Store.open(tmp_path, {}) as store:
        first, tally = await judge_all(store, ScriptedEngine(wavering, name="x"))
        failed = sum(verdict.unscored.get("failed", 0) for verdict in first.values())
        assert failed > 0 and tally.unscored["failed"] == failed
        done = {name for name, verdict in first.items() if "failed" not in verdict.unscored}
        assert set(store.finished_ids()) == done
    with Store.open(tmp_path, {}) as store:
        inner = ScriptedEngine(name="x")
        again, _ = await judge_all(store, inner)
        assert inner.n_samples == failed
        assert all(again[name] == first[name] for name in done)
        assert set(store.finished_ids()) == {example.id for example in EXAMPLES}


async def test_what_is_finished_is_not_judged_and_the_store_has_it_before_anybody_sees_it(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path, {}) as store:

        def see(example: Example, verdict: Verdict) -> None:
            assert example.id == verdict.example_id and example.id in set(store.finished_ids())

        model = GenerativeRM(ScriptedEngine(name="x"), k=1)
        done = {example.id for example in EXAMPLES[:5]}
        tally = await judge_into(
            model, EXAMPLES, put=store.put_verdict, finished=done, on_verdict=see
        )
        assert tally.examples == len(EXAMPLES) - 5
        assert [v.example_id for v in store.verdicts()] == [e.id for e in EXAMPLES[5:]]


class Odd(ScriptedEngine):
    """Raises on one example what its `error` says."""

    error: Exception = ValueError()

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        if prompt.example_id == "id-3":
            raise self.error
        return await super().sample(prompt, n, params)


@pytest.mark.parametrize(
    "error",
    [
        FormatError("the template raises"),
        DataError("roles must alternate"),
        ContextOverflow("9216 tokens of 8192"),
        KeyError("tool_calls"),
        RecursionError("too deep"),
    ],
)
async def test_the_fault_of_one_example_stays_its_own(error: Exception) -> None:
    engine, seen = Odd(name="x"), {}
    engine.error = error
    tally = await judge_into(
        GenerativeRM(engine, k=2), EXAMPLES, on_verdict=lambda e, v: seen.update({e.id: v})
    )
    assert (tally.examples, tally.without_rewards) == (len(EXAMPLES), 1)
    assert seen["id-3"].rewards is None and set(seen["id-3"].unscored) == {"failed"}
    assert str(error.args[0]) in tally.summary()
    tally.check()


@pytest.mark.parametrize("error", [EngineError("gone"), StoreError("full"), ConfigError("no")])
async def test_an_error_of_the_whole_run_ends_it(error: Exception) -> None:
    engine = Odd(name="x")
    engine.error = error
    with pytest.raises(type(error), match=str(error)):
        await judge_into(GenerativeRM(engine, k=2), EXAMPLES)


async def test_a_format_that_shows_no_example_of_a_file_scores_nothing_and_says_so() -> None:
    tally = await judge_into(GenerativeRM(ScriptedEngine(), SINGLE, k=2), EXAMPLES)
    with pytest.raises(OverBudget, match=f"none of {len(EXAMPLES)} examples"):
        tally.check()
    assert len(tally.reasons()) == 1


async def test_two_examples_of_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="two examples have the id 'id-0'"):
        await judge_into(GenerativeRM(ScriptedEngine()), [EXAMPLES[0], EXAMPLES[0]])


async def test_what_a_run_lacks_is_asked_for_again_and_what_it_has_is_not(tmp_path: Path) -> None:
    def cut(prompt: Prompt, seed: int) -> str | Completion:
        whole = fake_judgement(prompt, seed)
        return Completion(whole[:40], "length") if seed % 3 == 0 else whole

    async def sample(*, retry: bool) -> tuple[ScriptedEngine, Tally]:
        engine = ScriptedEngine(cut, name="x")
        with Store.open(tmp_path, {}) as store:
            before = look_back(store, retry_unscored=retry)
            model, _ = recorded(GenerativeRM(engine, k=4), store, before.again)
            tally = await judge_into(
                model,
                EXAMPLES,
                put=store.put_verdict,
                finished=before.finished,
            )
            before.add_to(tally, store)
        return engine, tally

    _, first = await sample(retry=False)
    lacking = first.n_unscored
    assert lacking > 6
    engine, same = await sample(retry=False)
    assert (engine.n_samples, same.n_unscored) == (0, lacking)
    for _ in range(6):
        engine, then = await sample(retry=True)
        assert engine.n_samples == lacking  # each of them once, and nothing else
        assert then.judgements == 4 * len(EXAMPLES)
        lacking, before = then.n_unscored, lacking
        assert lacking <= before
    assert lacking < first.n_unscored / 3


async def test_what_an_example_brings_to_no_use_is_counted() -> None:
    criteria = Criteria((Criterion("tide", "It names the tide."),))
    rows = [
        replace(EXAMPLES[0], criteria=criteria, reference="flood"),
        replace(EXAMPLES[1], criteria=criteria),
        EXAMPLES[2],
    ]
    shown = await judge_into(GenerativeRM(ScriptedEngine(), k=1), rows)
    assert shown.unread == {"criteria": 2}  # the reference is shown
    assert "2 of 3 examples bring criteria, which this judge does not read" in shown.summary()


async def test_looking_back_loads_no_verdict_and_names_what_all_of_them_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path, {}) as store:
        verdicts, _ = await judge_all(store, ScriptedEngine(wavering, name="x"))
        done = {name for name, verdict in verdicts.items() if "failed" not in verdict.unscored}
        monkeypatch.setattr("spct.runs.store.unpack", None)  # a verdict that is loaded raises
        before = look_back(store)
        monkeypatch.undo()
        assert 0 < len(done) == len(before.finished) < len(EXAMPLES)
        assert {e.id for e in EXAMPLES if e.id in before.finished} == done
        whole, enough, expected = Tally(), Tally(), Tally()
        before.add_to(whole, store)
        before.add_to(enough, store, whole=False)
        for name in done:
            expected.add(verdicts[name])
        assert whole.summary() == expected.summary() and whole.unscored
        assert enough.examples == 1  # which has rewards: nothing more is to be known


async def test_of_a_run_without_any_reward_all_is_read_to_say_so(tmp_path: Path) -> None:
    with Store.open(tmp_path, {}) as store:
        await judge_into(
            GenerativeRM(ScriptedEngine(lambda prompt, seed: "no verdict"), k=2),
            EXAMPLES,
            put=store.put_verdict,
        )
        before, tally = look_back(store), Tally()
        assert len(before.finished) == len(EXAMPLES)
        before.add_to(tally, store, whole=False)
        with pytest.raises(OverBudget, match=f"none of {len(EXAMPLES)} examples"):
            tally.check()
