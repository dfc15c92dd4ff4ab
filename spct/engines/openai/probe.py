"""Finds out what a chat endpoint can do, with a handful of tiny requests, for `spct doctor`.

Every request is sent once: a doctor reports what it sees and does not wait for it to get better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spct.engines.openai.errors import read_error
from spct.engines.openai.wire import GarbageReply, encode, read_reply, request_fields, strict_json
from spct.engines.retry import Failure
from spct.engines.transport import Http
from spct.types import Completion, Message, Prompt, SamplingParams

if TYPE_CHECKING:
    from spct.engines.openai import OpenAIEngine

QUESTION = "Write three random words and three random numbers, and nothing else."
PARAMS = SamplingParams(temperature=1.0, max_tokens=24)
TIMEOUT_S = 60.0
LENGTH_FIELDS = ("max_model_len", "context_length", "max_context_length")


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What was found; None means that it could not be told. `problem` is the first that was met."""

    base_url: str
    model: str | None
    reachable: bool | None = None
    key_accepted: bool | None = None
    models: tuple[str, ...] | None = None
    model_served: bool | None = None
    max_length: int | None = None
    answers: bool | None = None
    latency_s: float | None = None
    n: bool | None = None
    logprobs: bool | None = None
    seed: bool | None = None
    problem: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a judgement could be sampled."""
        return bool(self.answers)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A chat request's outcome: completions, or the status and the problem."""

    completions: list[Completion]
    status: int | None = None
    problem: str | None = None

    def shows(self, feature: bool) -> bool | None:
        """The feature if there was an answer, False if the request was refused, else unknown."""
        return feature if self.completions else False if self.status in (400, 422) else None


async def probe(engine: OpenAIEngine, timeout_s: float = TIMEOUT_S) -> EndpointReport:
    """Ask for the models, then for replies with one feature each."""
    report = EndpointReport(engine.base_url, engine.named_model)
    listed = await engine.transport.exchange("GET", "models", None, timeout_s)
    report = _after(report, listed)
    if isinstance(listed, Http) and listed.status == 200:
        report = _with_models(report, listed)
    if not report.reachable or report.key_accepted is False or report.model is None:
        return report
    loop = asyncio.get_running_loop()
    start = loop.time()
    first = await _ask(engine, report.model, 1, PARAMS, 1, timeout_s)
    took = loop.time() - start
    if not first.completions:
        refused = first.status in (401, 403)
        return replace(
            report,
            answers=False,
            key_accepted=False if refused else report.key_accepted,
            problem=report.problem or first.problem,
        )
    report = replace(report, answers=True, latency_s=took, key_accepted=True)
    return await _with_features(report, engine, first, timeout_s)


def _after(report: EndpointReport, got: Http | Failure) -> EndpointReport:
    if isinstance(got, Failure):
        return replace(report, reachable=False, problem=got.message)
    if got.status in (401, 403):
        said = f"GET /models answered {got.status}: {read_error(got.body).message!r}"
        return replace(report, reachable=True, key_accepted=False, problem=said)
    return replace(report, reachable=True)


def _with_models(report: EndpointReport, listed: Http) -> EndpointReport:
    try:
        entries = {str(entry["id"]): entry for entry in strict_json(listed.body)["data"]}
    except (GarbageReply, KeyError, TypeError):
        return report  # many gateways have no such list; the chat route decides
    names = tuple(entries)
    model = report.model or (names[0] if len(names) == 1 else None)
    problem = None
    if model is None:
        problem = f"it serves {len(names)} models ({', '.join(names[:20])}); name one with --model"
    elif model not in entries:
        problem = f"GET /models does not list {model!r}; it lists {', '.join(names[:20])}"
    return replace(
        report,
        models=names,
        model=model,
        model_served=None if model is None else model in entries,
        max_length=_length(entries.get(model or "", {})),
        problem=report.problem or problem,
    )


def _length(entry: Mapping[str, Any]) -> int | None:
    found = [entry.get(name) for name in LENGTH_FIELDS]
    return next((length for length in found if isinstance(length, int)), None)


async def _with_features(
    report: EndpointReport, engine: OpenAIEngine, first: _Answer, timeout_s: float
) -> EndpointReport:
    model = report.model or ""
    again, other, two, scored = await asyncio.gather(
        _ask(engine, model, 1, PARAMS, 1, timeout_s),
        _ask(engine, model, 1, PARAMS, 2, timeout_s),
        _ask(engine, model, 2, PARAMS, 1, timeout_s),
        _ask(engine, model, 1, replace(PARAMS, top_logprobs=1), 1, timeout_s),
    )
    return replace(
        report,
        n=two.shows(len(two.completions) == 2),
        logprobs=scored.shows(bool(scored.completions and scored.completions[0].logprobs)),
        seed=_seed(first, again, other),
    )


def _seed(first: _Answer, again: _Answer, other: _Answer) -> bool | None:
    """Whether equal seeds give equal texts; unknown where other seeds do so too."""
    if not again.completions or not other.completions:
        return None
    texts = [answer.completions[0].text for answer in (first, again, other)]
    if texts[0] != texts[1]:
        return False
    return True if texts[0] != texts[2] else None


async def _ask(
    engine: OpenAIEngine, model: str, n: int, params: SamplingParams, seed: int, timeout_s: float
) -> _Answer:
    prompt = Prompt("probe", (Message("user", QUESTION),), (0,))
    fields = request_fields(prompt, n, params, seed, engine.grammar_field)
    body = encode({"model": model, **fields}, engine.extra_body)
    got = await engine.transport.exchange("POST", "chat/completions", body, timeout_s)
    if isinstance(got, Failure):
        return _Answer([], None, got.message)
    if got.status != 200:
        said = read_error(got.body).message
        return _Answer([], got.status, f"a chat request was answered {got.status}: {said!r}")
    try:
        completions = read_reply(got.body, n).completions
    except GarbageReply as error:
        return _Answer([], got.status, f"a chat request was answered with garbage: {error}")
    bad = next((c.error for c in completions if c.error), None)
    return _Answer([], got.status, bad) if bad else _Answer(completions, got.status)
