"""Samples from a chat endpoint.

One `sample` is one request with `n`, or n single requests with their own seeds where the endpoint
ignores or refuses `n`. `departures` remembers what an endpoint does otherwise, `transport`
exchanges bytes, `retry` and `caller` decide what becomes of a failed attempt, `adaptive` and `gate`
how many are under way.

- A refused key, a missing model, an endpoint that stays away raise `EndpointError`: the run stops.
- A prompt that does not fit raises `ContextOverflow`, a field that is refused `ConfigError`.
- Any other failure is a `Completion` with `finish_reason` "error" that says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from spct.engines.adaptive import AdaptiveLimit, Pacer
from spct.engines.caller import Caller, EngineStats, Request
from spct.engines.gate import Gate
from spct.engines.openai.departures import Departures
from spct.engines.openai.endpoints import Endpoint
from spct.engines.openai.openai_errors import FieldRefused, NRefused, failure, failure_in_200
from spct.engines.openai.openai_probe import TIMEOUT_S, Asking, EndpointReport, probe
from spct.engines.openai.openai_wire import (
    KEPT_BYTES,
    GarbageReply,
    GrammarField,
    Reply,
    encode,
    read_models,
    read_reply,
    request_fields,
    translated,
)
from spct.engines.openai.replicas import Replicas
from spct.engines.probe import OnStep, hand_on, together
from spct.engines.retry import Failure, Outage, RetryBudget, RetryPolicy
from spct.engines.transport import Http, Transport
from spct.errors import ConfigError, EndpointError, EngineError
from spct.protocols import Engine
from spct.types import Completion, FinishReason, Prompt, SamplingParams, Usage

T = TypeVar("T")

OUR_FIELDS = {"model", "messages", "n", "stream"}
CHAT, MODELS = "chat/completions", "models"


class OpenAIEngine(Engine):
    """Samples from a chat endpoint, or from several with one model (`replicas`).

    Limits of concurrency are each endpoint's own, quotas (`rpm`, `tpm`) are for all together.
    `model` None takes the only model that the endpoint serves (`await open()` finds its name).
    With `max_concurrency` so many calls start at once and only rate limits lower that; without it
    the limit adapts within `adaptive` (min, start, max). `attempt_timeout_s` is for one HTTP
    attempt, `deadline_s` for a call with all its retries. Fields of `extra_body` win over ours, and
    "omit" (or None) drops one, such as {"seed": "omit"}. `grammar_field` is the field in which the
    endpoint takes a grammar: structured_outputs (vLLM), ebnf (SGLang) or grammar (llama.cpp).
    """

    def __init__(
        self,
        *,
        base_url: str | Sequence[Endpoint],
        model: str | None = None,
        api_key: str | None = None,
        max_concurrency: int | None = None,
        adaptive: tuple[int, int, int] = (10, 20, 100),
        cooldown_s: float = 15.0,
        rpm: float | None = None,
        tpm: float | None = None,
        attempt_timeout_s: float = 300.0,
        deadline_s: float = 900.0,
        retry: RetryPolicy | None = None,
        retry_budget: float = 0.2,
        outage: Outage | None = None,
        max_reply_bytes: int = 32 * 2**20,
        extra_body: Mapping[str, Any] | None = None,
        grammar_field: GrammarField = "structured_outputs",
        use_n: bool | None = None,
    ) -> None:
        places = [Endpoint(base_url)] if isinstance(base_url, str) else list(base_url)
        self.extra_body, self.grammar_field = dict(extra_body or {}), grammar_field
        if clash := OUR_FIELDS & set(self.extra_body):
            raise ConfigError(f"extra_body sets {sorted(clash)}, which the engine sets itself")
        self._model, self._use_n = model, use_n
        if max_concurrency is not None:
            adaptive = (min(adaptive[0], max_concurrency), max_concurrency, max_concurrency)
        try:
            bounds = dict(zip(("minimum", "start", "maximum"), adaptive, strict=True))
            limits = [AdaptiveLimit(**bounds, cooldown_s=cooldown_s) for _ in places]
            calls, tokens = (None if rate is None else Pacer(rate) for rate in (rpm, tpm))
        except ValueError as error:
            raise ConfigError(f"setting up the openai engine: {error}") from None
        key, budget, stats = api_key or "EMPTY", RetryBudget(retry_budget), EngineStats()
        callers = [
            Caller(
                Transport(base_url=place.base_url, api_key=key, max_reply_bytes=max_reply_bytes),
                Gate(limit, calls=calls, tokens=tokens),
                policy=retry or RetryPolicy(),
                budget=budget,
                outage=deepcopy(outage) or Outage(),
                attempt_timeout_s=attempt_timeout_s,
                deadline_s=deadline_s,
                stats=stats,
            )
            for place, limit in zip(places, limits, strict=True)
        ]
        self.transport = callers[0].transport
        is_one, shares = isinstance(base_url, str), [place.weight for place in places]
        self._replicas = None if is_one else Replicas(callers, shares, model)
        self._caller = self._replicas or callers[0]
        self._departures = Departures(self.base_url, stats.warnings)

    def __repr__(self) -> str:
        return f"OpenAIEngine(base_url={self.base_url!r}, model={self._model!r})"

    @property
    def base_url(self) -> str:
        """Where the endpoint is, without a slash at the end."""
        return self.transport.base_url

    @property
    def stats(self) -> EngineStats:
        """What happened so far."""
        return self._caller.stats

    @property
    def retries(self) -> int:
        """Requests that were tried again."""
        return self.stats.retries

    @property
    def endpoints(self) -> Sequence[str]:
        """Several endpoints, one line each."""
        return self._replicas.shown() if self._replicas else ()

    @property
    def limit(self) -> AdaptiveLimit:
        """How many calls may be in flight, and the state behind it."""
        return self._caller.gate.limit

    @property
    def model(self) -> str:
        """The model's name; known after `open()` where none was given."""
        if self._model is None:
            raise EngineError(
                f"no model of {self.base_url} was named; name one with --model (model=...), or "
                "call `await engine.open()` first, which takes the only one that is served"
            )
        return self._model

    @property
    def fingerprint(self) -> str:
        """Names the endpoint, the model and a digest of the extra fields.

        Replicas are named by their model alone: they may come and go, and the run stays the same.
        """
        name = f"openai:{self.model}@{'replicas' if self._replicas else self.base_url}"
        if not self.extra_body:
            return name
        extra = json.dumps(self.extra_body, sort_keys=True).encode()
        return f"{name}+{hashlib.sha256(extra).hexdigest()[:12]}"

    async def open(self) -> None:
        """Find the model's name if none was given. Idempotent; `sample` does it too."""
        if self._replicas is not None:
            self._model = await self._replicas.open()
        if self._model is not None:
            return
        names = [str(entry["id"]) for entry in await self.served_models()]
        if len(names) != 1:
            shown = f" ({', '.join(names[:20])})" if names else ""
            raise EndpointError(
                f"{self.base_url} lists {len(names)} models{shown}; expected exactly one where no "
                "model is named; name it with --model"
            )
        self._model = names[0]

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await (self._replicas or self.transport).aclose()

    async def served_models(self) -> list[dict[str, Any]]:
        """What GET /models lists; raise `EndpointError` if there is no such list."""
        url = self.transport.url(MODELS)

        def read(http: Http) -> Http | Failure:
            return failure(http, url, {}, is_new=True) or http

        got = await self._caller.call(Request("GET", MODELS), read)
        if isinstance(got, Failure):
            raise EndpointError(f"asking {url}: {got.message}")
        try:
            return read_models(got.body)
        except GarbageReply as error:
            raise EndpointError(f"asking {url}: {error}; does the base URL end in /v1?") from None

    async def call(self, request: Request, read: Callable[[Http], T | Failure]) -> T | Failure:
        """Another request to this endpoint, under the same limits, retries and outages."""
        return await self._caller.call(request, read)

    async def probe(
        self, on_step: OnStep | None = None, timeout_s: float = TIMEOUT_S
    ) -> EndpointReport:
        """Find out what the endpoint can do, for `spct doctor`; a bad endpoint is in the report."""
        asking = Asking(self.transport, self.extra_body, self.grammar_field, timeout_s, on_step)
        report = await probe(asking, self._model)
        self._model = self._model or report.model
        return report

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Return exactly n completions of one prompt."""
        if params.seeds and len(params.seeds) != n:
            raise ConfigError(f"sampling: got {len(params.seeds)} seeds for {n} completions")
        await self.open()
        seeds: Sequence[int | None] = params.seeds or [None] * n
        batched = n > 1 and self._use_n is not False
        done = await self._sample_batch(prompt, n, params, seeds[0]) if batched else []
        if len(done) < n:  # what came is paid for: it is kept before anything more is asked
            await hand_on(params, 0, done)
        rest = [
            self._one(prompt, params, seed, at) for at, seed in enumerate(seeds) if at >= len(done)
        ]
        return done + [one for got in await together(rest) for one in got]

    async def _one(
        self, prompt: Prompt, params: SamplingParams, seed: int | None, at: int
    ) -> list[Completion]:
        """One of several requests that make up a sample."""
        got = await self._request(prompt, 1, params, seed)
        await hand_on(params, at, got)
        return got

    async def _sample_batch(
        self, prompt: Prompt, n: int, params: SamplingParams, seed: int | None
    ) -> list[Completion]:
        """One request for n completions; it may give fewer."""
        try:
            done = await self._request(prompt, n, params, seed)
        except NRefused as error:
            self._departures.warn(
                "n_refused", f"it refuses n={n} ({error}); asking one by one from now on"
            )
            self._use_n = False
            return []
        if len(done) < n:
            self._departures.warn(
                "n_ignored", f"asked for n={n}, got {len(done)}; asking for the rest"
            )
            self._use_n = False if len(done) == 1 and self._use_n is None else self._use_n
        self._departures.alike(done, params)
        return done

    async def _request(
        self, prompt: Prompt, n: int, params: SamplingParams, seed: int | None
    ) -> list[Completion]:
        """One request with its retries: at most n completions, and n failed ones if it failed."""
        asked = request_fields(prompt, n, params, seed, self.grammar_field)
        guess = sum(len(m.content) for m in prompt.messages) // 4 + n * params.max_tokens
        while True:
            try:
                reply = await self._exchange(translated(asked, self._departures.fields), n, guess)
                break
            except FieldRefused as error:
                self._departures.learn(error)
        if isinstance(reply, Failure):
            self.stats.failed += 1
            why = reply.message
            finish: FinishReason = "content_filter" if reply.kind == "refused" else "error"
            return [
                Completion("", finish, usage=Usage(calls=int(i == 0)), error=why) for i in range(n)
            ]
        self._departures.note(reply, params)
        if reply.has_usage and (quota := self._caller.gate.tokens) is not None:
            quota.correct(reply.usage.prompt_tokens + reply.usage.completion_tokens - guess)
        return reply.completions

    async def _exchange(self, fields: Mapping[str, Any], n: int, guess: int) -> Reply | Failure:
        body = encode({"model": self.model, **fields}, self.extra_body)
        is_new, prefix = self._departures.is_new, hash(str(fields["messages"]))

        def read(http: Http) -> Reply | Failure:
            if (bad := failure(http, http.url, fields, is_new)) is not None:
                return bad
            try:
                reply = read_reply(http.body, n)
            except GarbageReply as error:
                said = failure_in_200(http, http.url, fields, is_new)
                began = f"{error}; the reply began {http.body[:KEPT_BYTES]!r}"
                return said or Failure("garbage", began)
            if self._replicas is not None:
                self._replicas.check(http.url, reply.model)
            return reply

        return await self._caller.call(Request("POST", CHAT, body, guess, prefix), read)
