"""The driver's end of a Ray actor, and the actor, without Ray between them.

What stands in for Ray runs a call in this process, and again in the next life of an actor that
dies; tests/external/test_ray.py has Ray itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from spct.config import Config
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, EngineError
from spct.integrations.ray_actors import Actor, Link, versions_here
from spct.models.judges import build_judge
from spct.runs.codec import dump_example
from spct.runs.judging import judge_into
from spct.runs.packed import Packed
from spct.runs.rows import packed
from spct.runs.saving import Saving
from spct.runs.store import Store
from spct.types import Completion, Example, Message, Prompt, SamplingParams

SETTINGS = {"engine": {"kind": "scripted"}, "judge": {"k": 2}}
IN_FLIGHT = 6
EXAMPLES = [
    Example(f"e{i}", (Message("user", f"Which tide is number {i}?"),), ("ebb tide", "flood"))
    for i in range(60)
]


class Call:
    def __init__(self, remote: Remote, name: str) -> None:
        self._remote, self._name = remote, name

    def remote(self, *args: Any) -> Awaitable[Any]:
        self._remote.n_calls[self._name] += 1
        return asyncio.ensure_future(self._remote.lives(self._name, args))


class Remote:
    """An actor in this process that can die; as with Ray, its calls go to its next life."""

    def __init__(self, cache: Path) -> None:
        self._cache = str(cache)
        self.n_calls: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        self._actor, self._death = Actor(SETTINGS, versions_here(), self._cache), asyncio.Event()

    def die(self) -> None:
        for task in self._actor._tasks.values():
            task.cancel()
        if self._actor._store is not None:
            self._actor._store.close()
        death = self._death
        self.begin()
        death.set()

    def __getattr__(self, name: str) -> Call:
        return Call(self, name)

    async def lives(self, name: str, args: Any) -> Any:
        while True:
            death = self._death
            call = asyncio.ensure_future(getattr(self._actor, name)(*args))
            dying = asyncio.ensure_future(death.wait())
            await asyncio.wait({call, dying}, return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            if not death.is_set():
                return call.result()
            call.cancel()


class Linked:
    """What the loop judges through."""

    fingerprint, concurrency = "linked", IN_FLIGHT

    def __init__(self, remote: Any) -> None:
        self.link = Link(remote, self.got)

    async def got(self, reference: Awaitable[Any]) -> Any:
        return await reference

    async def judge(self, example: Example) -> Packed:
        return await self.link.judge(example)


class Asked(Counter[Any]):
    """How often the engine was asked for each reply, and what happens in the middle of such."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: dict[int, Callable[[], None]] = {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Filled as examples are judged; some replies are slow."""
    found = Asked()
    inner = ScriptedEngine.sample

    async def sample(
        self: ScriptedEngine, prompt: Prompt, n: int, params: SamplingParams
    ) -> list[Completion]:
        found.update((prompt.example_id, seed) for seed in params.seeds)
        if (happens := found.moments.pop(found.total() // 20, None)) is not None:
            asyncio.get_running_loop().call_soon(happens)
        await asyncio.sleep(0.001 * (sum(params.seeds) % 40))
        return await inner(self, prompt, n, params)

    monkeypatch.setattr(ScriptedEngine, "sample", sample)
    return found


async def expected(example: Example) -> Packed:
    model = build_judge(Config.model_validate(SETTINGS))
    verdict = await model.judge(example)
    return packed(verdict, dump_example(example), Saving(model).of(verdict))


@pytest.mark.parametrize("kills", [0, 5])
async def test_every_example_comes_once_and_what_was_paid_is_not_asked_for_again(
    tmp_path: Path, asked: Asked, kills: int
) -> None:
    (tmp_path / "ray").mkdir()
    remote = Remote(tmp_path / "ray" / "0")
    asked.moments = dict.fromkeys(range(1, kills + 1), remote.die)
    found: list[Packed] = []

    def see(_: Example, verdict: Packed) -> None:
        found.append(verdict)

    with Store.open(tmp_path / "run", {}) as store:
        tally = await judge_into(
            Linked(remote),  # type: ignore[type-var]
            EXAMPLES,
            put=store.put_verdict,
            on_verdict=see,
        )
        assert tally.examples == len(EXAMPLES) == len({one.example_id for one in found})
    assert len(asked) == 2 * len(EXAMPLES)
    again = asked.total() - len(asked)
    assert not asked.moments and kills <= again <= kills * 2 * IN_FLIGHT
    assert max(remote.n_calls.values()) < len(EXAMPLES)  # several in a call
    by_id = {one.example_id: one for one in found}
    for example in EXAMPLES:
        assert by_id[example.id] == await expected(example)
    assert remote.n_calls["hand"] > kills


async def test_a_slow_example_keeps_no_other_waiting(asked: Asked, tmp_path: Path) -> None:
    slow, *others = EXAMPLES
    remote = Remote(tmp_path / "none" / "ray" / "0")  # a disk that it does not reach: no cache
    linked, gate, inner = Linked(remote), asyncio.Event(), Actor._judged

    async def waits(self: Actor, example: dict[str, Any]) -> Packed:
        if example["id"] == slow.id:
            await gate.wait()
        return await inner(self, example)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Actor, "_judged", waits)
        last = asyncio.ensure_future(linked.judge(slow))
        for example in others[:20]:
            assert (await linked.judge(example)).example_id == example.id
        assert not last.done()
        gate.set()
        assert (await last).example_id == slow.id
    assert linked.link.n_out == 0


@pytest.mark.parametrize("call", ["hand", "take"])
async def test_a_call_that_fails_is_told_to_all_that_wait(call: str, tmp_path: Path) -> None:
    remote = Remote(tmp_path / "0")

    async def fails(*_: Any) -> None:
        raise EngineError("the endpoint refuses the key")

    setattr(remote._actor, call, fails)
    linked = Linked(remote)
    found = await asyncio.gather(*map(linked.judge, EXAMPLES[:5]), return_exceptions=True)
    assert [str(error) for error in found] == ["the endpoint refuses the key"] * 5


async def test_an_error_of_the_run_in_an_actor_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> list[Completion]:
        raise EngineError("refused")

    monkeypatch.setattr(ScriptedEngine, "sample", refused)
    with pytest.raises(EngineError, match="refused"):
        await judge_into(Linked(Remote(tmp_path / "0")), EXAMPLES)  # type: ignore[type-var]


def test_an_actor_of_another_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="install the same"):
        Actor(SETTINGS, "spct 0 on Python 2.7", None)
