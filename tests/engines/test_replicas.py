"""Several real endpoints behind one engine: spread, moved on, set aside, refused."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from spct.engines.openai import OpenAIEngine
from spct.engines.openai.endpoints import Endpoint, read_endpoints
from spct.engines.retry import Outage, RetryPolicy
from spct.errors import ConfigError, EndpointError
from spct.types import Completion, Message, Prompt, SamplingParams
from tests.engines.fault_server import MODEL, FaultServer, Served, as_json, chat_reply, error
from tests.runs.conftest import endpoints


def prompt(i: int) -> Prompt:
    return Prompt(f"e{i}", (Message("user", f"Which is better, {i}?"),), (0, 1))


def ok(completions: list[Completion]) -> bool:
    return all(c.finish_reason == "stop" and c.text for c in completions)


@asynccontextmanager
async def pool(
    *servers: FaultServer, weights: tuple[float, ...] = (), **settings: Any
) -> AsyncIterator[tuple[OpenAIEngine, list[FaultServer]]]:
    for server in servers:
        await server.start()
    places = [
        Endpoint(server.url, weight)
        for server, weight in zip(servers, weights or [1.0] * len(servers), strict=True)
    ]
    defaults: dict[str, Any] = {
        "model": MODEL,
        "retry": RetryPolicy(base_s=0.005, cap_s=0.02),
        "outage": Outage(startup_s=0.1, patience_s=0.5, cap_s=0.02),
        "attempt_timeout_s": 2.0,
        "deadline_s": 20.0,
        "max_concurrency": 8,
    }
    made = OpenAIEngine(base_url=places, **{**defaults, **settings})
    try:
        yield made, list(servers)
    finally:
        await made.aclose()
        for server in servers:
            await server.stop()


async def ask(
    made: OpenAIEngine, n: int, in_flight: int = 1000, samples: int = 1
) -> list[Completion]:
    gate = asyncio.Semaphore(in_flight)

    async def one(i: int) -> list[Completion]:
        async with gate:
            params = SamplingParams(seeds=tuple(range(samples)))
            return await made.sample(prompt(i), samples, params)

    return [c for got in await asyncio.gather(*(one(i) for i in range(n))) for c in got]


async def test_calls_go_where_the_least_is_in_flight_for_its_weight() -> None:
    async with pool(*(FaultServer(latency=0.02) for _ in range(4))) as (made, servers):
        assert ok(await ask(made, 200))
        assert [40 <= server.n_calls <= 60 for server in servers] == [True] * 4
    slow, quick = FaultServer(latency=0.2), FaultServer(latency=0.01)
    async with pool(slow, quick, max_concurrency=4) as (made, _):
        assert ok(await ask(made, 100))
    assert quick.n_calls > 4 * slow.n_calls
    heavy, light = FaultServer(latency=0.02), FaultServer(latency=0.02)
    async with pool(heavy, light, weights=(3, 1), max_concurrency=50) as (made, _):
        assert ok(await ask(made, 160, in_flight=16))
    assert 2 < heavy.n_calls / light.n_calls < 4.5


async def test_equal_prompts_go_to_the_replica_that_has_them_in_its_cache() -> None:
    servers = [FaultServer(latency=0.005) for _ in range(4)]
    async with pool(*servers, use_n=False) as (made, _):
        assert ok(await ask(made, 40, samples=8))
    places = Counter[str]()
    for server in servers:
        places.update({str(call.json["messages"]) for call in server.calls})
    assert sum(server.n_calls for server in servers) == 320
    assert len(places) == 40
    assert places.total() <= 60, "most prompts are computed once, none by everybody"


async def test_a_killed_replica_of_four_loses_nothing_and_pays_nothing_twice() -> None:
    servers = [FaultServer(latency=0.01) for _ in range(4)]
    async with pool(*servers) as (made, _):
        task = asyncio.create_task(ask(made, 300, samples=2))
        while servers[0].n_calls < 20:
            await asyncio.sleep(0.001)
        await servers[0].stop()
        lost = servers[0].in_flight
        done = await task
        assert ok(done) and len(done) == 600
        assert "set aside" in made.endpoints[0] and "answered" in made.endpoints[1]
        calls = sum(server.n_calls for server in servers)
        assert calls <= 300 + 8 + lost  # only what was in flight there is asked for again
        await servers[0].start()
        while "set aside" in made.endpoints[0]:
            await asyncio.sleep(0.01)
        before = servers[0].n_calls
        assert ok(await ask(made, 40)) and servers[0].n_calls > before


async def test_one_endpoints_rate_limit_does_not_slow_the_others() -> None:
    limit = error(429, "slow down")
    limited = FaultServer(
        always=lambda call: Served(limit.body, 429, {**limit.headers, "retry-after": "30"})
    )
    async with pool(limited, FaultServer(), FaultServer()) as (made, _):
        async with asyncio.timeout(10):
            assert ok(await ask(made, 200))
        assert limited.n_calls <= 8
        assert made.stats.failed == 0


@pytest.mark.parametrize("fault", ["500", "reset", "hang", "html"])
async def test_a_replica_that_fails_in_any_way_costs_no_call(fault: str) -> None:
    sick = FaultServer(always=fault)
    async with pool(sick, FaultServer(), attempt_timeout_s=0.3) as (made, _):
        assert ok(await ask(made, 100))
    assert sick.n_calls <= 40


def other(call: Any) -> Served:
    return as_json({**chat_reply(call.json), "model": "another"})


class Listing(FaultServer):
    """Lists the models that it is told to."""

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.names = names

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Served:
        if path.endswith("/models"):
            return as_json({"data": [{"id": name} for name in self.names]})
        return super().answer(method, path, headers, body)


async def test_a_replica_with_another_model_is_refused() -> None:
    async with pool(FaultServer(), Listing("another")) as (made, servers):
        with pytest.raises(EndpointError, match=f"{servers[1].url} serves another, expected"):
            await made.open()
    async with pool(FaultServer(), Listing("another"), model=None) as (made, _):
        with pytest.raises(EndpointError, match="do not list one and the same model"):
            await made.open()
    async with pool(Listing("m"), Listing("m"), model=None) as (made, _):
        await made.open()
        assert made.model == "m" and made.fingerprint == "openai:m@replicas"


async def test_a_reply_of_another_model_is_not_used_and_its_endpoint_set_aside() -> None:
    first = FaultServer()
    async with pool(first, FaultServer(always=other, latency=0.1)) as (made, servers):
        assert ok(await ask(made, 60, in_flight=4))
        assert "the model 'another' answered" in made.endpoints[1]
        assert first.n_calls == 60 and servers[1].n_calls <= 4


async def test_a_refused_key_of_one_sets_it_aside_and_of_all_ends_the_run() -> None:
    async with pool(FaultServer(api_key="k"), FaultServer()) as (made, _):
        assert ok(await ask(made, 20))
        assert "set aside" in made.endpoints[0]
    async with pool(FaultServer(api_key="k"), FaultServer(api_key="k")) as (made, _):
        with pytest.raises(EndpointError, match="none of 2 endpoints can be used"):
            async with asyncio.timeout(5):
                await ask(made, 4)


async def test_an_endpoint_that_is_not_there_is_left_out_and_all_of_them_end_the_run() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    async with FaultServer() as server:
        places = [Endpoint(nobody), Endpoint(server.url)]
        made = OpenAIEngine(base_url=places, model=MODEL)
        assert ok(await ask(made, 20))
        await made.aclose()
    made = OpenAIEngine(
        base_url=[Endpoint(nobody), Endpoint(nobody + "/b")],
        model=MODEL,
        retry=RetryPolicy(base_s=0.01, cap_s=0.02),
        outage=Outage(after=2, startup_s=0.05),
    )
    with pytest.raises(EndpointError, match="none of 2 endpoints") as told:
        async with asyncio.timeout(10):
            await ask(made, 4)
    assert nobody in str(told.value)
    await made.aclose()


async def test_a_cancelled_call_frees_its_slot() -> None:
    async with pool(FaultServer(always="hang"), FaultServer(always="hang")) as (made, _):
        task = asyncio.create_task(ask(made, 40))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(" 0/" in part or "set aside" in part for part in made.endpoints)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no endpoint"),
        ("http://a/v1 0\n", ":1: got 'http://a/v1 0'"),
        ("http://a/v1\nhttp://b/v1 heavy\n", ":2: got"),
        ("http://a/v1 1 2\n", ":1: got"),
    ],
)
def test_a_bad_file_of_endpoints_is_named_by_its_line(tmp_path: Any, text: str, said: str) -> None:
    file = tmp_path / "pool"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_endpoints(str(file))


def test_the_command_takes_several_and_shows_each(run: Any, tmp_path: Any) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"query": "Tide?", "responses": ["ebb", "flood"]}
    rows.write_text("".join(json.dumps(row | {"id": f"i{i}"}) + "\n" for i in range(40)))
    with endpoints(2) as (one, two):
        file = tmp_path / "pool"
        file.write_text(f"# ours\n{one.url} 2\n{two.url}\n")
        where = ["--base-url", one.url, "--base-url", two.url]
        for name, flags in (("a", where), ("b", ["--endpoints", str(file)])):
            args = ["sample", rows, *flags, "-k", "2", "-o", tmp_path / name, "--progress", "json"]
            code, _, err = run(*args)
            assert code == 0, err
        n_calls = one.stats()["calls"], two.stats()["calls"]
        assert sum(n_calls) == 160 and min(n_calls) > 20
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert len(lines[-1]["endpoints"]) == 2
    code, _, err = run("sample", rows, "--base-url", "http://a/v1", "--endpoints", file)
    assert code == 2 and "either --base-url or --endpoints" in err
    code, _, err = run("sample", rows, "--base-url", "http://a/v1", "--base-url", "http://a/v1/")
    assert code == 2 and "named twice" in err
