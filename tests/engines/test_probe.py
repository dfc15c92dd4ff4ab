"""`probe` tells what an endpoint can do, and says None where it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest

from spct.engines.openai import OpenAIEngine
from spct.engines.openai.openai_probe import EndpointReport, _with_models
from spct.engines.transport import Http
from tests.engines.fault_server import (
    FAULTS,
    MAX_MODEL_LEN,
    MODEL,
    FaultServer,
    as_json,
    chat_reply,
)


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


async def test_what_is_unusual_about_an_endpoint_is_named() -> None:
    found = await report("content_parts")
    assert found.departures == ("its content comes in parts",)
    found = await report("no_usage")
    assert found.departures == ("its replies lack token counts",)
    found = await report("refuses_seed")
    assert "refuses the field 'seed'" in found.departures[0] and found.seed is None
    assert (await report()).departures == ()


async def test_a_connection_that_is_closed_after_an_error_is_asked_again() -> None:
    """As transformers' server does after a 500."""
    n_refused = 0

    def closes(call: Any) -> Any:
        nonlocal n_refused
        n_refused += call.index == 0
        return FAULTS["close"](call) if call.index == 0 else as_json(chat_reply(call.json))

    found = await report(closes)  # type: ignore[arg-type]
    assert n_refused == 1 and found.is_usable
    assert found.departures == ("it closes kept connections without saying so",)


@pytest.mark.parametrize("takes", ["structured_outputs", "ebnf", None])
async def test_a_grammar_counts_where_it_is_followed(takes: str | None) -> None:
    def answer(call: Any) -> Any:
        reply = chat_reply(call.json)
        if takes in call.json:
            reply["choices"][0]["message"]["content"] = "<12-3>"
        return as_json(reply)

    found = await report(answer)  # type: ignore[arg-type]
    assert found.grammar == (takes or "none")
    assert any("set grammar_field" in d for d in found.departures) == (takes == "ebnf")


async def test_an_empty_list_of_models_is_said_in_words() -> None:
    http = Http(200, {}, b'{"data": []}')
    found = _with_models(EndpointReport("http://h", None), http)
    assert str(found.problem) == "GET /models lists no model at all; name one with --model"


async def test_each_step_is_told_as_it_begins() -> None:
    steps: list[str] = []
    async with FaultServer() as server:
        engine = OpenAIEngine(base_url=server.url)
        await engine.probe(steps.append)
        await engine.aclose()
    assert steps[0] == "asking for the models" and len(steps) == 4
