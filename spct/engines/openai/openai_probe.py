"""Finds out what a chat endpoint can do, with a handful of tiny requests, for `spct doctor`.

Every request is sent once (again only where a kept connection turns out to be closed, or without a
field that is refused): a doctor reports what it sees and does not wait for it to get better. What
an endpoint does in its own way, and we read all the same, is a departure: it is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spct.engines.openai.openai_errors import (
    FieldRefused,
    NRefused,
    failure,
    failure_in_200,
)
from spct.engines.openai.openai_wire import (
    GRAMMAR_FIELDS,
    GarbageReply,
    GrammarField,
    encode,
    read_reply,
    request_fields,
    strict_json,
    translated,
)
from spct.engines.openai.vendors import read_error
from spct.engines.probe import OnStep
from spct.engines.retry import Failure
from spct.engines.transport import Http, Transport
from spct.errors import SpctError
from spct.types import Completion, Message, Prompt, SamplingParams

QUESTION = "Write three random words and three random numbers, and nothing else."
PARAMS = SamplingParams(temperature=1.0, max_tokens=24)
GRAMMAR = 'root ::= "<" [0-9] [0-9] "-" [0-9] ">"'
TIMEOUT_S = 60.0
LENGTH_FIELDS = ("max_model_len", "context_length", "max_context_length")


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What was found; None: it could not be determined. `problem` is the first that was met.

    `grammar` is the request field in which a grammar was followed, or "none".
    """

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
    grammar: str | None = None
    departures: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a judgement could be sampled."""
        return bool(self.answers)


@dataclass(slots=True)
class Asking:
    """How to ask, and what was learnt from the answers so far."""

    transport: Transport
    extra_body: Mapping[str, Any]
    grammar_field: GrammarField
    timeout_s: float
    on_step: OnStep | None = None
    learnt: dict[str, str | None] = field(default_factory=dict)
    departures: dict[str, None] = field(default_factory=dict)  # a set in the order met

    def step(self, text: str) -> None:
        """Tell what is tried next."""
        if self.on_step is not None:
            self.on_step(text)

    async def exchange(self, method: str, path: str, body: bytes | None) -> Http | Failure:
        """One request; once more if a connection that was kept open is closed."""
        got = await self.transport.exchange(method, path, body, self.timeout_s)
        if isinstance(got, Failure) and got.kind == "down" and "Disconnected" in got.message:
            self.departures["it closes kept connections without saying so"] = None
            got = await self.transport.exchange(method, path, body, self.timeout_s)
        return got


@dataclass(frozen=True, slots=True)
class _Answer:
    """A chat request's outcome: completions, or the status and the problem."""

    completions: list[Completion]
    status: int | None = None
    problem: str | None = None

    def shows(self, feature: bool) -> bool | None:
        """The feature if there was an answer, False if the request was refused, else unknown."""
        return feature if self.completions else False if self.status in (400, 422) else None


async def probe(asking: Asking, model: str | None) -> EndpointReport:
    """Ask for the models, then for replies with one feature each."""
    report = EndpointReport(asking.transport.base_url, model)
    asking.step("asking for the models")
    listed = await asking.exchange("GET", "models", None)
    report = _after(report, listed)
    if isinstance(listed, Http) and listed.status == 200:
        report = _with_models(report, listed)
    if not report.reachable or report.key_accepted is False or report.model is None:
        return report
    loop = asyncio.get_running_loop()
    start = loop.time()
    asking.step(f"asking {report.model} for a first reply")
    first = await _ask(asking, report.model, 1, PARAMS, 1)
    took = loop.time() - start
    if not first.completions:
        return replace(
            report,
            answers=False,
            key_accepted=False if first.status in (401, 403) else report.key_accepted,
            problem=report.problem or first.problem,
            departures=tuple(asking.departures),
        )
    report = replace(report, answers=True, latency_s=took, key_accepted=True)
    report = await _with_features(report, asking, first)
    return replace(report, departures=tuple(asking.departures))


def _after(report: EndpointReport, got: Http | Failure) -> EndpointReport:
    if isinstance(got, Failure):
        return replace(report, reachable=False, problem=got.message)
    if got.status in (401, 403):
        said = f"GET /models answered {got.status}: {read_error(got.body).message!r}"
        return replace(report, reachable=True, key_accepted=False, problem=said)
    if got.status != 200 and report.model is None:
        said = f"GET /models answered {got.status}, so no model is known; name one with --model"
        return replace(report, reachable=True, problem=said)
    return replace(report, reachable=True)


def _with_models(report: EndpointReport, listed: Http) -> EndpointReport:
    try:
        entries = {str(entry["id"]): entry for entry in strict_json(listed.body)["data"]}
    except (GarbageReply, KeyError, TypeError):
        return report  # many gateways have no such list; the chat route decides
    names = tuple(entries)
    shown = ", ".join(names[:20]) or "no model at all"
    model = report.model or (names[0] if len(names) == 1 else None)
    problem = None
    if model is None:
        problem = f"GET /models lists {shown}; name one with --model"
    elif model not in entries:
        problem = f"GET /models does not list {model!r}; it lists {shown}"
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


async def _with_features(report: EndpointReport, asking: Asking, first: _Answer) -> EndpointReport:
    model = report.model or ""
    asking.step("trying seeds, n and log probabilities")
    again, other, two, scored = await asyncio.gather(
        _ask(asking, model, 1, PARAMS, 1),
        _ask(asking, model, 1, PARAMS, 2),
        _ask(asking, model, 2, PARAMS, 1),
        _ask(asking, model, 1, replace(PARAMS, top_logprobs=1), 1),
    )
    asking.step("trying a grammar")
    return replace(
        report,
        n=two.shows(len(two.completions) == 2),
        logprobs=scored.shows(bool(scored.completions and scored.completions[0].logprobs)),
        seed=None if "seed" in asking.learnt else _seed(first, again, other),
        grammar=await _grammar(asking, model),
    )


def _seed(first: _Answer, again: _Answer, other: _Answer) -> bool | None:
    """Whether equal seeds give equal texts; unknown where other seeds do so too."""
    if not again.completions or not other.completions:
        return None
    texts = [answer.completions[0].text for answer in (first, again, other)]
    if texts[0] != texts[1]:
        return False
    return True if texts[0] != texts[2] else None


async def _grammar(asking: Asking, model: str) -> str | None:
    """The field in which a grammar is followed: some servers ignore what they do not know."""
    params = replace(PARAMS, grammar=GRAMMAR)
    tried = sorted(GRAMMAR_FIELDS, key=lambda name: name != asking.grammar_field)
    answered = False
    for name in tried:
        got = await _ask(replace(asking, grammar_field=name), model, 1, params, 1)
        text = got.completions[0].text.strip() if got.completions else ""
        if len(text) == 6 and text[0] == "<" and text[3] == "-" and text[-1] == ">":
            if name != asking.grammar_field:
                asking.departures[f"it takes a grammar in {name!r}: set grammar_field"] = None
            return name
        answered |= got.shows(True) is not None
    return "none" if answered else None


async def _ask(asking: Asking, model: str, n: int, params: SamplingParams, seed: int) -> _Answer:
    prompt = Prompt("probe", (Message("user", QUESTION),), (0,))
    asked = request_fields(prompt, n, params, seed, asking.grammar_field)
    url = asking.transport.url("chat/completions")
    while True:
        fields = translated(asked, asking.learnt)
        body = encode({"model": model, **fields}, asking.extra_body)
        got = await asking.exchange("POST", "chat/completions", body)
        if isinstance(got, Failure):
            return _Answer([], None, got.message)
        try:
            return _read(asking, got, url, fields, n, model)
        except FieldRefused as error:
            asking.learnt[error.field] = error.use
            instead = f"takes it as {error.use!r}" if error.use else "decides it by itself"
            asking.departures[f"it refuses the field {error.field!r} and {instead}"] = None
        except (NRefused, SpctError) as error:
            return _Answer([], got.status, f"a chat request failed: {error}")


def _read(
    asking: Asking, got: Http, url: str, fields: Mapping[str, Any], n: int, model: str
) -> _Answer:
    if (bad := failure(got, url, fields, is_new=True)) is not None:
        return _Answer([], got.status, f"a chat request was {bad.message}")
    try:
        completions = read_reply(got.body, n).completions
    except GarbageReply as error:
        if inside := failure_in_200(got, url, fields, is_new=True):
            asking.departures["it answers 200 where it means an error"] = None
            return _Answer([], got.status, f"a chat request was answered with {inside.message}")
        return _Answer([], got.status, f"a chat request was answered with garbage: {error}")
    asking.departures |= dict.fromkeys(_departures(got, model, fields, completions))
    bad_one = next((c.error for c in completions if c.error), None)
    return _Answer([], got.status, bad_one) if bad_one else _Answer(completions, got.status)


def _departures(
    got: Http, model: str, fields: Mapping[str, Any], completions: list[Completion]
) -> Iterator[str]:
    """What is unusual about a good reply."""
    reply = strict_json(got.body)
    if got.body.startswith(b"\xef\xbb\xbf"):
        yield "its replies begin with a byte order mark"
    if (packing := got.headers.get("content-encoding", "").strip()) not in ("", "identity"):
        yield f"its replies are packed ({packing}) though they are asked for unpacked"
    if reply.get("model") not in (None, model):
        yield f"it calls the model {reply['model']!r}"
    usage = reply.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    if not all(isinstance(counts.get(k), int) for k in ("prompt_tokens", "completion_tokens")):
        yield "its replies lack token counts"
    for choice, completion in zip(reply["choices"], completions, strict=False):
        message = choice["message"]
        if isinstance(message.get("content"), list):
            yield "its content comes in parts"
        if message.get("reasoning") or message.get("reasoning_content"):
            yield "it gives the reasoning in a field of its own"
        if choice.get("finish_reason") not in ("stop", "length", "content_filter"):
            yield f"it ends a reply with {choice.get('finish_reason')!r}"
        given = (choice.get("logprobs") or {}).get("content")
        if fields.get("logprobs") and given and completion.logprobs is not None:
            if len(completion.logprobs) < len(given):
                yield "its log probabilities cover more than the reply"
            elif "".join(t.token for t in completion.logprobs) != completion.text:
                yield "its tokens do not spell the reply"
