"""The openai engine against a real loopback server, first well-behaved, then with every fault."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from spct.engines.openai import OpenAIEngine, from_env
from spct.engines.retry import Outage, RetryPolicy
from spct.errors import ConfigError, ContextOverflow, EndpointError, EngineError
from spct.types import Completion, Message, Prompt, SamplingParams
from tests.engines.fault_server import FAULTS, MODEL, FaultServer, as_json, chat_reply

PROMPT = Prompt("e1", (Message("system", "Judge."), Message("user", "Which is better?")), (0, 1))
PARAMS = SamplingParams(seeds=(7,))
QUICK = RetryPolicy(base_s=0.001, cap_s=0.005)
KEY = "sk-very-secret-0123456789"


def engine(server: FaultServer | str, **settings: Any) -> OpenAIEngine:
    defaults: dict[str, Any] = {
        "base_url": server if isinstance(server, str) else server.url,
        "model": MODEL,
        "retry": QUICK,
        "outage": Outage(startup_s=0.05, patience_s=0.3, cap_s=0.02),
        "attempt_timeout_s": 2.0,
        "deadline_s": 5.0,
    }
    return OpenAIEngine(**{**defaults, **settings})


@asynccontextmanager
async def using(server: FaultServer | str, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    made = engine(server, **settings)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def serving(
    *faults: Any, settings: dict[str, Any] | None = None, **server: Any
) -> AsyncIterator[tuple[FaultServer, OpenAIEngine]]:
    async with (
        FaultServer(faults=faults, **server) as running,
        using(running, **(settings or {})) as made,
    ):
        yield running, made


async def one(made: OpenAIEngine, params: SamplingParams = PARAMS) -> Completion:
    (completion,) = await made.sample(PROMPT, 1, params)
    return completion


async def fault_free(n: int = 1, params: SamplingParams = PARAMS) -> list[Completion]:
    async with serving() as (_, made):
        return await made.sample(PROMPT, n, params)


# --- normal calls -----------------------------------------------------------------------------


async def test_a_reply_becomes_a_completion_with_its_usage() -> None:
    async with serving() as (server, made):
        completion = await one(made)
    assert completion.text.endswith("}") and "\\boxed{" in completion.text
    assert completion.finish_reason == "stop" and completion.error is None
    assert completion.usage.calls == 1
    assert completion.usage.prompt_tokens > 0 and completion.usage.completion_tokens > 0
    assert server.n_calls == 1


async def test_the_request_carries_what_was_asked_for_and_nothing_else() -> None:
    params = SamplingParams(
        temperature=0.3, top_p=0.9, max_tokens=99, seeds=(5, 6), top_logprobs=2, stop=("END",)
    )
    async with serving(settings={"extra_body": {"top_k": 4, "top_p": None}}) as (server, made):
        await made.sample(PROMPT, 2, params)
    assert server.calls[0].json == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Judge."},
            {"role": "user", "content": "Which is better?"},
        ],
        "temperature": 0.3,
        "max_tokens": 99,
        "n": 2,
        "seed": 5,
        "stop": ["END"],
        "logprobs": True,
        "top_logprobs": 2,
        "top_k": 4,
    }


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("structured_outputs", {"grammar": 'root ::= "a"'}),
        ("ebnf", 'root ::= "a"'),
        ("grammar", 'root ::= "a"'),
    ],
)
async def test_a_grammar_goes_into_the_field_of_the_setting(field: str, sent: object) -> None:
    async with serving(settings={"grammar_field": field}) as (server, made):
        await one(made, replace(PARAMS, grammar='root ::= "a"'))
    assert server.calls[0].json[field] == sent


async def test_n_choices_of_one_request_share_its_usage_exactly() -> None:
    async with serving() as (server, made):
        completions = await made.sample(PROMPT, 5, SamplingParams(seeds=(1, 2, 3, 4, 5)))
    usage = chat_reply(server.calls[0].json)["usage"]
    assert server.n_calls == 1 and len({c.text for c in completions}) == 5
    assert [c.usage.calls for c in completions] == [1, 0, 0, 0, 0]
    assert [c.usage.prompt_tokens for c in completions][1:] == [0] * 4
    assert sum(c.usage.completion_tokens for c in completions) == usage["completion_tokens"]
    assert completions[0].usage.prompt_tokens == usage["prompt_tokens"]


async def test_log_probabilities_are_read() -> None:
    async with serving() as (_, made):
        completion = await one(made, replace(PARAMS, top_logprobs=3))
    assert completion.logprobs is not None
    assert "".join(t.token for t in completion.logprobs) == completion.text
    assert all(len(t.top) == 3 and t.top[t.token] == t.logprob for t in completion.logprobs)


async def test_missing_log_probabilities_are_none_and_counted() -> None:
    async with serving(always="no_logprobs") as (_, made):
        completion = await one(made, replace(PARAMS, top_logprobs=3))
    assert completion.logprobs is None and made.stats.warnings["no_logprobs"] == 1


async def test_a_wrong_number_of_seeds_is_refused() -> None:
    async with serving() as (server, made):
        with pytest.raises(ConfigError, match="got 1 seeds for 3 completions"):
            await made.sample(PROMPT, 3, PARAMS)
    assert server.n_calls == 0


# --- n ----------------------------------------------------------------------------------------


async def test_an_ignored_n_is_made_up_by_single_calls_with_their_own_seeds() -> None:
    params = SamplingParams(seeds=(11, 22, 33, 44))
    async with serving(always="ignores_n") as (server, made):
        first = await made.sample(PROMPT, 4, params)
        n_first = server.n_calls
        second = await made.sample(PROMPT, 4, params)
        seeds = [c.json["seed"] for c in server.calls]
        ns = [c.json.get("n", 1) for c in server.calls]
    assert [c.text for c in first] == [c.text for c in second]
    assert len({c.text for c in first}) == 4
    assert n_first == 4 and sorted(seeds[:4]) == sorted(seeds[4:]) == [11, 22, 33, 44]
    assert ns == [4] + [1] * 7, "the second sample does not try n again"
    assert made.stats.warnings["n_ignored"] == 1


async def test_completions_are_handed_on_as_they_arrive_although_a_sibling_never_comes() -> None:
    def slow_for_33(call: Any) -> Any:
        served = as_json(chat_reply({**call.json, "n": 1}))
        return replace(served, delay=9.0) if call.json["seed"] == 33 else served

    arrived: dict[int, str] = {}

    async def keep(i: int, completion: Completion) -> None:
        arrived[i] = completion.text

    params = SamplingParams(seeds=(11, 22, 33, 44), on_completion=keep)
    async with FaultServer(always=slow_for_33) as server, using(server) as made:
        call = asyncio.create_task(made.sample(PROMPT, 4, params))
        while len(arrived) < 3:
            await asyncio.sleep(0.01)
        call.cancel()
    assert sorted(arrived) == [0, 1, 3] and len(set(arrived.values())) == 3


async def test_a_refused_n_is_made_up_by_single_calls() -> None:
    async with serving(always="refuses_n") as (server, made):
        completions = await made.sample(PROMPT, 3, SamplingParams(seeds=(1, 2, 3)))
        await made.sample(PROMPT, 3, SamplingParams(seeds=(1, 2, 3)))
    assert [c.finish_reason for c in completions] == ["stop"] * 3
    assert server.n_calls == 1 + 3 + 3 and made.stats.warnings["n_refused"] == 1


async def test_use_n_false_asks_one_by_one_from_the_start() -> None:
    async with serving(settings={"use_n": False}) as (server, made):
        completions = await made.sample(PROMPT, 3, SamplingParams(seeds=(1, 2, 3)))
    assert len(completions) == 3 and server.n_calls == 3


async def test_more_choices_than_asked_for_are_cut_to_n() -> None:
    async with serving(always="too_many") as (_, made):
        assert len(await made.sample(PROMPT, 3, SamplingParams())) == 3


async def test_choices_come_back_in_the_order_of_their_index() -> None:
    def reversed_choices(call: Any) -> Any:

        reply = chat_reply(call.json)
        return as_json({**reply, "choices": reply["choices"][::-1]})

    params = SamplingParams(seeds=(1, 2, 3))
    async with serving(reversed_choices) as (_, made):
        assert [c.text for c in await made.sample(PROMPT, 3, params)] == [
            c.text for c in await fault_free(3, params)
        ]


async def test_identical_choices_are_counted_because_k_of_them_are_one_vote() -> None:
    def twins(call: Any) -> Any:

        reply = chat_reply(call.json)
        return as_json({**reply, "choices": reply["choices"][:1] * 2})

    async with serving(twins) as (_, made):
        await made.sample(PROMPT, 2, SamplingParams())
    assert made.stats.warnings["identical_choices"] == 1


# --- F1, F2: rate limits and server errors ------------------------------------------------------


PASSING = """
429 429_seconds 429_ms 429_date 429_negative 429_nan 429_huge 408 409 500 502 503 504 400_retry
reset close cut cut_chunked truncated_json html empty_body list number deep no_choices choices_null
choice_text no_message content_number error_in_200 nan 1e999 bad_utf8 lone_surrogate
duplicate_keys
"""


@pytest.mark.parametrize(
    "fault",
    PASSING.split(),
)
async def test_a_passing_fault_leaves_no_trace_in_the_completion(fault: str) -> None:
    async with serving(fault, fault) as (server, made):
        completion = await one(made)
    assert [completion] == await fault_free()
    assert server.n_calls == 3 and made.stats.attempts == 3


@pytest.mark.parametrize("fault", ["429_seconds", "429_ms"])
async def test_retry_after_is_waited_for(fault: str) -> None:
    async with serving(fault) as (_, made):
        start = time.monotonic()
        await one(made)
    assert time.monotonic() - start >= 0.05
    assert made.stats.rate_limited == 1


async def test_retry_after_holds_up_the_other_calls_too() -> None:
    async with serving("429_seconds", settings={"adaptive": (1, 1, 1)}) as (server, made):
        start = time.monotonic()
        await asyncio.gather(*(one(made) for _ in range(3)))
    assert time.monotonic() - start >= 0.05
    assert server.n_calls == 4, "nobody else ran into the limit"


async def test_one_episode_of_rate_limits_cuts_the_limit_once() -> None:
    settings = {"max_concurrency": 10, "adaptive": (1, 1, 1)}
    async with serving(*["429"] * 8, settings=settings) as (_, made):
        await asyncio.gather(*(one(made) for _ in range(10)))
    assert made.limit.limit == 8 and made.limit.cuts == 1


async def test_server_errors_leave_the_limit_alone() -> None:
    async with serving(*["500"] * 8, settings={"max_concurrency": 10}) as (_, made):
        await asyncio.gather(*(one(made) for _ in range(10)))
    assert made.limit.limit == 10


async def test_x_should_retry_false_is_obeyed() -> None:
    async with serving("500_no_retry") as (server, made):
        completion = await one(made)
    assert completion.finish_reason == "error" and completion.error is not None
    assert "do not come back" in completion.error and server.n_calls == 1


async def test_a_lasting_server_error_is_a_failed_completion_that_says_why() -> None:
    async with serving(always="500") as (server, made):
        completion = await one(made)
    assert completion.text == "" and completion.finish_reason == "error"
    assert completion.error == "answered 500: 'upstream says 500' (gave up after 6 failed attempts)"
    assert server.n_calls == 6 and made.stats.failed == 1


async def test_the_retry_budget_stops_a_retry_storm() -> None:
    async with serving(always="500") as (server, made):
        completions = await asyncio.gather(*(one(made) for _ in range(100)))
    assert all(c.finish_reason == "error" for c in completions)
    # 100 calls, the reserve of 50 and a fifth of the calls; without a budget it would be 600
    assert 100 <= server.n_calls <= 100 + 50 + 20
    assert any("retry budget" in str(c.error) for c in completions)


# --- F3: refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("401", "Incorrect API key provided"),
        ("403", "this key may not use this model"),
        ("404", "The model `nope` does not exist"),
        ("302", "redirected"),
    ],
)
async def test_a_refusal_that_no_call_escapes_stops_the_run(fault: str, said: str) -> None:
    async with serving(fault, fault) as (server, made):
        with pytest.raises(EndpointError, match=re.escape(said)) as caught:
            await one(made)
    assert caught.value.exit_code == 4 and server.url in str(caught.value)
    assert server.n_calls == 1


@pytest.mark.parametrize("fault", ["400", "413", "422"])
async def test_a_refusal_of_one_request_is_a_failed_completion(fault: str) -> None:
    async with serving("ok", fault) as (server, made):
        await one(made)
        completions = await made.sample(PROMPT, 2, SamplingParams())
    assert [c.finish_reason for c in completions] == ["error", "error"]
    assert server.n_calls == 2, "not retried"
    assert [c.usage.calls for c in completions] == [1, 0]


@pytest.mark.parametrize(
    ("fault", "params", "field"),
    [
        ("refuses_logprobs", replace(PARAMS, top_logprobs=1), "logprobs"),
        ("400", PARAMS, "temperature"),
    ],
)
async def test_a_field_that_the_endpoint_lacks_is_named(
    fault: str, params: SamplingParams, field: str
) -> None:
    async with serving(always=fault) as (_, made):
        with pytest.raises(ConfigError, match=f"refuse the field '{field}'.*extra_body"):
            await one(made, params)


@pytest.mark.parametrize("nothing", [None, "omit"])
async def test_a_field_can_be_left_out_by_extra_body(nothing: object) -> None:
    settings = {"extra_body": {"seed": nothing}}
    async with serving(always="refuses_seed", settings=settings) as (server, made):
        assert (await one(made)).finish_reason == "stop"
    assert "seed" not in server.calls[0].json and server.n_calls == 1


def takes_only(**renamed: str | None) -> Callable[[Any], Any]:
    """An endpoint that refuses some fields and says under which name it takes one, if it does."""

    def answer(call: Any) -> Any:
        for name, use in renamed.items():
            if name in call.json:
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                said += f" Use '{use}' instead." if use else ""
                return as_json({"error": {"message": said, "param": name}}, 400)
        return as_json(chat_reply(call.json))

    return answer


async def test_what_a_reasoning_model_does_not_take_is_renamed_or_left_out_with_a_warning() -> None:
    refuses = takes_only(max_tokens="max_completion_tokens", temperature=None, top_p=None)
    async with serving(always=refuses) as (server, made):
        first, *others = await asyncio.gather(*(one(made) for _ in range(4)))
        n_learnt = server.n_calls
        await one(made)
    assert first.finish_reason == "stop" and others == [first] * 3
    sent = server.calls[-1].json
    assert sent["max_completion_tokens"] == PARAMS.max_tokens and sent["seed"] == 7
    assert not sent.keys() & {"max_tokens", "temperature", "top_p"}
    assert server.n_calls == n_learnt + 1, "learnt once, remembered"
    learnt = {"max_tokens_refused", "temperature_refused", "top_p_refused"}
    assert learnt <= made.stats.warnings.keys()


async def test_a_top_p_that_matters_is_not_left_out() -> None:
    async with serving(always=takes_only(top_p=None)) as (_, made):
        with pytest.raises(ConfigError, match=r"'top_p'; change it \(--top-p\).*top_p = \"omit\""):
            await one(made, replace(PARAMS, top_p=0.9))


async def test_a_value_that_is_refused_is_not_a_field_that_is() -> None:
    async with serving(always="400") as (_, made):
        with pytest.raises(ConfigError, match=r"at most 2.*change it \(--temperature\)"):
            await one(made)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(429, "rate_limited"), ("rate_limit_exceeded", "rate_limited"), (502, "retries")],
)
async def test_an_error_inside_a_200_is_what_it_says(code: object, kind: str) -> None:
    def once(call: Any) -> Any:
        return as_json({"error": {"message": "Provider returned error", "code": code}})

    async with serving(once) as (_, made):
        assert [await one(made)] == await fault_free()
    assert getattr(made.stats, kind) == 1 and made.stats.retries == 1


async def test_a_limit_passed_on_in_every_200_is_given_up_with_its_reason() -> None:
    limited = as_json({"error": {"message": "Provider returned error", "code": 429}})
    async with serving(always=lambda call: limited) as (server, made):
        completion = await one(made)
    assert completion.finish_reason == "error" and server.n_calls == 6
    assert "Provider returned error' (gave up after 6 attempts with nobody" in str(completion.error)


async def test_an_error_beside_choices_leaves_them_unscored() -> None:
    def beside(call: Any) -> Any:
        return as_json({**chat_reply(call.json), "error": {"message": "upstream died"}})

    def within(call: Any) -> Any:
        reply = chat_reply(call.json)
        return as_json({**reply, "choices": [{**reply["choices"][0], "error": {"code": 502}}]})

    def without(call: Any) -> Any:
        return as_json({**chat_reply(call.json), "error": {"code": 0, "message": ""}})

    for odd, ends in ((beside, "error"), (within, "error"), (without, "stop")):
        async with serving(always=odd) as (_, made):
            assert (await one(made)).finish_reason == ends


async def test_a_refused_key_inside_a_200_or_as_litellms_400_stops_the_run() -> None:
    said = "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key"
    body = {"error": {"message": said, "type": None, "param": None, "code": "400"}}
    for status in (200, 400):
        async with serving(always=lambda call, s=status: as_json(body, s)) as (server, made):
            with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
                await one(made)
        assert server.n_calls == 1


@pytest.mark.parametrize(
    "said",
    [
        "/chat/completions: Invalid model name passed in model=nope. Call `/v1/models` to view",
        "The model `nope` does not exist or you do not have access to it.",
        "model 'nope' not found, try pulling it first",
        "No such model: nope",
    ],
)
async def test_a_missing_model_stops_the_run_also_as_a_400(said: str) -> None:
    async with serving(always=lambda call: as_json({"error": {"message": said}}, 400)) as (_, made):
        with pytest.raises(EndpointError, match="--model"):
            await one(made)


@pytest.mark.parametrize(
    "key", ["sk-üb-0123456789", "sk-0123 456789", "sk-01234\n56789", "sk-01234\u200b56789"]
)
def test_a_key_that_no_header_carries_whole_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError, match=r"character \d+ of \d+ is U\+") as caught:
        from_env(environ={"OPENAI_BASE_URL": "http://h/v1", "OPENAI_API_KEY": key})
    assert key[:5] not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-#1,2;3=4&5", "a\"b'c\\d", "#only-a-sign#"])
async def test_a_key_with_signs_is_sent_whole(key: str) -> None:
    async with FaultServer(api_key=key) as server:
        made = from_env(environ={"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": f" {key}\n"})
        assert (await one(made)).finish_reason == "stop"
        await made.aclose()


async def test_a_refused_grammar_is_explained_even_late_in_the_run() -> None:
    async with serving("ok", "refuses_grammar") as (_, made):
        await one(made)
        with pytest.raises(ConfigError, match=r"grammar_field .*ebnf: SGLang"):
            await one(made, replace(PARAMS, grammar="root ::= [0-9]"))


async def test_a_prompt_that_is_too_long_raises_context_overflow_with_the_numbers() -> None:
    async with serving("overflow") as (server, made):
        with pytest.raises(ContextOverflow, match=r"8192 tokens.*9216 tokens.*max_tokens=1024"):
            await one(made)
    assert server.n_calls == 1


# --- F4: transport ------------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def test_a_refused_connection_ends_in_an_error_that_names_the_url() -> None:
    async with using(f"http://127.0.0.1:{unused_port()}/v1") as made:
        with pytest.raises(EndpointError, match=f"{made.base_url}.*no answer.*check") as caught:
            await one(made)
    assert caught.value.exit_code == 4 and made.stats.attempts >= 4


async def test_an_unknown_host_ends_in_an_error_that_names_the_url() -> None:
    async with using("http://spct-no-such-host.invalid/v1") as made:
        with pytest.raises(EndpointError, match=r"spct-no-such-host\.invalid"):
            await one(made)


async def test_a_tls_error_is_not_retried() -> None:
    async with FaultServer() as server, using(server.url.replace("http:", "https:")) as made:
        with pytest.raises(EndpointError, match="TLS failed"):
            await one(made)
        assert made.stats.attempts == 1


async def test_a_restart_of_the_server_pauses_the_run_and_loses_nothing() -> None:
    settings = {
        "outage": Outage(startup_s=0.05, patience_s=30, cap_s=0.02),
        "retry": RetryPolicy(base_s=0.01, cap_s=0.02),
        "max_concurrency": 20,
    }
    async with serving(latency=0.02, settings=settings) as (server, made):
        await one(made)
        calls = [asyncio.create_task(one(made)) for _ in range(60)]
        while server.n_calls < 10:
            await asyncio.sleep(0)
        await server.stop()
        while not made.stats.outages:
            await asyncio.sleep(0.001)
        start, attempts = time.monotonic(), made.stats.attempts
        await asyncio.sleep(0.2)
        tried, took = made.stats.attempts - attempts, time.monotonic() - start
        await server.start()
        completions = await asyncio.gather(*calls)
    assert completions == (await fault_free()) * 60
    assert made.stats.outages == 1
    assert tried <= 20 + took / 0.0075 + 1, "in the outage one call at a time tries"


async def test_too_few_open_files_slow_a_run_down_and_fail_no_call() -> None:
    command = [sys.executable, "-m", "tests.engines.fault_server", "--latency", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[1]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with using(f"http://127.0.0.1:{port}/v1", max_concurrency=60) as made:
            await one(made)
            n_open = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 20, hard))
            try:
                completions = await asyncio.gather(*(one(made) for _ in range(60)))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                process.terminate()
    assert {c.finish_reason for c in completions} == {"stop"}
    assert made.limit.limit < 60 and made.stats.outages == 0


async def test_an_engine_recovers_after_it_gave_up() -> None:
    async with serving() as (server, made):
        await one(made)
        await server.stop()
        with pytest.raises(EndpointError):
            await one(made)
        with pytest.raises(EndpointError):
            await one(made)
        await server.start()
        await asyncio.sleep(0.03)
        assert (await one(made)).finish_reason == "stop"


# --- F5: slow and large -------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["hang", "trickle", "slow"])
async def test_an_attempt_that_takes_too_long_is_given_up_and_retried(fault: str) -> None:
    async with serving(fault, settings={"attempt_timeout_s": 0.1}) as (_, made):
        completion = await one(made)
    assert [completion] == await fault_free() and made.stats.retries == 1


async def test_a_call_ends_at_its_deadline() -> None:
    settings = {"attempt_timeout_s": 0.1, "deadline_s": 0.15}
    async with serving(always="hang", settings=settings) as (_, made):
        completion = await one(made)
    assert completion.finish_reason == "error" and "deadline" in str(completion.error)
    assert "no complete reply within" in str(completion.error)
    assert made.stats.attempts <= 2, "the deadline leaves no room for a third"


async def test_a_jump_of_the_clock_does_not_touch_the_timeouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * (-1) ** int(real() * 50))
    settings = {"attempt_timeout_s": 0.1, "deadline_s": 0.5}
    async with serving("hang", "429_date", settings=settings) as (_, made):
        assert [await one(made)] == await fault_free()


@pytest.mark.parametrize("fault", ["bomb", "never_ends"])
async def test_a_reply_is_never_larger_than_the_cap(fault: str) -> None:
    async with serving(fault, settings={"max_reply_bytes": 1_000_000}) as (server, made):
        completion = await one(made)
    assert completion.finish_reason == "error" and server.n_calls == 1
    assert "larger than max_reply_bytes (1,000,000)" in str(completion.error)


async def test_a_slot_is_freed_by_every_fault() -> None:
    stop_the_run = {"401", "403", "404", "302", "overflow", "bomb"}
    faults = ["ok", *(f for f in FAULTS if f not in stop_the_run)]
    settings = {
        "adaptive": (1, 1, 1),
        "attempt_timeout_s": 0.4,
        "max_reply_bytes": 100_000,
        "retry": replace(QUICK, max_retries=0, garbage_retries=0),
        "outage": Outage(after=1000),
        "cooldown_s": 0.01,
    }
    async with serving(*faults, settings=settings) as (server, made):
        for _ in faults:
            await one(made)
        assert (await one(made)).finish_reason == "stop"
        assert server.n_calls >= len(faults) + 1


# --- F6, F7: garbage and finish reasons ----------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("truncated_json", "not valid JSON"),
        ("html", "not valid JSON"),
        ("empty_body", "not valid JSON"),
        ("list", "a JSON list, expected an object"),
        ("deep", "nested deeper than 64 levels"),
        ("no_choices", "no choices"),
        ("choice_text", "a choice without a message"),
        ("content_number", "content is a int, expected text"),
        ("nan", "NaN is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ("bad_utf8", "not UTF-8"),
        ("lone_surrogate", "half of a surrogate pair"),
        ("duplicate_keys", "the key 'choices' occurs twice"),
        ("cut", "the reply broke off"),
    ],
)
async def test_lasting_garbage_is_classified_and_kept(fault: str, said: str) -> None:
    async with serving(always=fault) as (server, made):
        completions = await made.sample(PROMPT, 2, SamplingParams())
    assert server.n_calls == 3, "tried, and retried twice"
    for completion in completions:
        assert completion.text == "" and completion.finish_reason == "error"
        assert said in str(completion.error) and len(str(completion.error)) < 10_000
    if fault == "html":
        assert "<h1>Welcome</h1>" in str(completions[0].error)


@pytest.mark.parametrize(
    ("fault", "finish", "said"),
    [
        ("length", "length", None),
        ("content_filter", "content_filter", None),
        ("tool_calls", "error", "finish_reason is 'tool_calls'"),
        ("finish_unknown", "error", "finish_reason is 'abort'"),
        ("finish_null", "error", "finish_reason is None"),
        ("only_reasoning", "error", "only reasoning"),
        ("content_null", "stop", None),
        ("content_empty", "stop", None),
    ],
)
async def test_every_finish_reason_is_mapped(fault: str, finish: str, said: str | None) -> None:
    async with serving(always=fault) as (server, made):
        completion = await one(made)
    assert completion.finish_reason == finish and server.n_calls == 1
    if said:
        assert completion.text == "" and said in str(completion.error)
    if fault in ("content_null", "content_empty"):
        assert completion.text == ""


async def test_reasoning_is_not_the_reply_and_is_kept_in_the_error() -> None:
    async with serving(always="only_reasoning") as (_, made):
        assert "the answer must be 8" in str((await one(made)).error)


@pytest.mark.parametrize("fault", ["no_usage", "bad_usage"])
async def test_a_reply_without_token_counts_is_used_and_counted(fault: str) -> None:
    async with serving(always=fault) as (_, made):
        completion = await one(made)
    assert completion.finish_reason == "stop" and completion.usage.calls == 1
    assert completion.usage.completion_tokens == 0 and made.stats.warnings["no_usage"] == 1


# --- F19, keys, settings --------------------------------------------------------------------------


async def test_a_model_swapped_behind_the_url_is_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving("ok", "other_model", "other_model") as (_, made):
        with caplog.at_level(logging.WARNING):
            for _ in range(4):
                await one(made)
    assert made.stats.warnings["model_changed"] == 2
    assert made.stats.warnings["system_fingerprint_changed"] == 2
    assert caplog.text.count("`model` was 'mock-judge' and is now 'another-model'") == 1


async def test_the_key_is_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    def echo(status: int) -> Callable[[Any], Any]:
        from tests.engines.fault_server import error

        return lambda call: error(status, f"bad header {call.headers['authorization']}")

    texts = []
    with caplog.at_level(logging.DEBUG):
        async with serving("ok", echo(500), echo(200), settings={"api_key": KEY}) as (server, made):
            server.api_key = KEY
            await one(made)
            server.always = echo(418)
            texts += [repr(made), made.fingerprint, str((await one(made)).error)]
            for status in (401, 404, 302):
                server.always = echo(status)
                with pytest.raises(EndpointError) as caught:
                    await one(made)
                texts += [str(caught.value), repr(caught.value)]
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(texts) + caplog.text


async def test_a_wrong_key_stops_the_run() -> None:
    async with serving(api_key=KEY) as (_, made):
        with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
            await one(made)


@pytest.mark.parametrize(
    "url",
    ["", "host", "ftp://h/v1", "http://", "http://u:p@h/v1", "http://h/v1?k=1", "http://h:99999"],
)
def test_a_base_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base URL") as caught:
        OpenAIEngine(base_url=url)
    assert "u:p" not in str(caught.value) and "k=1" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adaptive": (10, 5, 100)}, "1 <= min <= start <= max"),
        ({"rpm": 0}, "expected a positive number"),
        ({"extra_body": {"n": 3}}, r"\['n'\]"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OpenAIEngine(base_url="http://h/v1", **settings)


async def test_without_a_name_the_only_served_model_is_taken() -> None:
    async with serving(settings={"model": None}) as (server, made):
        with pytest.raises(EngineError, match="no model of"):
            _ = made.fingerprint
        assert (await one(made)).finish_reason == "stop"
        assert made.fingerprint == f"openai:{MODEL}@{server.url}"
        assert server.calls[0].json["model"] == MODEL


def test_extra_fields_change_the_fingerprint() -> None:
    plain, warm = (
        OpenAIEngine(base_url="http://h/v1", model="m", extra_body=extra)
        for extra in (None, {"top_k": 5})
    )
    assert plain.fingerprint != warm.fingerprint and warm.fingerprint.startswith("openai:m@")


async def test_from_env_follows_the_sdks_variables() -> None:
    async with FaultServer(api_key=KEY) as server:
        made = from_env(environ={"OPENAI_BASE_URL": server.url + "/", "OPENAI_API_KEY": KEY})
        assert (await one(made)).finish_reason == "stop"
        await made.aclose()
    assert from_env(environ={"OPENAI_API_KEY": KEY}).base_url == "https://api.openai.com/v1"
    with pytest.raises(ConfigError, match="set OPENAI_BASE_URL"):
        from_env(environ={})


async def test_a_cancelled_sample_frees_its_slot() -> None:
    async with serving("hang", settings={"adaptive": (1, 1, 1)}) as (_, made):
        hanging, waiting = (asyncio.create_task(one(made)) for _ in range(2))
        await asyncio.sleep(0.05)
        waiting.cancel()
        hanging.cancel()
        await asyncio.gather(hanging, waiting, return_exceptions=True)
        assert (await one(made)).finish_reason == "stop"


async def test_no_more_calls_are_in_flight_than_allowed() -> None:
    async with serving(latency=0.005, settings={"max_concurrency": 7}) as (server, made):
        await asyncio.gather(*(one(made) for _ in range(60)))
    assert server.in_flight_peak == 7


async def test_a_quota_of_calls_is_kept() -> None:
    async with serving(settings={"rpm": 60 * 100}) as (_, made):
        start = time.monotonic()
        await asyncio.gather(*(one(made) for _ in range(120)))
    assert time.monotonic() - start >= 0.15, "100 at once, then 100 a second"


async def test_closing_twice_is_fine() -> None:
    async with serving() as (_, made):
        reply = await one(made)
        await made.aclose()
        await made.aclose()
    assert reply.finish_reason == "stop"


async def test_a_placeholder_key_that_is_a_letter_leaves_replies_as_they_are() -> None:
    async with serving(settings={"api_key": "x"}) as (_, engine):
        (reply,) = await engine.sample(PROMPT, 1, SamplingParams(seeds=(1,)))
    assert "boxed{" in reply.text and "***" not in reply.text
