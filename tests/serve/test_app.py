"""The gateway over real HTTP on loopback: routes, limits, auth, replays, cancelling, privacy."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import get_args

import aiohttp
import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import EngineError
from spct.serve.app import create_app
from spct.serve.config import ServeConfig
from spct.serve.errors import ErrorType
from spct.serve.middleware import PUBLIC
from spct.types import Completion
from spct.votes.vote import mean_scores
from tests.serve.local import Model, scripted, served

KEY = "a-key-of-sixteen-characters"
ONE = {"examples": [{"query": "What is 2+2?", "responses": ["4", "22"]}]}
REWARDS = {"query": "What is 2+2?", "responses": ["4", "22"]}


def error_of(body: dict) -> str:
    assert set(body) == {"error"} and body["error"]["type"] in get_args(ErrorType)
    return body["error"]["type"]


async def test_judge_returns_rewards_in_order_and_judgements_on_request():
    async with served() as client:
        asked = {**ONE, "include": ["principles", "critiques"]}
        asked["examples"] = [{**ONE["examples"][0], "id": "mine"}]
        status, reply = await client.post("/v1/judge", asked)
    assert status == 200
    (result,) = reply["results"]
    assert result["id"] == "mine" and len(result["rewards"]) == 2
    assert result["k_asked"] == result["k_counted"] == 2
    assert [j["principles"][0]["name"] for j in result["judgements"]] == ["Topic", "Topic"]
    assert "shares" in result["judgements"][0]["critique"]
    assert reply["usage"]["completion_tokens"] > 0
    assert {"model", "template", "recipe", "version", "digest"} <= set(reply["fingerprint"])


async def test_the_same_content_gets_the_same_reward_at_another_time():
    async with served() as one, served() as other:
        _, first = await one.post("/v1/rewards", REWARDS)
        _, second = await other.post("/v1/rewards", REWARDS)
    assert first == second


async def test_a_judgement_that_fails_does_not_lower_the_rewards():
    def every_other(prompt, seed):
        replies.append(seed)
        return "Scores: \\boxed{6, 4}" if len(replies) % 2 else "nothing"

    replies: list[int] = []
    averaging = GenerativeRM(ScriptedEngine(every_other), k=8, vote=mean_scores, orders="fixed")
    async with served(averaging) as client:
        _, reply = await client.post("/v1/judge", ONE)
    (result,) = reply["results"]
    assert result["k_counted"] == 4 and result["rewards"] == [6.0, 4.0]
    assert "vote=mean" in reply["fingerprint"]["recipe"]


async def test_k_is_the_callers_choice_up_to_the_limit():
    async with served(config=ServeConfig(max_k=8)) as client:
        _, reply = await client.post("/v1/judge", {**ONE, "k": 5})
        assert reply["results"][0]["k_drawn"] == 5
        status, reply = await client.post("/v1/judge", {**ONE, "k": 9})
        assert (status, error_of(reply)) == (422, "invalid")
    async with served(Model()) as client:  # a model that does not sample
        assert (await client.post("/v1/judge", {**ONE, "k": 2}))[0] == 422


async def test_a_failed_judgement_is_null_and_says_why():
    nonsense = GenerativeRM(ScriptedEngine(lambda prompt, seed: "no verdict"), k=2)
    async with served(nonsense) as client:
        _, reply = await client.post("/v1/judge", ONE)
        (result,) = reply["results"]
        assert result["rewards"] is None and result["unscored"] == {"no_verdict": 2}
        _, reply = await client.post("/v1/rewards", REWARDS)
        assert reply["rewards"] == [None, None] and "no_verdict" in reply["errors"][0]
        assert await client.metric('spct_trajectories_total{outcome="no_verdict"}') == 4


async def test_a_dead_engine_is_null_not_a_server_error():
    async with served(Model(error=EngineError("boom"))) as client:
        status, reply = await client.post("/v1/judge", ONE)
        assert status == 200 and reply["results"][0]["rewards"] is None
        assert "engine failed" in reply["results"][0]["error"]


async def test_a_judgement_beyond_the_deadline_has_failed_and_is_cancelled():
    model = Model(delay_s=30)
    async with served(model, ServeConfig(deadline_s=0.05)) as client:
        _, reply = await client.post("/v1/rewards", REWARDS)
        assert reply["rewards"] == [None, None] and "within" in reply["errors"][0]
    assert model.n_cancelled == 1


BAD_BODIES = [
    (b"{", 400, "bad_json"),
    (b"", 422, "invalid"),
    (b'{"query": NaN, "responses": ["a"]}', 400, "bad_json"),
    (b'{"query": "\\ud800", "responses": ["a"]}', 400, "bad_json"),
    (b'{"query": "q", "responses": ' + b"[" * 60 + b"]" * 60 + b"}", 400, "bad_json"),
    (b'{"query": "q", "responses": []}', 422, "invalid"),
    (b'{"query": "q", "responses": "a"}', 422, "invalid"),
    (b'{"query": "q", "responses": ["a"], "respones": 1}', 422, "invalid"),
    (b'{"query": [], "responses": ["a"]}', 422, "invalid"),
    (b'{"query": [{"role": "narrator", "content": "x"}], "responses": ["a"]}', 422, "invalid"),
    (b'{"query": "q", "responses": ["a"], "responses": ["b"]}', 400, "bad_json"),
    (b'{"query": "q", "responses": ["a"], "k": 1e999}', 400, "bad_json"),
    (b'{"query": "q", "responses": ["a"], "include": ["votes"]}', 422, "invalid"),
    (b'{"query": "q", "examples": [{"query": "q", "responses": ["a"]}]}', 422, "invalid"),
    (
        b'{"query": [{"role": "assistant", "content": "x"}], "responses": ["a"]}',
        422,
        "invalid",
    ),
    (b'{"query": "q", "responses": ["a"], "k": 0}', 422, "invalid"),
    (b'{"query": "q", "responses": ["a"], "model": "gpt"}', 404, "model_not_found"),
    (b'{"query": "q", "responses": ["a", "b"], "group": {"id": "g", "size": 1}}', 422,
     "invalid"),
    (json.dumps({"query": "q", "responses": ["a"] * 65}).encode(), 422, "invalid"),
    (json.dumps({"query": "q", "responses": ["a" * 300_000]}).encode(), 422, "invalid"),
    (json.dumps({"query": "q" * 2_100_000, "responses": ["a"]}).encode(), 413, "too_large"),
    (b"[]", 422, "invalid"),
    (b"null", 422, "invalid"),
]  # fmt: skip


async def test_bad_bodies_are_refused_with_a_typed_error_and_never_judged():
    model = Model()
    headers = {"content-type": "application/json"}
    async with served(model) as client:
        for body, status, kind in BAD_BODIES:
            async with client.session.post(
                client.url + "/v1/rewards", data=io.BytesIO(body), headers=headers
            ) as reply:
                assert (reply.status, error_of(await reply.json())) == (status, kind), body[:80]
    assert not model.n_begun


async def test_validation_errors_do_not_repeat_what_was_sent():
    async with served() as client:
        _, reply = await client.post("/v1/rewards", {"query": "q", "responses": {"secret": 1}})
        assert "secret" not in json.dumps(reply)


async def test_a_body_without_an_end_is_cut_at_the_limit_without_being_kept():
    async def endless():
        while True:
            yield b"x" * 65536

    async with served(config=ServeConfig(max_body_bytes=100_000)) as client:
        try:
            async with client.session.post(client.url + "/v1/judge", data=endless()) as reply:
                assert reply.status == 413
        except aiohttp.ClientError:
            pass  # the server closed while we were sending
        assert await client.metric('spct_refused_total{reason="too_large"}') == 1


async def test_a_slow_body_is_given_up():
    async def slow():
        yield b"{"
        await asyncio.sleep(30)

    async with (
        served(config=ServeConfig(body_timeout_s=0.05)) as client,
        client.session.post(client.url + "/v1/judge", data=slow()) as reply,
    ):
        assert reply.status == 408


async def test_both_native_routes_take_the_same_body_and_name_unknown_keys():
    two = {"examples": [ONE["examples"][0], {"query": "q", "responses": ["a"]}]}
    async with served(Model()) as client:
        _, judged = await client.post("/v1/judge", {**REWARDS, "id": "mine"})
        assert [r["id"] for r in judged["results"]] == ["mine"]
        _, rewarded = await client.post("/v1/rewards", REWARDS)
        assert rewarded["rewards"] == judged["results"][0]["rewards"] == [1.0, 2.0]
        _, nested = await client.post("/v1/rewards", two)
        assert nested["rewards"] == [[1.0, 2.0], [1.0]] and nested["errors"] == [
            [None, None],
            [None],
        ]
        for path in ("/v1/judge", "/v1/rewards"):
            for wrong in ({"respones": ["a"]}, {"examples": [{"query": "q", "respones": ["a"]}]}):
                status, reply = await client.post(path, {**REWARDS, **wrong})
                assert status == 422
                assert (
                    "respones: unknown key; did you mean 'responses'?" in reply["error"]["message"]
                )
        grouped = {**REWARDS, "group": {"id": "g"}}
        status, reply = await client.post("/v1/judge", grouped)
        assert (status, reply["error"]["param"]) == (422, "group")


async def test_the_docs_page_names_every_route_and_loads_nothing_from_elsewhere():
    async with served() as client, client.session.get(client.url + "/docs") as reply:
        page = await reply.text()
        assert reply.status == 200 and "script" not in page
        assert "style-src" in reply.headers["Content-Security-Policy"]
        assert all(route.path in page for route in client.app.routes if route.include_in_schema)
    far = ServeConfig(host="0.0.0.0", unsafe_no_auth=True)
    async with served(config=far) as client:
        assert (await client.get("/docs"))[0] == 404


# ---- who may call


def concrete(app):
    for route in app.routes:
        for method in route.methods:
            yield method, route.path


async def test_every_route_of_the_table_needs_a_key_unless_it_is_listed_as_public():
    app = create_app(scripted(), environ={"SPCT_GATEWAY_KEYS": KEY})
    table = sorted(concrete(app))
    assert len(table) > 15
    async with served(environ={"SPCT_GATEWAY_KEYS": KEY}) as client:
        for method, path in [*table, ("GET", "/docs"), ("POST", "/nowhere"), ("GET", "/")]:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
                async with client.session.request(
                    method, client.url + path, headers=headers
                ) as reply:
                    expected = 200 if path in PUBLIC else 401
                    assert reply.status == expected, (method, path)
        assert {"/healthz", "/readyz", "/health"} == PUBLIC


async def test_both_ways_of_presenting_a_key_work_and_scopes_hold():
    keys = f"trainer {KEY} judge,watcher another-key-of-length read"
    async with served(environ={"SPCT_GATEWAY_KEYS": keys}) as client:
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert (await client.post("/v1/rewards", REWARDS, headers=bearer))[0] == 200
        assert (await client.post("/v1/rewards", REWARDS, headers={"X-API-Key": KEY}))[0] == 200
        assert (await client.get("/metrics", headers=bearer))[0] == 403
        watcher = {"X-API-Key": "another-key-of-length"}
        assert (await client.get("/metrics", headers=watcher))[0] == 200
        assert (await client.post("/v1/rewards", REWARDS, headers=watcher))[0] == 403


async def test_without_a_key_only_our_own_host_names_and_origins_are_answered():
    async with served() as client:
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            status, body = await client.post("/v1/rewards", REWARDS, headers=headers)
            assert (status, error_of(body)) == (403, "forbidden")
        same = {"Origin": client.url, "Host": f"localhost:{client.port}"}
        assert (await client.post("/v1/rewards", REWARDS, headers=same))[0] == 403
        assert (await client.post("/v1/rewards", REWARDS, headers={"Origin": client.url}))[0] == 200


async def test_a_gateway_that_is_open_on_purpose_answers_to_any_host_name_but_not_other_origins():
    config = ServeConfig(host="0.0.0.0", unsafe_no_auth=True)
    async with served(config=config) as client:
        named = {"Host": "gateway.example"}
        assert (await client.post("/v1/rewards", REWARDS, headers=named))[0] == 200
        page = {**named, "Origin": "https://evil.example"}
        assert (await client.post("/v1/rewards", REWARDS, headers=page))[0] == 403


async def test_every_reply_has_security_headers_and_a_request_id():
    async with served() as client:
        for path in ("/healthz", "/nowhere", "/metrics"):
            async with client.session.get(
                client.url + path, headers={"X-Request-Id": "mine-1"}
            ) as reply:
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
                assert reply.headers["X-Request-Id"] == "mine-1"
                assert "server" not in reply.headers


async def test_headers_beyond_the_limit_are_refused():
    async with served() as client:
        status, body = await client.post("/v1/judge", ONE, headers={"X-Long": "x" * 17_000})
        assert (status, error_of(body)) == (431, "header_too_large")


# ---- overload, cancelling, draining


async def test_a_full_queue_answers_503_with_retry_after_and_what_was_accepted_is_judged():
    model = Model(delay_s=0.2)
    async with served(model, ServeConfig(max_concurrency=1, max_queue=1)) as client:

        async def one(i):
            body = {"query": str(i), "responses": ["a"]}
            async with client.session.post(client.url + "/v1/rewards", json=body) as reply:
                return reply.status, reply.headers.get("Retry-After")

        first = [asyncio.create_task(one(i)) for i in range(2)]
        await asyncio.sleep(0.05)
        replies = [await one(i) for i in range(2, 6)]
        assert [status for status, _ in replies] == [503] * 4
        assert all(int(after) >= 1 for _, after in replies)
        assert [status for status, _ in await asyncio.gather(*first)] == [200, 200]
    assert len(model.judged) == 2


async def test_bodies_in_flight_are_bounded_in_bytes_and_the_count_returns_to_zero():
    model = Model(delay_s=0.3)
    async with served(model, ServeConfig(max_held_bytes=10)) as client:
        first = asyncio.create_task(client.post("/v1/rewards", REWARDS))
        await asyncio.sleep(0.1)
        status, body = await client.post("/v1/rewards", {"query": "x", "responses": ["y"]})
        assert (status, error_of(body)) == (503, "overloaded")
        assert (await first)[0] == 200
        assert client.app.state.gateway.body_bytes == 0


async def test_votes_alone_are_scores_and_orders_without_texts():
    async with served() as client:
        _, reply = await client.post("/v1/judge", {**ONE, "include": ["votes"]})
    judgements = reply["results"][0]["judgements"]
    assert [sorted(j["order"]) for j in judgements] == [[0, 1], [0, 1]]
    assert all(len(j["scores"]) == 2 and j["principles"] is None for j in judgements)


async def test_one_keys_rate_and_share_do_not_touch_another_key():
    keys = f"a {KEY}-a,b {KEY}-b"
    async with served(config=ServeConfig(rate=1), environ={"SPCT_GATEWAY_KEYS": keys}) as client:
        a, b = {"X-API-Key": f"{KEY}-a"}, {"X-API-Key": f"{KEY}-b"}
        assert (await client.post("/v1/rewards", REWARDS, headers=a))[0] == 200
        status, body = await client.post("/v1/rewards", REWARDS, headers=a)
        assert (status, error_of(body)) == (429, "rate_limited")
        assert (await client.post("/v1/rewards", REWARDS, headers=b))[0] == 200
    model = Model(delay_s=5)
    config = ServeConfig(max_per_key=1)
    async with served(model, config, environ={"SPCT_GATEWAY_KEYS": keys}) as client:
        held = asyncio.create_task(client.post("/v1/rewards", REWARDS, headers=a))
        await asyncio.sleep(0.05)
        other = {"query": "other", "responses": ["x"]}
        assert (await client.post("/v1/rewards", other, headers=a))[0] == 429
        held.cancel()


async def test_a_client_that_goes_away_cancels_the_judgement_and_frees_its_place():
    model = Model(delay_s=30)
    async with served(model) as client:
        task = asyncio.create_task(client.post("/v1/rewards", REWARDS))
        while not model.n_begun:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(100):
            if model.n_cancelled:
                break
            await asyncio.sleep(0.01)
        assert model.n_cancelled == 1
        assert client.app.state.gateway.in_flight.total() == 0
        assert client.app.state.gateway.slots.busy == 0
        assert await client.metric("spct_client_gone_total") == 1


async def test_draining_turns_readiness_off_and_refuses_new_work():
    async with served() as client:
        assert (await client.get("/readyz"))[0] == 200
        client.app.state.gateway.drain()
        assert (await client.get("/readyz"))[0] == 503
        assert (await client.get("/healthz"))[0] == 200
        status, body = await client.post("/v1/rewards", REWARDS)
        assert (status, error_of(body)) == (503, "draining")


# ---- answers given again


async def test_an_idempotency_key_gets_the_same_answer_and_one_judgement():
    model = Model(delay_s=0.05)
    async with served(model) as client:
        headers = {"Idempotency-Key": "k1"}
        replies = await asyncio.gather(
            *(client.post("/v1/rewards", REWARDS, headers=headers) for _ in range(5))
        )
        again = await client.post("/v1/rewards", REWARDS, headers=headers)
        assert all(reply == again for reply in replies) and len(model.judged) == 1
        other = {"query": "other", "responses": ["x"]}
        status, body = await client.post("/v1/rewards", other, headers=headers)
        assert (status, error_of(body)) == (409, "key_reused")
        assert len(model.judged) == 1


async def test_the_same_idempotency_key_of_another_caller_is_another_key():
    keys = f"a {KEY}-a,b {KEY}-b"
    model = Model()
    async with served(model, environ={"SPCT_GATEWAY_KEYS": keys}) as client:
        for suffix, query in (("a", "one"), ("b", "two")):
            headers = {"X-API-Key": f"{KEY}-{suffix}", "Idempotency-Key": "same"}
            body = {"query": query, "responses": ["x"]}
            assert (await client.post("/v1/rewards", body, headers=headers))[0] == 200
        for suffix in "ab":  # and an equal body without a key is a request of its own caller
            headers = {"X-API-Key": f"{KEY}-{suffix}"}
            assert (await client.post("/v1/rewards", REWARDS, headers=headers))[0] == 200
    assert len(model.judged) == 4


async def test_an_equal_request_is_answered_from_the_first_and_a_failed_one_is_tried_again():
    outcomes = iter([None, [1.0, 2.0]])
    model = Model(lambda example: next(outcomes))
    async with served(model) as client:
        assert (await client.post("/v1/rewards", REWARDS))[1]["rewards"] == [None, None]
        assert (await client.post("/v1/rewards", REWARDS))[1]["rewards"] == [1.0, 2.0]
        assert (await client.post("/v1/rewards", REWARDS))[1]["rewards"] == [1.0, 2.0]
        assert len(model.judged) == 2
        assert await client.metric('spct_replays_total{by="request"}') == 1


async def test_the_work_of_a_shared_answer_goes_on_until_the_last_client_has_gone():
    model = Model(delay_s=0.2)
    async with served(model) as client:
        headers = {"Idempotency-Key": "k"}
        first = asyncio.create_task(client.post("/v1/rewards", REWARDS, headers=headers))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(client.post("/v1/rewards", REWARDS, headers=headers))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await second)[0] == 200
    assert model.n_cancelled == 0 and len(model.judged) == 1


# ---- groups over HTTP


async def test_members_in_separate_requests_are_judged_together_once():
    model = Model()
    async with served(model, ServeConfig(on_unscored="error", group_size=3)) as client:
        replies = await asyncio.gather(
            *(
                client.post("/remote_rm", {"prompt": "p", "response": "r" * n, "label": None})
                for n in (1, 2, 3)
            )
        )
        assert [reward for _, reward in replies] == [1.0, 2.0, 3.0]
        assert await client.metric('spct_groups_total{by="size"}') == 1
    assert [example.responses for example in model.judged] == [("r", "rr", "rrr")]


async def test_two_callers_with_the_same_prompt_never_share_a_group():
    keys = f"a {KEY}-a,b {KEY}-b"
    model = Model()
    config = ServeConfig(on_unscored="error", group_size=2, group_wait_s=0.1)
    async with served(model, config, environ={"SPCT_GATEWAY_KEYS": keys}) as client:
        await asyncio.gather(
            *(
                client.post("/remote_rm", {"prompt": "p", "response": suffix},
                            headers={"X-API-Key": f"{KEY}-{suffix}"})
                for suffix in "ab"
            )
        )  # fmt: skip
    assert sorted(example.responses for example in model.judged) == [("a",), ("b",)]


async def test_native_groups_come_together_and_mixed_ones_are_refused():
    model = Model()
    async with served(model, ServeConfig(group_wait_s=0.3)) as client:
        group = {"id": "g1", "size": 3}
        tasks = [
            asyncio.create_task(
                client.post("/v1/rewards", {"query": "q", "responses": some, "group": group})
            )
            for some in (["a", "bb"], ["ccc"])
        ]
        await asyncio.sleep(0.05)
        replies = await asyncio.gather(*tasks)
        assert [reply["rewards"] for _, reply in replies] == [[1.0, 2.0], [3.0]]
        status, body = await client.post(
            "/v1/rewards", {"query": "another", "responses": ["d"], "group": group}
        )
        assert (status, error_of(body)) == (409, "mixed_group")
    assert len(model.judged) == 1


async def test_a_member_that_goes_away_is_not_judged_and_its_retry_is():
    model = Model()
    config = ServeConfig(on_unscored="error", group_size=2, group_wait_s=5)
    async with served(model, config) as client:
        lost = asyncio.create_task(client.post("/remote_rm", {"prompt": "p", "response": "lost"}))
        await asyncio.sleep(0.05)
        lost.cancel()
        await asyncio.sleep(0.05)
        replies = await asyncio.gather(
            *(client.post("/remote_rm", {"prompt": "p", "response": r}) for r in ("lost", "b"))
        )
        assert [status for status, _ in replies] == [200, 200]
    assert [sorted(example.responses) for example in model.judged] == [["b", "lost"]]


async def test_a_group_whose_judgement_failed_says_why_to_each_member_and_may_be_tried_again():
    nonsense = GenerativeRM(ScriptedEngine(lambda prompt, seed: "no verdict"), k=3)
    async with served(nonsense) as client:
        body = {"query": "q", "responses": ["a", "b"], "group": {"id": "g", "size": 2}}
        for times in (1, 2):
            _, reply = await client.post("/v1/rewards", body)
            assert reply["rewards"] == [None, None]
            assert reply["errors"] == ["no_verdict 3"] * 2
            assert await client.metric('spct_examples_total{outcome="unscored"}') == 2 * times - 1


@pytest.mark.parametrize("first", [("a", "bb"), ("a",)])
async def test_a_late_member_is_of_the_group_that_closed_before_it_came(first):
    """What a group shares, such as the criteria that dropout leaves, goes by its name."""
    model = Model()
    config = ServeConfig(on_unscored="error", group_size=4, group_wait_s=0.05)
    async with served(model, config) as client:
        for some in (first, ("late",), ("later",)):
            await asyncio.gather(
                *(client.post("/remote_rm", {"prompt": "p", "response": r}) for r in some)
            )
        await client.post("/remote_rm", {"prompt": "another", "response": "a"})
    *ours, other = model.judged
    assert [e.n for e in ours] == [len(first), len(first) + 1, len(first) + 1]
    assert ours[0].group is not None and {e.group for e in ours} == {ours[0].group}
    assert other.group not in (None, ours[0].group)


async def test_a_websocket_is_refused():
    async with served() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.session.ws_connect(client.url + "/version")


async def test_a_bad_member_is_refused_alone_and_its_group_goes_on():
    config = ServeConfig(on_unscored="error", group_size=2, group_wait_s=0.2)
    async with served(Model(), config) as client:
        good = asyncio.create_task(client.post("/remote_rm", {"prompt": "p", "response": "a"}))
        bad, _ = await client.post("/remote_rm", {"prompt": "p", "response": "x" * 300_000})
        assert bad == 422 and (await good) == (200, 1.0)


# ---- what is written down


async def test_no_text_of_a_caller_reaches_logs_or_metrics(caplog):
    caplog.set_level(logging.INFO)
    word = "xyzzysecretword"
    broken = Model(error=RuntimeError(f"a bug with {word} in its message"))
    config = ServeConfig(on_unscored="error", group_size=2, group_wait_s=0.05)
    for model in (scripted(), broken):
        async with served(model, config, environ={"SPCT_GATEWAY_KEYS": KEY}) as client:
            headers = {"X-API-Key": KEY, "Idempotency-Key": f"{word}-id"}
            for path, body in (
                ("/v1/rewards", {"query": word, "responses": [word]}),
                ("/remote_rm", {"prompt": word, "response": word, word: 1}),
                (f"/{word}", {}),
                ("/v1/judge", {"examples": word}),
            ):
                async with client.session.post(
                    client.url + path, json=body, headers=headers
                ) as reply:
                    await reply.read()
            _, text = await client.get("/metrics", headers={"X-API-Key": KEY})
            assert word not in text and KEY not in text
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "route=/v1/rewards" in logged and "route=unmatched" in logged
    assert word not in logged and KEY not in logged


async def test_a_bug_of_ours_is_a_typed_500_that_tells_nothing():
    async with served(Model(error=RuntimeError("secret"))) as client:
        status, body = await client.post("/v1/rewards", REWARDS)
        assert (status, error_of(body)) == (500, "internal")
        assert "secret" not in json.dumps(body)
        assert (await client.get("/healthz"))[0] == 200


async def test_every_scored_reply_names_its_fingerprint():
    config = ServeConfig(on_unscored=0.0, template="chatml")
    judged = GenerativeRM(ScriptedEngine(), k=1, vote=mean_scores)
    async with served(judged, config) as client:
        digest = client.app.state.gateway.fingerprint["digest"]
        bodies = {
            "/v1/judge": ONE,
            "/get_reward": {"query": []},
            "/remote_rm": {"prompt": "p", "response": "r"},
            "/score": {"queries": "q", "documents": ["a", "b"]},
            "/predict": {"inputs": ["q", "a"]},
        }
        for path, body in bodies.items():
            async with client.session.post(client.url + path, json=body) as reply:
                assert reply.status == 200, path
                assert reply.headers["X-Spct-Fingerprint"] == digest


async def test_truncated_replies_are_counted_by_their_reason():
    cut = GenerativeRM(ScriptedEngine(lambda p, s: Completion("...", "length")), k=3)
    async with served(cut) as client:
        await client.post("/v1/rewards", REWARDS)
        assert await client.metric('spct_trajectories_total{outcome="truncated"}') == 3
        assert await client.metric('spct_examples_total{outcome="unscored"}') == 1
