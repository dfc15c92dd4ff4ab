"""What every wire refuses alike, in a typed 4xx: an empty query, and a packed body."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from spct.serve.config import ServeConfig
from tests.serve.local import Model, served

CONFIG = ServeConfig(on_unscored="error", template="chatml")
EMPTY = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " \n"}]
SAID = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]
CHATML = "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
SILENT: list[tuple[str, Any]] = [
    ("/v1/judge", {"examples": [{"query": "", "responses": ["a"]}]}),
    ("/v1/rewards", {"query": EMPTY, "responses": ["a", "b"]}),
    ("/v1/rewards", {"query": " ", "responses": ["a"], "group": {"id": "g", "size": 1}}),
    ("/get_reward", {"query": ["a"], "prompts": [""]}),
    ("/get_reward", {"query": [CHATML + "a"], "prompts": [CHATML]}),
    ("/get_reward", {"query": [CHATML + "a<|im_end|>"]}),
    ("/remote_rm", {"prompt": "", "response": "a"}),
    ("/remote_rm", {"prompt": EMPTY, "response": "a"}),
    ("/remote_rm/detail", {"prompt": CHATML, "response": "a"}),
    ("/verify", {"responses_create_params": {"input": ""}, "response": {"output": SAID}}),
    ("/verify", {"responses_create_params": {"input": EMPTY}, "response": {"output": SAID}}),
    ("/compare", {"conversation_history": EMPTY, "response_objs": [{"output": SAID}] * 2}),
    ("/classify", {"input": [CHATML + "a<|im_end|>"]}),
    ("/classify", {"text": CHATML + "a<|im_end|>"}),
    ("/pooling", {"messages": [*EMPTY, {"role": "assistant", "content": "a"}]}),
    ("/score", {"data_1": "", "data_2": ["a", "b"]}),
    ("/rerank", {"query": "\t", "documents": ["a", "b"]}),
    ("/v1/embeddings", {"input": CHATML + "a<|im_end|>"}),
    ("/predict", {"inputs": [["", "a"]]}),
]


async def test_a_query_that_says_nothing_is_refused_on_every_wire_and_never_judged() -> None:
    model = Model()
    async with served(model, CONFIG) as client:
        for path, body in SILENT:
            status, reply = await client.post(path, body)
            assert (status, "error" in reply) == (422, True), (path, body, reply)
    assert not model.judged


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP, identity", "x-unknown", "deflate"])
async def test_a_packed_body_is_refused_whether_or_not_it_is_packed(coding: str) -> None:
    plain = json.dumps({"query": "q", "responses": ["a"]}).encode()
    model = Model()
    async with served(model) as client:
        for body in (plain, gzip.compress(plain)):
            headers = {"content-encoding": coding, "content-type": "application/json"}
            async with client.session.post(
                client.url + "/v1/rewards", data=body, headers=headers
            ) as reply:
                told = await reply.json()
                assert (reply.status, told["error"]["type"]) == (415, "packed_body")
                assert reply.headers["accept-encoding"] == "identity"
    assert not model.judged


async def test_a_body_that_is_said_to_be_as_it_is_is_read() -> None:
    async with served(Model()) as client:
        headers = {"content-encoding": "identity"}
        status, _ = await client.post(
            "/v1/rewards", {"query": "q", "responses": ["a"]}, headers=headers
        )
        assert status == 200
