"""A real chat endpoint on 127.0.0.1 that answers like a judge, or misbehaves on request.

It speaks HTTP/1.1 over a bare asyncio protocol, because half of the faults (a body cut short, a
byte at a time, a reset) are things that a web framework does not let one do. Replies depend only on
the request (messages, seed, choice), so two runs against it give the same bytes.

In a test:         async with FaultServer(faults=["429", "reset"]) as server: ... server.url
In another process: python -m tests.engines.fault_server --port 0 --latency 0.05
                    prints "PORT 43210" and serves until killed; GET /stats counts the calls.

`faults` are served first, one a chat call, then normal replies; `always` is served every time.
A base URL of the form http://host:port/faults/NAME/v1 serves that fault whatever the settings.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

MODEL = "mock-judge"
MAX_MODEL_LEN = 8192
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Call:
    """One HTTP request as it arrived; `index` counts the chat calls from 0."""

    index: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body)) if self.body else {}


@dataclass(frozen=True)
class Served:
    """What goes back. `how` is one of the ways of sending in `_Connection`."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    how: str = "whole"


Answer = Callable[[Call], Served]


def as_json(value: object, status: int = 200, **headers: str) -> Served:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return Served(json.dumps(value).encode(), status, {"content-type": "application/json", **named})


def error(status: int, message: str, kind: str = "error", **headers: str) -> Served:
    return as_json({"error": {"message": message, "type": kind}}, status, **headers)


# --- normal replies ---------------------------------------------------------------------------


def judge_text(prompt: str, seed: int, n_responses: int | None = None) -> str:
    """A well-formed judgement in the paper's markers, decided by the prompt and the seed."""
    digest = hashlib.sha256(f"{seed}\0{prompt}".encode()).digest()
    if n_responses is None:
        shown = [int(i) for i in re.findall(r"Begin of Response (\d+)", prompt)]
        n_responses = max(shown, default=2)
    scores = [1 + digest[i % 32] % 10 for i in range(n_responses)]
    weight = 30 + digest[31] % 50
    return (
        "Specific Criteria:\n"
        f"1. **Correctness** (Weight: {weight}%): The claims are true.\n"
        f"2. **Clarity** (Weight: {100 - weight}%): The text is easy to follow.\n\n"
        f"Analysis:\nThe responses were compared by draw {digest.hex()[:8]}.\n\n"
        f"Scores: \\boxed{{{', '.join(map(str, scores))}}}"
    )


def chat_reply(request: Mapping[str, Any], n_responses: int | None = None) -> dict[str, Any]:
    """The chat completion that a healthy endpoint gives."""
    prompt = "\n".join(str(m["content"]) for m in request["messages"])
    seed = int(request.get("seed") or 0)
    choices = []
    for i in range(int(request.get("n") or 1)):
        text = judge_text(prompt, seed + i, n_responses)
        choice: dict[str, Any] = {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        if request.get("logprobs"):
            choice["logprobs"] = {"content": _logprobs(text, int(request.get("top_logprobs") or 0))}
        choices.append(choice)
    n_prompt, n_text = len(prompt.split()), sum(len(_words(c)) for c in choices)
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": "fp_1",
        "choices": choices,
        "usage": {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_text,
            "total_tokens": n_prompt + n_text,
        },
    }


def _words(choice: Mapping[str, Any]) -> list[str]:
    return str(choice["message"]["content"]).split()


def _logprobs(text: str, top: int) -> list[dict[str, Any]]:
    tokens = re.findall(r"\d|\s*[^\d\s]+|\s+", text)
    rivals = [
        {"token": f"r{i}", "logprob": -3.0 - i, "bytes": None} for i in range(max(top - 1, 0))
    ]
    return [
        {
            "token": t,
            "logprob": -0.1,
            "bytes": None,
            "top_logprobs": [{"token": t, "logprob": -0.1, "bytes": None}, *rivals][:top],
        }
        for t in tokens
    ]


# --- faults -----------------------------------------------------------------------------------


def _edited(edit: Callable[[dict[str, Any]], object]) -> Answer:
    """A normal reply, changed by `edit` before it is sent."""

    def answer(call: Call) -> Served:
        reply = chat_reply(call.json)
        edit(reply)
        return as_json(reply)

    return answer


def _replaced(old: str, new: bytes) -> Answer:
    """A normal reply with raw bytes that no JSON encoder would write."""

    def answer(call: Call) -> Served:
        body = json.dumps(chat_reply(call.json)).encode().replace(old.encode(), new)
        return Served(body, headers={"content-type": "application/json"})

    return answer


def _first(reply: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(reply, "choices")[0]  # type: ignore[no-any-return]


def _content(text: object, **more: object) -> Answer:
    def edit(reply: dict[str, Any]) -> None:
        for choice in reply["choices"]:
            choice["message"] = {"role": "assistant", "content": text, **more}

    return _edited(edit)


def _finish(reason: object) -> Answer:
    return _edited(lambda r: [c.update(finish_reason=reason) for c in r["choices"]])


def _ignores(name: str) -> Answer:
    def answer(call: Call) -> Served:
        request = call.json
        request.pop(name, None)
        return as_json(chat_reply(request))

    return answer


def _sent(how: str, delay: float = 0.0) -> Answer:
    return lambda call: Served(
        json.dumps(chat_reply(call.json)).encode(),
        headers={"content-type": "application/json"},
        delay=delay,
        how=how,
    )


def _fixed(served: Served) -> Answer:
    return lambda call: served


def _limited(**headers: str) -> Answer:
    return _fixed(error(429, "slow down", "rate_limit", **headers))


def _bomb(call: Call) -> Served:
    body = gzip.compress(b" " * 20_000_000, 1)  # 87 KB
    return Served(body, headers={"content-encoding": "gzip", "content-type": "application/json"})


def _refuses(name: str) -> Answer:
    """A 400 for a request with the field `name`, as endpoints without it answer."""

    def answer(call: Call) -> Served:
        if name in call.json:
            return error(400, f"Unrecognized request argument supplied: {name}", "invalid_request")
        return as_json(chat_reply(call.json))

    return answer


OVERFLOW = (
    "This model's maximum context length is 8192 tokens. However, you requested 9216 tokens "
    "(8192 in the messages, 1024 in the completion). Please reduce the length of the messages."
)

FAULTS: dict[str, Answer] = {
    # F1: rate limits
    "429": _limited(),
    "429_seconds": _limited(retry_after="0.05"),
    "429_ms": _limited(retry_after_ms="50"),
    "429_date": _limited(retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429_negative": _limited(retry_after="-5"),
    "429_nan": _limited(retry_after="nan"),
    "429_huge": _limited(retry_after="1000000000"),
    "429_quota": _fixed(error(429, "You exceeded your quota", x_should_retry="false")),
    # F2: server errors
    **{str(s): _fixed(error(s, f"upstream says {s}")) for s in (408, 409, 500, 502, 503, 504)},
    "500_no_retry": _fixed(error(500, "do not come back", x_should_retry="false")),
    "400_retry": _fixed(error(400, "try again", x_should_retry="true")),
    # F3: refusals
    "400": _fixed(error(400, "temperature must be at most 2", "invalid_request_error")),
    "401": _fixed(error(401, "Incorrect API key provided", "invalid_api_key")),
    "403": _fixed(error(403, "this key may not use this model")),
    "404": _fixed(error(404, "The model `nope` does not exist", "NotFoundError")),
    "413": _fixed(error(413, "payload too large")),
    "422": _fixed(error(422, "unprocessable")),
    "302": _fixed(Served(b"", 302, {"location": "http://127.0.0.1:9/v1/chat/completions"})),
    "overflow": _fixed(error(400, OVERFLOW, "context_length_exceeded")),
    # F4, F5: transport
    "reset": _sent("reset"),
    "close": _sent("close"),
    "cut": _sent("cut"),
    "cut_chunked": _sent("cut_chunked"),
    "trickle": _sent("trickle"),
    "hang": _sent("hang"),
    "never_ends": _sent("never_ends"),
    "bomb": _bomb,
    "slow": _sent("whole", 0.3),
    # F6: 200 with garbage
    "truncated_json": lambda call: Served(json.dumps(chat_reply(call.json)).encode()[:-40]),
    "html": _fixed(Served(b"<html><h1>Welcome</h1></html>", headers={"content-type": "text/html"})),
    "empty_body": _fixed(Served(b"")),
    "list": _fixed(as_json([1, 2, 3])),
    "number": _fixed(as_json(7)),
    "deep": _fixed(Served(b"[" * 200_000)),
    "no_choices": _edited(lambda r: r.update(choices=[])),
    "choices_null": _edited(lambda r: r.update(choices=None)),
    "choice_text": _edited(lambda r: r.update(choices=["text"])),
    "no_message": _edited(lambda r: _first(r).pop("message")),
    "content_null": _content(None),
    "content_empty": _content(""),
    "content_number": _content(8),
    "content_parts": _edited(lambda r: [
        c["message"].update(content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": "hmm \\boxed{1, 1}"}]},
            {"type": "text", "text": c["message"]["content"]},
        ])
        for c in r["choices"]
    ]),
    "content_image": _content([{"type": "image_url", "image_url": {"url": "data:,"}}]),
    "only_reasoning": _content(None, reasoning_content="the answer must be 8"),
    "error_in_200": _fixed(as_json({"error": {"message": "engine died", "code": 500}})),
    "too_many": _edited(lambda r: r.update(choices=r["choices"] * 2)),
    "too_few": _edited(lambda r: r.update(choices=r["choices"][:1])),
    "same_index": _edited(lambda r: [c.update(index=0) for c in r["choices"]]),
    "nan": _replaced('"prompt_tokens": ', b'"x": NaN, "prompt_tokens": '),
    "1e999": _replaced('"prompt_tokens": ', b'"x": 1e999, "prompt_tokens": '),
    "bad_utf8": _replaced("Analysis", b"Anal\xff\xfeysis"),
    "lone_surrogate": _replaced("Analysis", b"Anal\\ud800ysis"),
    "duplicate_keys": _replaced('"choices": ', b'"choices": [], "choices": '),
    "no_usage": _edited(lambda r: r.pop("usage")),
    "bad_usage": _edited(lambda r: r.update(usage={"prompt_tokens": -3, "completion_tokens": "x"})),
    # F7: finish reasons
    "length": _finish("length"),
    "content_filter": _finish("content_filter"),
    "tool_calls": _finish("tool_calls"),
    "finish_unknown": _finish("abort"),
    "finish_null": _finish(None),
    # F19 and missing features
    "other_model": _edited(lambda r: r.update(model="another-model", system_fingerprint="fp_2")),
    "ignores_n": _ignores("n"),
    "ignores_seed": _edited(lambda r: _first(r)["message"].update(content=str(id(r)))),
    "no_logprobs": _ignores("logprobs"),
    "refuses_n": lambda call: _refuses("n")(call) if call.json.get("n", 1) > 1 else as_json(
        chat_reply(call.json)
    ),
    "refuses_grammar": _refuses("structured_outputs"),
    "refuses_seed": _refuses("seed"),
    "refuses_logprobs": _refuses("logprobs"),
}  # fmt: skip


# --- the server -------------------------------------------------------------------------------


class FaultServer:
    """Counts what it gets; `stop` and `start` again keep the port."""

    def __init__(
        self,
        *,
        faults: Iterable[str | Answer] = (),
        always: str | Answer | None = None,
        latency: float = 0.0,
        api_key: str | None = None,
        n_responses: int | None = None,
        port: int = 0,
        keep: int = 1000,
    ) -> None:
        self.faults: deque[str | Answer] = deque(faults)
        self.always = always
        self.latency, self.api_key = latency, api_key
        self.n_responses, self.port = n_responses, port
        self.calls: deque[Call] = deque(maxlen=keep)
        self.n_calls = self.n_choices = self.in_flight = self.in_flight_peak = 0
        self.n_connections = 0
        self.seen: Counter[bytes] = Counter()
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await asyncio.sleep(0)
            self._server = None

    async def __aenter__(self) -> FaultServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Served:
        """Decide what one request gets."""
        if path == "/stats":
            return as_json(self.stats())
        if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
            return error(401, "Incorrect API key provided", "invalid_api_key")
        if path.endswith("/models"):
            entry = {"id": MODEL, "object": "model", "max_model_len": MAX_MODEL_LEN}
            return as_json({"object": "list", "data": [entry]})
        if not path.endswith("/chat/completions"):
            return error(404, f"no route {path}")
        return self._chat(Call(self.n_calls, method, path, headers, body))

    def _chat(self, call: Call) -> Served:
        self.n_calls += 1
        self.calls.append(call)
        self.seen[hashlib.sha1(call.body).digest()] += 1
        named = re.match(r"/faults/([^/]+)/", call.path)
        fault: str | Answer | None = named[1] if named else self.always
        if fault is None and self.faults:
            fault = self.faults.popleft()
        if fault is not None and fault != "ok":
            return (FAULTS[fault] if isinstance(fault, str) else fault)(call)
        reply = chat_reply(call.json, self.n_responses)
        self.n_choices += len(reply["choices"])
        return as_json(reply)

    def stats(self) -> dict[str, int]:
        return {
            "calls": self.n_calls,
            "choices": self.n_choices,
            "distinct_calls": len(self.seen),
            "repeated_calls": self.n_calls - len(self.seen),
            "in_flight": self.in_flight,
            "in_flight_peak": self.in_flight_peak,
            "connections": self.n_connections,
        }


class _Connection(asyncio.Protocol):
    """One client connection: reads requests, sends each answer the way its fault asks for."""

    def __init__(self, server: FaultServer) -> None:
        self.server, self.buffer = server, bytearray()
        self.transport: asyncio.Transport | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.server.connections.add(self)
        self.server.n_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.server.connections.discard(self)
        self._done()

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.buffer and not data[:1].isalpha() and self.transport:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # a TLS hello, say
            self.transport.close()
            return
        self.buffer += data
        head, found, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = bytearray(rest[length:])
        method, path, _ = first.split(" ", 2)
        served = self.server.answer(method, path, headers, rest[:length])
        self.busy = True
        self.server.in_flight += 1
        self.server.in_flight_peak = max(self.server.in_flight_peak, self.server.in_flight)
        delay = served.delay or (self.server.latency if path.endswith("/completions") else 0)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, served)
        else:
            self._send(served)

    def _done(self) -> None:
        self.server.in_flight -= self.busy
        self.busy = False

    def _send(self, served: Served) -> None:
        if self.transport is None:
            return
        if served.how != "hang":  # a hanging call stays in flight until the client gives up
            _WAYS[served.how](self.transport, served)
        if served.how in ("whole", "reset", "close", "cut", "cut_chunked"):
            self._done()


def _head(served: Served, length: str) -> bytes:
    lines = [f"HTTP/1.1 {served.status} {REASONS.get(served.status, 'Status')}", length]
    lines += [f"{k}: {v}" for k, v in served.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _whole(transport: asyncio.Transport, served: Served) -> None:
    transport.write(_head(served, f"content-length: {len(served.body)}") + served.body)


def _cut(transport: asyncio.Transport, served: Served) -> None:
    transport.write(_head(served, f"content-length: {len(served.body)}") + served.body[:-20])
    transport.close()


def _cut_chunked(transport: asyncio.Transport, served: Served) -> None:
    half = served.body[: len(served.body) // 2]
    transport.write(_head(served, "transfer-encoding: chunked"))
    transport.write(b"%x\r\n%s\r\n" % (len(half), half))
    transport.close()


def _reset(transport: asyncio.Transport, served: Served) -> None:
    transport.write(_head(served, f"content-length: {len(served.body)}") + served.body[:10])
    transport.abort()


def _trickle(transport: asyncio.Transport, served: Served) -> None:
    transport.write(_head(served, f"content-length: {len(served.body)}"))
    _drip(transport, served.body, 0)


def _drip(transport: asyncio.Transport, body: bytes, sent: int) -> None:
    if not transport.is_closing() and sent < len(body):
        transport.write(body[sent : sent + 1])
        asyncio.get_running_loop().call_later(0.02, _drip, transport, body, sent + 1)


def _never_ends(transport: asyncio.Transport, served: Served) -> None:
    transport.write(_head(served, "transfer-encoding: chunked"))
    _flood(transport)


def _flood(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        asyncio.get_running_loop().call_later(0.0005, _flood, transport)


_WAYS: dict[str, Callable[[asyncio.Transport, Served], None]] = {
    "whole": _whole,
    "cut": _cut,
    "cut_chunked": _cut_chunked,
    "reset": _reset,
    "close": lambda transport, served: transport.close(),
    "trickle": _trickle,
    "never_ends": _never_ends,
}


def by_arrow(codec: str) -> Callable[[bytes], bytes]:
    """What packs a body with a codec that Python's own library lacks: brotli, zstd."""
    import pyarrow

    def pack(data: bytes) -> bytes:
        packed = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(packed, codec) as stream:
            stream.write(data)
        return bytes(packed.getvalue())

    return pack


async def serve(options: argparse.Namespace) -> None:
    server = FaultServer(
        faults=options.fault,
        always=options.always,
        latency=options.latency,
        api_key=options.api_key,
        n_responses=options.responses,
        port=options.port,
        keep=0,
    )
    async with server:
        print(f"PORT {server.port}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat endpoint for tests, healthy or faulty.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--fault", action="append", default=[], choices=[*FAULTS, "ok"])
    parser.add_argument("--always", default=None, choices=list(FAULTS))
    parser.add_argument("--api-key", default=None, help="refuse calls without this key")
    parser.add_argument("--responses", type=int, default=None, help="scores in a reply")
    try:
        import uvloop
    except ImportError:
        run: Callable[[Any], None] = asyncio.run
    else:
        run = uvloop.run
    with contextlib.suppress(KeyboardInterrupt):
        run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
