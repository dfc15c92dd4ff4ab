"""/readyz follows the engine: not before it has answered, not while it is dead."""

from __future__ import annotations

import asyncio

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import EndpointError
from spct.serve.config import ServeConfig
from spct.types import Completion, Prompt, SamplingParams
from tests.serve.local import Model, served

QUICK = ServeConfig(engine_check_s=0.02)


class Engine(ScriptedEngine):
    """Alive, silent (it raises) or sick (every call fails)."""

    state = "alive"

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        if self.state == "silent":
            raise EndpointError("nobody listens")
        if self.state == "sick":
            return [Completion("", "error", error="503")] * n
        return await super().sample(prompt, n, params)


async def until(client, status: int) -> None:
    async with asyncio.timeout(10):
        while (await client.get("/readyz"))[0] != status:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("state", ["silent", "sick"])
async def test_a_gateway_without_an_engine_is_not_ready_until_the_engine_answers(state):
    engine = Engine()
    engine.state = state
    async with served(GenerativeRM(engine, k=2), QUICK) as client:
        await asyncio.sleep(0.1)
        for path in ("/readyz", "/health"):
            status, text = await client.get(path)
            assert status == 503 and "no_engine" in text and "engine" in text
        assert (await client.get("/healthz"))[0] == 200
        engine.state = "alive"
        await until(client, 200)


async def test_an_engine_that_dies_is_noticed_by_the_judgements_and_so_is_its_return():
    engine = Engine()
    async with served(GenerativeRM(engine, k=2), QUICK) as client:
        await until(client, 200)
        engine.state = "sick"
        for i in range(3):
            assert (await client.get("/readyz"))[0] == 200  # one bad example is not an outage
            await client.post("/v1/rewards", {"query": str(i), "responses": ["a"]})
        assert (await client.get("/readyz"))[0] == 503
        engine.state = "alive"
        await until(client, 200)


async def test_a_model_without_an_engine_is_ready_until_it_fails():
    model = Model(error=EndpointError("gone"))
    async with served(model, ServeConfig(engine_check_s=60)) as client:
        assert (await client.get("/readyz"))[0] == 200
        await client.post("/v1/rewards", {"query": "q", "responses": ["a"]})
        assert (await client.get("/readyz"))[0] == 503
