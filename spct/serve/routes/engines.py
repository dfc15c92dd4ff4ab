"""The routes of vLLM, SGLang, Text Embeddings Inference and rerankers."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI, Request
from pydantic import TypeAdapter
from starlette.responses import Response

import spct
from spct.serve.routes.shared import ERRORS, Caller, Wires, rewards_of
from spct.serve.samples import check_model
from spct.serve.wires import rerank, sglang, tei, vllm

Classified = vllm.ClassifyReply | sglang.Embedding | list[sglang.Embedding]
Predictions = list[tei.Prediction] | list[list[tei.Prediction]]
Reranked = rerank.Reply | list[rerank.Rank]
_dump_embeddings = TypeAdapter(list[sglang.Embedding] | sglang.Embedding).dump_json
_dump_predictions = TypeAdapter(Predictions).dump_json
_dump_reranked = TypeAdapter(Reranked).dump_json


def add_engines(app: FastAPI, wires: Wires) -> None:
    """Add the routes."""
    _add_pooling(app, wires)
    _add_documents(app, wires)
    _add_sglang_and_tei(app, wires)
    _add_descriptions(app, wires)


def _add_pooling(app: FastAPI, wires: Wires) -> None:
    gateway, config, name = wires.gateway, wires.config, wires.name

    async def classify(body: vllm.ClassifyRequest, caller: Caller) -> Response:
        """vLLM with `input` or `messages`, SGLang with `text`: the reward of conversations."""
        wire = "sglang" if body.text is not None else "vllm"
        wires.check_enabled(body, wire)
        check_model(body.model, config.names(name))
        judged = await gateway.rewards(
            await caller.read(vllm.read, body, wires.template, config), caller.name
        )
        rewards = rewards_of(judged)
        numbers = wires.price(rewards, wire)
        if body.text is None:
            return wires.reply(vllm.write_classify(numbers, name), rewards)
        several = not isinstance(body.text, str)
        reply = sglang.write_classify(numbers, several=several)
        return wires.reply(_dump_embeddings(reply), rewards)

    for path in ("/classify", "/v1/classify"):
        app.post(path, response_model=Classified, responses=ERRORS, tags=["vLLM", "SGLang"])(
            classify
        )

    @app.post("/pooling", response_model=vllm.PoolingReply, responses=ERRORS, tags=["vLLM"])
    async def pooling(body: vllm.PoolingRequest, caller: Caller) -> Response:
        """vLLM: the reward of conversations."""
        wires.check_enabled(body, "vllm")
        check_model(body.model, config.names(name))
        judged = await gateway.rewards(
            await caller.read(vllm.read, body, wires.template, config), caller.name
        )
        numbers = wires.price(rewards_of(judged), "vllm")
        return wires.reply(vllm.write_pooling(numbers, name), rewards_of(judged))


def _add_documents(app: FastAPI, wires: Wires) -> None:
    gateway, config, name = wires.gateway, wires.config, wires.name

    async def score(body: vllm.ScoreRequest, caller: Caller) -> Response:
        """vLLM: the rewards of documents as responses to a query, judged together."""
        wires.check_enabled(body, "vllm")
        check_model(body.model, config.names(name))
        asked = await caller.read(vllm.read_score, body, config)
        outcomes = await gateway.judge_all(asked, caller.name)
        rewards = vllm.rewards_of(outcomes, asked)
        return wires.reply(vllm.write_score(wires.price(rewards, "vllm"), name), rewards)

    for path in ("/score", "/v1/score"):
        app.post(path, response_model=vllm.ScoreReply, responses=ERRORS, tags=["vLLM"])(score)

    async def reranked(body: rerank.Request, request: Request, caller: Caller) -> Response:
        """vLLM, Cohere, Infinity (`documents`) and TEI (`texts`): responses, best first."""
        wire = "tei" if body.texts is not None else "rerank"
        wires.check_enabled(body, wire)
        check_model(body.model, config.names(name))
        asked = await caller.read(rerank.read, body, config)
        outcome = await gateway.judge(asked, caller.name)
        rewards = [outcome.reward(i) for i in range(asked.n)]
        reply = rerank.write(body, wires.price(rewards, wire), name, path=request.scope["path"])
        return wires.reply(_dump_reranked(reply, exclude_none=True), rewards)

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        app.post(path, response_model=Reranked, responses=ERRORS, tags=["rerankers"])(reranked)


def _add_sglang_and_tei(app: FastAPI, wires: Wires) -> None:
    gateway, config, name = wires.gateway, wires.config, wires.name

    @app.post(
        "/v1/embeddings", response_model=sglang.EmbeddingsReply, responses=ERRORS, tags=["SGLang"]
    )
    async def embeddings(body: sglang.EmbeddingsRequest, caller: Caller) -> Response:
        """SGLang's reward models: the reward as a one-element embedding."""
        wires.check_enabled(body, "sglang")
        check_model(body.model, config.names(name))
        samples = await caller.read(sglang.read_embeddings, body, wires.template, config)
        judged = await gateway.rewards(samples, caller.name)
        numbers = wires.price(rewards_of(judged), "sglang")
        return wires.reply(sglang.write_embeddings(numbers, name), rewards_of(judged))

    @app.post("/predict", response_model=Predictions, responses=ERRORS, tags=["TEI"])
    async def predict(body: tei.Request, caller: Caller) -> Response:
        """Text Embeddings Inference: the reward of texts or pairs."""
        wires.check_enabled(body, "tei")
        judged = await gateway.rewards(
            await caller.read(tei.read, body, wires.template, config), caller.name
        )
        numbers = wires.price(rewards_of(judged), "tei")
        return wires.reply(_dump_predictions(tei.write(body, numbers)), rewards_of(judged))


def _add_descriptions(app: FastAPI, wires: Wires) -> None:
    """What clients of these servers ask before their first request."""
    config, name, started = wires.config, wires.name, int(time.time())

    @app.get("/v1/models", responses=ERRORS, tags=["vLLM", "SGLang"])
    async def models() -> dict[str, Any]:
        """The one model, under every name that it is served by."""
        data = [
            {"id": one, "object": "model", "created": started, "owned_by": "spct", "root": name}
            for one in config.names(name)
        ]
        return {"object": "list", "data": data}

    async def model_info() -> dict[str, Any]:
        """SGLang: what is served."""
        return {
            "model_path": name,
            "tokenizer_path": name,
            "is_generation": False,
            "weight_version": wires.gateway.fingerprint["digest"],
        }

    for path in ("/get_model_info", "/model_info"):
        app.get(path, responses=ERRORS, tags=["SGLang"])(model_info)

    @app.get("/info", responses=ERRORS, tags=["TEI"])
    async def info() -> dict[str, Any]:
        """Text Embeddings Inference: what is served, and its limits."""
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return {
            "model_id": name,
            "model_sha": wires.gateway.fingerprint["digest"],
            "model_dtype": "float32",
            "model_type": {"classifier": labels},
            "max_concurrent_requests": config.max_requests,
            "max_input_length": config.max_response_bytes,
            "max_batch_tokens": config.max_body_bytes,
            "max_client_batch_size": config.max_examples,
            "auto_truncate": False,
            "version": spct.__version__,
        }
