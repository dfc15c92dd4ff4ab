"""The light fallback: llama.cpp through the xllamacpp wheel, its server running in this process.

It is asked over its own loopback port, guarded by a random key, because only the native completion
route returns what is needed: token ids, and n samples of one prompt that is computed once. The
n samples share a seed and llama.cpp derives one for each. The model runs as F16 and each slot has
its own cache (`kv_unified` off): both were needed for log probabilities that agree with torch.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from spct.engines.lora import find_lora
from spct.engines.plain import Plain
from spct.engines.probe import (
    OnStep,
    Probe,
    check_context,
    check_request,
    hand_on,
    timed_sample,
)
from spct.engines.spellings import summed
from spct.engines.weights import as_f16, content_key, facts_of, find_model
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.protocols import Engine
from spct.types import Completion, FinishReason, Prompt, SamplingParams, TokenLogprob, Usage

try:
    import xllamacpp
except ImportError as error:
    raise ExtraMissing("xllamacpp", "llamacpp") from error

FINISH: dict[str, FinishReason] = {"eos": "stop", "word": "stop", "limit": "length"}
MAX_CONTEXT = 4096  # the cache is allocated at once, for every slot


class LlamaCppEngine(Engine):
    """Samples from a GGUF file; None is the default model.

    `adapters` are LoRA files or folders in peft's safetensors layout. `max_concurrency` samples are
    computed at a time, each in a slot of `context_length` tokens; memory is taken for all slots
    when the engine starts.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        adapters: Sequence[str | Path] = (),
        max_concurrency: int = 16,
        context_length: int | None = None,
        threads: int | None = None,
    ) -> None:
        source = find_model(model)
        if source.kind != "gguf":
            raise ConfigError(
                f"the llamacpp engine reads .gguf files; got the {source.kind} folder "
                f"{str(source.path)!r}; use the {_engine_for(source.kind)} engine"
            )
        path = as_f16(source.path, loras=[find_lora(adapter) for adapter in adapters])
        self.model = source.name
        facts = facts_of(path)
        self.context_length = _context(facts.context_length, context_length)
        self._plain = Plain(facts.special_tokens)
        self._slots = max_concurrency
        self._fingerprint = f"llamacpp/{self.model}@{content_key(path)}"
        self._key = secrets.token_hex(16)
        params = _server_params(path, threads or len(os.sched_getaffinity(0)))
        params.n_parallel = max_concurrency
        params.n_threads_http = max_concurrency + 2
        params.n_ctx = max_concurrency * self.context_length
        params.api_keys = [self._key]
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise EngineError(f"loading {str(path)!r} into llama.cpp: {error}") from error
        self._http: aiohttp.ClientSession | None = None

    @property
    def fingerprint(self) -> str:
        """The engine, the model's name and the key of its content, adapters included."""
        return self._fingerprint

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Draw n completions of one prompt; one seed per request of at most `max_concurrency`."""
        check_request(n, params)
        template = await self._post("/apply-template", {"messages": self._plain.messages(prompt)})
        text = {"content": template["prompt"], "add_special": False, "parse_special": True}
        tokens = (await self._post("/tokenize", text))["tokens"]
        check_context(prompt, len(tokens), params.max_tokens, self.context_length)
        n_drawn = 1 if params.temperature == 0 else n  # greedy samples are all the same
        replies: list[Completion] = []
        while len(replies) < n_drawn:
            share = min(self._slots, n_drawn - len(replies))
            body = _request(tokens, share, params, len(replies))
            answer = await self._post("/completion", body)
            results = answer if isinstance(answer, list) else [answer]
            if len(results) != share:
                raise EngineError(f"llama.cpp returned {len(results)} of {share} samples")
            drawn = [_completion(result, params) for result in results]
            paid = drawn[0].usage + Usage(prompt_tokens=len(tokens), calls=1)
            drawn[0] = replace(drawn[0], usage=paid)
            await hand_on(params, len(replies), drawn)
            replies += drawn
        return replies + [replace(replies[0], usage=Usage())] * (n - n_drawn)

    async def probe(self, on_step: OnStep | None = None) -> Probe:
        """Say what the engine can do, and time one small request."""
        speed, reply = await timed_sample(self, on_step)
        return Probe(
            engine="llamacpp",
            model=self.model,
            context_length=self.context_length,
            n=True,
            logprobs="top",
            grammar=True,
            seeds="request",
            tokens_per_second=speed,
            sample=reply,
        )

    async def aclose(self) -> None:
        """Close the connections and stop the server."""
        if self._http is not None:
            await self._http.close()
            self._http = None
        server, self._server = self._server, None
        if server is not None:  # its destructor stops it and waits for its threads
            await asyncio.to_thread(_drop, [server])

    async def _post(self, route: str, body: dict[str, Any]) -> Any:
        if self._server is None:
            raise EngineError("sampling from the llamacpp engine after it was closed")
        if self._http is None:
            self._http = aiohttp.ClientSession(
                base_url=self._server.listening_address,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=aiohttp.ClientTimeout(total=None),
                # The server drops idle connections, so each request gets its own.
                connector=aiohttp.TCPConnector(limit=self._slots, force_close=True),
            )
        try:
            async with self._http.post(route, json=body) as response:
                answer = await response.json()
        except (aiohttp.ClientError, ValueError) as error:
            raise EngineError(f"asking llama.cpp for {route}: {error!r}") from error
        if response.status != 200:
            detail = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise EngineError(f"asking llama.cpp for {route}: {response.status}, {detail!r}")
        return answer


def _drop(servers: list[Any]) -> None:
    servers.clear()


def _engine_for(kind: str) -> str:
    return "hf" if kind == "transformers" else kind


def _context(limit: int, wanted: int | None) -> int:
    if wanted is not None and not 1 <= wanted <= limit:
        raise ConfigError(f"context_length is {wanted!r}; the model's own limit is {limit}")
    return wanted or min(limit, MAX_CONTEXT)


def _server_params(path: Path, threads: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.kv_unified = False
    params.fit_params = False  # take the sizes as given, do not guess from free memory
    params.warmup = False
    params.verbosity = -1
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = 0  # waiting threads sleep: spinning ones starve on a shared machine
    return params


def _request(tokens: list[int], n: int, params: SamplingParams, first: int) -> dict[str, Any]:
    seed = params.seeds[first] if params.seeds else secrets.randbits(31)
    body: dict[str, Any] = {
        "prompt": tokens,
        "n_cmpl": n,
        "n_predict": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "samplers": ["top_p", "temperature"],  # the server's own list also cuts by top_k and min_p
        "seed": seed % 2**31,
        "return_tokens": True,
        "cache_prompt": True,
    }
    if params.stop:
        body["stop"] = list(params.stop)
    if params.grammar is not None:
        body["grammar"] = params.grammar
    if params.top_logprobs is not None:
        body["n_probs"] = max(1, params.top_logprobs)
    return body


def _completion(result: dict[str, Any], params: SamplingParams) -> Completion:
    reason = FINISH.get(result.get("stop_type", ""))
    if reason is None:
        return Completion("", "error", error=f"llama.cpp ended a sample with {result!r:.300}")
    logprobs = None
    if params.top_logprobs is not None:
        logprobs = tuple(
            _logprob(token, params.top_logprobs) for token in result["completion_probabilities"]
        )
    return Completion(
        text=result["content"],
        finish_reason=reason,
        token_ids=tuple(result["tokens"]),
        logprobs=logprobs,
        usage=Usage(completion_tokens=result["tokens_predicted"]),
    )


def _logprob(token: dict[str, Any], n_top: int) -> TokenLogprob:
    likeliest = token["top_logprobs"][:n_top]
    top = summed((other["token"], other["logprob"]) for other in likeliest)
    if n_top:
        top.setdefault(token["token"], token["logprob"])
    return TokenLogprob(token["token"], token["logprob"], top)
