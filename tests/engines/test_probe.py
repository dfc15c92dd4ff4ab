"""`probe` tells what an endpoint can do, and says None where it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest

from spct.engines.openai import OpenAIEngine
from spct.engines.openai.openai_probe import EndpointReport
from tests.engines.fault_server import MAX_MODEL_LEN, MODEL, FaultServer


async def report(
    always: str | None = None, model: str | None = MODEL, **server: Any
) -> EndpointReport:
    async with FaultServer(always=always, **server) as running:
        engine = OpenAIEngine(base_url=running.url, model=model, api_key="right")
        try:
            return await engine.probe(timeout_s=1.0)
        finally:
            await engine.aclose()


async def test_a_healthy_endpoint_has_everything() -> None:
    found = await report()
    assert found.is_usable and found.reachable and found.key_accepted and found.problem is None
    assert found.models == (MODEL,) and found.model_served and found.max_length == MAX_MODEL_LEN
    assert (found.n, found.logprobs, found.seed) == (True, True, True)
    assert found.latency_s is not None and found.latency_s > 0


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ("ignores_n", "n"),
        ("refuses_n", "n"),
        ("no_logprobs", "logprobs"),
        ("refuses_logprobs", "logprobs"),
        ("ignores_seed", "seed"),
    ],
)
async def test_a_missing_feature_is_false(fault: str, field: str) -> None:
    found = await report(fault)
    assert found.is_usable and getattr(found, field) is False


async def test_the_only_model_is_found_and_taken() -> None:
    async with FaultServer() as server:
        engine = OpenAIEngine(base_url=server.url)
        found = await engine.probe()
        await engine.aclose()
    assert found.model == engine.model == MODEL


async def test_a_model_that_is_not_served_is_named() -> None:
    found = await report(model="nope")
    assert found.model_served is False and "does not list 'nope'" in str(found.problem)


async def test_a_refused_key_is_seen() -> None:
    found = await report(api_key="another")
    assert found.reachable and found.key_accepted is False and found.answers is None
    assert "Incorrect API key" in str(found.problem)


@pytest.mark.parametrize("fault", ["hang", "html", "500", "429", "tool_calls", "bomb"])
async def test_a_sick_endpoint_is_a_report_and_not_an_exception(fault: str) -> None:
    found = await report(fault)
    assert found.reachable and found.answers is False and found.problem


async def test_an_endpoint_that_is_not_there_is_a_report() -> None:
    engine = OpenAIEngine(base_url="http://127.0.0.1:9/v1", model=MODEL)
    found = await engine.probe()
    await engine.aclose()
    assert found.reachable is False and not found.is_usable and found.problem
