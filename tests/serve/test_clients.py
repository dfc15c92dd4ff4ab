"""Clients shaped like the trainers' own: their bodies, headers, retries and timeouts over HTTP."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from spct.serve.config import ServeConfig
from tests.serve.local import Model, served

PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


async def openrlhf(session: aiohttp.ClientSession, url: str, body: dict) -> dict:
    """Five tries one second apart, `rewards` must be there (here without the second)."""
    for _ in range(5):
        try:
            async with session.post(
                url, json=body, headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=180),
            ) as reply:  # fmt: skip
                reply.raise_for_status()
                answer = await reply.json()
                assert "rewards" in answer
                return answer
        except aiohttp.ClientError:
            continue
    raise RuntimeError("five tries failed")


async def slime(session: aiohttp.ClientSession, url: str, sample: dict, tries: int = 10) -> object:
    """Ten tries with a growing pause; the JSON reply is the reward."""
    for attempt in range(tries):
        try:
            async with session.post(url, json=sample) as reply:
                reply.raise_for_status()
                return await reply.json()
        except aiohttp.ClientError:
            if attempt + 1 == tries:
                raise
            await asyncio.sleep(0.01 * 2**attempt)
    raise AssertionError


def samples(n_prompts: int, size: int) -> list[tuple[str, str]]:
    return [(f"question {p}", "x" * (g + 1)) for p in range(n_prompts) for g in range(size)]


async def test_openrlhf_sends_one_sample_a_request_and_each_prompts_group_is_judged_once():
    model = Model(delay_s=0.02)
    config = ServeConfig(on_unscored=0.0, template="chatml", group_size=4)
    async with served(model, config) as client:

        async def one(prompt: str, response: str) -> dict:
            text = PROMPT.format(prompt)
            body = {
                "query": [text + response + "<|im_end|>\n"],
                "prompts": [text],
                "labels": [None],
            }
            return await openrlhf(client.session, client.url + "/get_reward", body)

        replies = await asyncio.gather(*(one(p, r) for p, r in samples(8, 4)))
    assert [reply["rewards"] for reply in replies] == [[1.0], [2.0], [3.0], [4.0]] * 8
    assert len(model.judged) == 8
    assert {example.query[0].content for example in model.judged} == {
        f"question {p}" for p in range(8)
    }
    json.dumps(replies)  # numbers all the way: extra_logs goes into a tensor
    assert all(isinstance(v, float) for r in replies for vs in r["extra_logs"].values() for v in vs)


async def test_openrlhf_batches_of_old_releases_and_empty_ones_of_other_urls_are_answered():
    async with served(Model(), ServeConfig(on_unscored=0.0)) as client:
        url = client.url + "/get_reward"
        batch = await openrlhf(
            client.session, url, {"query": ["q a", "q bb"], "prompts": ["q ", "q "]}
        )
        assert batch["rewards"] == [1.0, 2.0]
        empty = await openrlhf(client.session, url, {"query": [], "prompts": [], "labels": []})
        assert empty["rewards"] == []


async def test_slime_samples_are_grouped_and_the_reply_is_the_reward():
    model = Model(delay_s=0.02)
    async with served(model, ServeConfig(on_unscored=0.0, group_size=4)) as client:
        rewards = await asyncio.gather(
            *(
                slime(client.session, client.url + "/remote_rm",
                      {"prompt": p, "response": r, "label": None})
                for p, r in samples(4, 4)
            )
        )  # fmt: skip
    assert rewards == [1.0, 2.0, 3.0, 4.0] * 4 and len(model.judged) == 4


async def test_a_retry_after_a_client_timeout_gets_its_reward_from_one_judgement_of_the_group():
    model = Model(delay_s=0.3)
    async with served(model, ServeConfig(on_unscored=0.0, group_size=2)) as client:

        async def impatient() -> object:
            sample = {"prompt": "p", "response": "aaa", "label": None}
            url = client.url + "/remote_rm"
            try:
                timeout = aiohttp.ClientTimeout(total=0.1)
                async with client.session.post(url, json=sample, timeout=timeout) as reply:
                    return await reply.json()
            except TimeoutError:
                return await slime(client.session, url, sample)

        other = {"prompt": "p", "response": "b", "label": None}
        rewards = await asyncio.gather(
            impatient(), slime(client.session, client.url + "/remote_rm", other)
        )
    assert rewards == [3.0, 1.0] and len(model.judged) == 1


async def test_an_overloaded_gateway_is_ridden_out_by_a_client_that_retries():
    model = Model(delay_s=0.1)
    config = ServeConfig(on_unscored=0.0, max_concurrency=2, max_queue=4)
    async with served(model, config) as client:
        rewards = await asyncio.gather(
            *(
                slime(client.session, client.url + "/remote_rm",
                      {"prompt": str(i), "response": "a" * (i + 1), "label": None})
                for i in range(30)
            )
        )  # fmt: skip
        assert rewards == [float(i + 1) for i in range(30)]
        assert await client.metric('spct_refused_total{reason="overloaded"}') > 0


async def test_a_failed_judgement_is_what_the_operator_chose_on_every_wire_without_null():
    bodies = {
        "/get_reward": {"query": ["q a"], "prompts": ["q "]},
        "/remote_rm": {"prompt": "p", "response": "r"},
        "/remote_rm/detail": {"prompt": "p", "response": "r"},
        "/verify": {
            "responses_create_params": {"input": "q"},
            "response": {"output": [{"type": "message", "role": "assistant", "content": "a"}]},
        },
        "/compare": {
            "conversation_history": [{"role": "user", "content": "q"}],
            "response_objs": [{"output": []}, {"output": []}],
        },
        "/score": {"queries": "q", "documents": ["a"]},
        "/v2/rerank": {"query": "q", "documents": ["a"]},
        "/predict": {"inputs": ["q", "a"]},
        "/classify": {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        },
    }
    for setting, status in ((None, 404), ("error", 424), (-7.5, 200)):
        model = Model(lambda example: None)
        async with served(model, ServeConfig(on_unscored=setting)) as client:
            for path, body in bodies.items():
                got, reply = await client.post(path, body)
                assert got == status, path
                if setting is None:
                    assert "--on-unscored" in reply["error"]["message"] and not model.n_begun
                if setting == -7.5:
                    assert "-7.5" in json.dumps(reply), path
            if setting == -7.5:
                assert await client.metric('spct_unscored_priced_total{wire="slime"}') == 2
                assert await client.metric('spct_unscored_priced_total{wire="openrlhf"}') == 1


async def test_fields_of_newer_releases_are_ignored_and_counted():
    async with served(Model(), ServeConfig(on_unscored=0.0)) as client:
        body = {"prompt": "p", "response": "r", "label": None, "new_field": 1}
        assert (await client.post("/remote_rm", body))[0] == 200
        assert await client.metric('spct_unknown_fields_total{wire="slime"}') == 1


async def test_verl_reads_its_reward_where_vllm_and_sglang_put_it():
    text = PROMPT.format("q") + "four<|im_end|>\n"
    async with served(Model(), ServeConfig(on_unscored=0.0, template="chatml")) as client:
        asked = {"model": "spct", "input": text, "use_activation": False}
        _, reply = await client.post("/classify", asked)
        assert reply["data"][-1]["probs"][-1] == 4.0
        _, reply = await client.post("/v1/embeddings", {"model": "spct", "input": text})
        assert reply["data"][-1]["embedding"][-1] == 4.0


async def test_nemo_gyms_agent_finds_every_step_of_its_flow():
    """seed_session, then /verify for each rollout, aggregate_metrics at the end."""
    async with served(Model(), ServeConfig(on_unscored=0.0)) as client:
        run = {"responses_create_params": {"input": "Hi"}, "_ng_task_index": 3}
        assert await client.post("/seed_session", run) == (200, {})
        response = {"output": [{"type": "message", "role": "assistant", "content": "Hello"}]}
        status, verified = await client.post("/verify", {**run, "response": response})
        assert status == 200 and verified["reward"] == 5.0
        status, reply = await client.post("/aggregate_metrics", {"verify_responses": [verified]})
        assert status == 200 and reply["key_metrics"] == {"mean/reward": 5.0}
        assert await client.get("/reverify_mode") == (200, '"stateless"')
        session = {"resources_session_id": "s", "episode_id": "e", "task_id": "t", "task_data": {}}
        assert await client.post("/seed_session", session) == (200, {"resources_session_id": "s"})
        assert (await client.post("/close_session", session))[1] == {"resources_session_id": "s"}


async def test_clients_of_engines_find_what_they_ask_for_first():
    config = ServeConfig(on_unscored=0.0, served_name=("mine", "/models/rm"), template="chatml")
    async with served(Model(), config) as client:
        _, models = await client.get("/v1/models")
        assert [one["id"] for one in json.loads(models)["data"]] == ["mine", "/models/rm"]
        assert json.loads((await client.get("/get_model_info"))[1])["is_generation"] is False
        info = json.loads((await client.get("/info"))[1])
        assert info["model_id"] == "mine" and "classifier" in info["model_type"]
        assert (await client.get("/health"))[0] == 200
        # verl's router: the model's path as its name, the text without its leading start token
        text = PROMPT.format("q").removeprefix("<|im_start|>") + "four<|im_end|>\n"
        asked = {"model": "/models/rm", "input": text, "use_activation": False}
        _, reply = await client.post("/classify", asked)
        assert reply["data"][-1]["probs"][-1] == 4.0 and reply["id"] and reply["created"] > 0
        status, refused = await client.post("/classify", {**asked, "model": "other"})
        assert status == 404 and "/models/rm" in refused["error"]["message"]
