from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spct.errors import ConfigError, ContextOverflow, EngineError
from spct.protocols import Engine
from spct.runs.engines import RecordingEngine, call_keys
from spct.runs.store import Store
from spct.types import Completion, Message, Prompt, SamplingParams
from tests.runs.nouns import params_of, prompt_of, reply_of


class CountingEngine(Engine):
    """Gives `reply_of` each seed, or what `answer` says; remembers the seeds it was asked for."""

    fingerprint = "test"

    def __init__(self, answer: Callable[[Prompt, int], Completion] = reply_of) -> None:
        self.answer = answer
        self.asked: list[int] = []
        self.closed = False

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        assert n == len(params.seeds)
        self.asked += params.seeds
        await asyncio.sleep(0)
        return [self.answer(prompt, seed) for seed in params.seeds]

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "run", {}) as store:
        yield store


PROMPT = prompt_of("a")


def replies(*seeds: int) -> list[Completion]:
    return [reply_of(PROMPT, seed) for seed in seeds]


# --- recording -----------------------------------------------------------------------------------


async def test_only_what_is_missing_is_drawn_and_the_order_is_that_of_the_seeds(
    store: Store,
) -> None:
    inner = CountingEngine()
    engine = RecordingEngine(inner, store)
    assert await engine.sample(PROMPT, 2, params_of(5, 3)) == replies(5, 3)
    assert await engine.sample(PROMPT, 4, params_of(1, 3, 5, 2)) == replies(1, 3, 5, 2)
    assert inner.asked == [5, 3, 1, 2]
    assert (engine.n_drawn, engine.n_replayed) == (4, 2)


async def test_a_reply_is_committed_before_it_is_returned(store: Store) -> None:
    await RecordingEngine(CountingEngine(), store).sample(PROMPT, 1, params_of(1))
    with Store.read(store.folder) as reader:
        [key] = call_keys("test", PROMPT, params_of(1))
        assert reader.replies([key]) == {key: reply_of(PROMPT, 1)}


@pytest.mark.parametrize("finish", ["error", "content_filter"])
async def test_a_failed_call_is_tried_again(store: Store, finish: str) -> None:
    inner = CountingEngine()
    engine = RecordingEngine(inner, store)
    bad = Completion("", finish, error="no")  # type: ignore[arg-type]
    inner.answer = lambda prompt, seed: bad if seed == 2 else reply_of(prompt, seed)
    assert await engine.sample(PROMPT, 2, params_of(1, 2)) == [reply_of(PROMPT, 1), bad]
    inner.answer = reply_of
    assert await engine.sample(PROMPT, 2, params_of(1, 2)) == replies(1, 2)
    assert inner.asked == [1, 2, 2]
    assert store.counts()["failed_calls"] == 1


async def test_an_engine_that_raises_stores_nothing_and_can_be_asked_again(store: Store) -> None:
    def dead(prompt: Prompt, seed: int) -> Completion:
        raise EngineError("gone")

    inner = CountingEngine(dead)
    engine = RecordingEngine(inner, store)
    with pytest.raises(EngineError, match="gone"):
        await engine.sample(PROMPT, 1, params_of(1))
    inner.answer = reply_of
    assert await engine.sample(PROMPT, 1, params_of(1)) == replies(1)


async def test_an_engine_that_returns_too_few_is_refused(store: Store) -> None:
    class Short(CountingEngine):
        async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
            return []

    with pytest.raises(EngineError, match="asked test for 1 completions of example 'a', got 0"):
        await RecordingEngine(Short(), store).sample(PROMPT, 1, params_of(1))


async def test_the_same_sample_twice_at_once_is_refused_not_paid_twice(store: Store) -> None:
    inner = CountingEngine()
    engine = RecordingEngine(inner, store)
    first = asyncio.create_task(engine.sample(PROMPT, 1, params_of(1)))
    await asyncio.sleep(0)
    with pytest.raises(ConfigError, match="'a' is being judged twice at once"):
        await engine.sample(PROMPT, 1, params_of(1))
    assert await first == replies(1)
    assert inner.asked == [1]


class OneByOne(CountingEngine):
    """Makes a call for each completion, as for an endpoint that ignores n; the last one fails."""

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        assert params.on_completion is not None
        done = []
        for place, seed in enumerate(params.seeds):
            if seed == 9:
                raise EngineError("went away")
            done += await super().sample(prompt, 1, replace(params, seeds=(seed,)))
            await params.on_completion(place, done[-1])
        return done


async def test_each_completion_is_stored_when_it_arrives_whatever_becomes_of_its_siblings(
    store: Store,
) -> None:
    inner = OneByOne()
    engine = RecordingEngine(inner, store)
    with pytest.raises(EngineError, match="went away"):
        await engine.sample(PROMPT, 3, params_of(1, 2, 9))
    assert store.counts()["calls"] == engine.n_drawn == 2
    assert await engine.sample(PROMPT, 3, params_of(1, 2, 3)) == replies(1, 2, 3)
    assert inner.asked == [1, 2, 3]
    assert (store.counts()["calls"], engine.n_drawn) == (3, 3)


@pytest.mark.parametrize("seeds", [(), (1,), (1, 2, 3), (-1, 2), (1, 2**63)])
async def test_each_sample_needs_a_seed(store: Store, seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="seed"):
        await RecordingEngine(CountingEngine(), store).sample(PROMPT, 2, params_of(*seeds))


async def test_two_samples_that_share_a_seed_are_two_replies(store: Store) -> None:
    inner = CountingEngine()
    inner.answer = lambda prompt, seed: Completion(f"reply {len(inner.asked)} {id(object())}")
    first = await RecordingEngine(inner, store).sample(PROMPT, 3, params_of(1, 2, 1))
    again = await RecordingEngine(inner, store).sample(PROMPT, 3, params_of(1, 2, 1))
    assert again == first
    assert inner.asked == [1, 2, 1]
    assert store.counts()["calls"] == 3


async def test_a_prompt_that_does_not_fit_is_on_record(store: Store) -> None:
    def too_long(prompt: Prompt, seed: int) -> Completion:
        raise ContextOverflow("9216 tokens of 8192")

    with pytest.raises(ContextOverflow):
        await RecordingEngine(CountingEngine(too_long), store).sample(PROMPT, 2, params_of(1, 2))
    failed = Completion("", "error", error="9216 tokens of 8192")
    keys = call_keys("test", PROMPT, params_of(1, 2))
    assert store.failures(keys) == dict.fromkeys(keys, failed)
    assert store.counts()["calls"] == 0


async def test_closing_closes_the_engine_and_not_the_store(store: Store) -> None:
    inner = CountingEngine()
    engine = RecordingEngine(inner, store)
    await engine.aclose()
    assert inner.closed
    assert store.counts()["calls"] == 0


# --- keys ----------------------------------------------------------------------------------------

CHANGES = {
    "example": (replace(PROMPT, example_id="b"), params_of(1)),
    "order": (replace(PROMPT, order=(1, 0)), params_of(1)),
    "text": (replace(PROMPT, messages=(Message("user", "other"),)), params_of(1)),
    "role": (
        replace(PROMPT, messages=(Message("system", PROMPT.messages[0].content),)),
        params_of(1),
    ),
    "hint": (replace(PROMPT, hint=0), params_of(1)),
    "seed": (PROMPT, params_of(2)),
    "temperature": (PROMPT, replace(params_of(1), temperature=0.6)),
    "top_p": (PROMPT, replace(params_of(1), top_p=0.9)),
    "max_tokens": (PROMPT, replace(params_of(1), max_tokens=9)),
    "top_logprobs": (PROMPT, replace(params_of(1), top_logprobs=0)),
    "stop": (PROMPT, replace(params_of(1), stop=("x",))),
    "grammar": (PROMPT, replace(params_of(1), grammar="root ::= x")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_changes_with_all_that_a_reply_depends_on(change: str) -> None:
    assert call_keys("test", *CHANGES[change]) != call_keys("test", PROMPT, params_of(1))


def test_a_key_changes_with_the_engine() -> None:
    assert call_keys("a", PROMPT, params_of(1)) != call_keys("b", PROMPT, params_of(1))


def test_a_key_does_not_depend_on_the_other_seeds_of_the_call() -> None:
    assert call_keys("test", PROMPT, params_of(7, 1))[1:] == call_keys("test", PROMPT, params_of(1))


def test_every_field_of_the_sampling_parameters_is_in_the_key() -> None:
    assert set(SamplingParams.__slots__) - {"seeds", "on_completion"} <= set(CHANGES)


# --- again ---------------------------------------------------------------------------------------


async def test_what_is_no_good_is_drawn_again_with_another_seed_and_takes_its_place(
    store: Store,
) -> None:
    inner = CountingEngine()
    await RecordingEngine(inner, store).sample(PROMPT, 3, params_of(1, 2, 3))
    again = {("a", 2): reply_of(PROMPT, 2)}
    engine = RecordingEngine(inner, store, again)
    first, other, third = await engine.sample(PROMPT, 3, params_of(1, 2, 3))
    assert [first, third] == replies(1, 3)
    assert inner.asked[:3] == [1, 2, 3] and len(inner.asked) == 4
    assert other == reply_of(PROMPT, inner.asked[3]) != reply_of(PROMPT, 2)
    # A kill here: the same is asked for once more, and is not paid for once more.
    engine = RecordingEngine(inner, store, again)
    assert await engine.sample(PROMPT, 3, params_of(1, 2, 3)) == [first, other, third]
    assert (engine.n_drawn, engine.n_replayed, len(inner.asked)) == (0, 3, 4)
    [key] = call_keys("test", PROMPT, params_of(2))
    assert store.failures([key]) == {key: reply_of(PROMPT, 2)}  # paid for, and kept as evidence


async def test_a_second_try_that_fails_leaves_the_first_in_its_place(store: Store) -> None:
    inner = CountingEngine()
    await RecordingEngine(inner, store).sample(PROMPT, 1, params_of(1))
    inner.answer = lambda prompt, seed: Completion("", "error", error="away")
    engine = RecordingEngine(inner, store, {("a", 1): reply_of(PROMPT, 1)})
    assert await engine.sample(PROMPT, 1, params_of(1)) == replies(1)
    assert store.counts() == {"calls": 1, "failed_calls": 1, "verdicts": 0, "quarantine": 0}


async def test_a_third_try_has_a_seed_of_its_own_too(store: Store) -> None:
    inner = CountingEngine()
    reply = (await RecordingEngine(inner, store).sample(PROMPT, 1, params_of(1)))[0]
    for _ in range(3):
        engine = RecordingEngine(inner, store, {("a", 1): reply})
        [reply] = await engine.sample(PROMPT, 1, params_of(1))
    assert len(set(inner.asked)) == len(inner.asked) == 4
