"""The one way in: every request passes here before any route sees it (pure ASGI).

In this order: request id, header size, Host and Origin, key and scope, draining, capacity, the
key's share and rate, body size and time; then the route, with its client watched: a client that
goes away cancels the work. Deny by default: a path needs a key unless it is in `PUBLIC`.
The audit line and the metrics hold names, sizes and times, never text that was sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from itertools import count
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spct.serve.config import LOOPBACK, is_loopback
from spct.serve.errors import ErrorType, HttpError
from spct.serve.gateway import Gateway
from spct.serve.keys import Key, Keyring
from spct.serve.seats import TokenBucket

audit = logging.getLogger("spct.serve.audit")
log = logging.getLogger("spct.serve")

PUBLIC = frozenset({"/healthz", "/readyz"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS = os.urandom(4).hex().encode()  # request ids of two processes differ
_NUMBERS = count()
_ANYONE = Key("anonymous", b"")
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
Headers = dict[bytes, bytes]


class _Visit:
    """One request on its way through."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.headers: Headers = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.id = given if _REQUEST_ID.fullmatch(given) else b"%s-%x" % (_PROCESS, next(_NUMBERS))
        self.caller = "-"
        self.status = 0
        self.n_bytes = 0
        self.is_answered = False
        self.extra: list[tuple[bytes, bytes]] = [(b"x-request-id", self.id)]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *_SECURITY, *self.extra]}
        elif not message.get("more_body", False):
            self.is_answered = True
        await self._send(message)

    @property
    def route(self) -> str:
        path: str = getattr(self.scope.get("route"), "path", "unmatched")
        return path


class Door:
    """ASGI middleware around the app; `keyring` None lets anyone in who passes the other checks."""

    def __init__(self, app: ASGIApp, gateway: Gateway, keyring: Keyring | None) -> None:
        self._app, self._gateway, self._keyring = app, gateway, keyring
        config = gateway.config
        self._hosts = LOOPBACK | {config.host, *config.allowed_hosts}
        self._checks_host = keyring is None and is_loopback(config.host)
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks anything else
            await send({"type": "websocket.close", "code": 1008})
            return
        visit = _Visit(scope, send)
        started = time.perf_counter()
        try:
            await self._admit(visit, receive)
        except HttpError as error:
            self._gateway.metrics.refused.labels(error.type).inc()
            await error.response()(scope, receive, visit.send)
        except _Gone:
            log.debug("client of request %s has gone", visit.id.decode())
        except Exception as error:  # a bug of ours: say where, never what was sent
            log.error("request %s: %s at %s", visit.id.decode(), type(error).__name__, _at(error))
            log.debug("traceback", exc_info=error)
            if not visit.status:
                await _BUG.response()(scope, receive, visit.send)
        finally:
            self._record(visit, time.perf_counter() - started)

    async def _admit(self, visit: _Visit, receive: Receive) -> None:
        self._check_headers(visit)
        path, judges = visit.scope["path"], visit.scope["method"] == "POST"
        if path not in PUBLIC and self._keyring is not None:
            visit.caller = _authorised(self._keyring, visit.headers, judges).name
        elif path not in PUBLIC:
            visit.caller = _ANYONE.name
        visit.scope.setdefault("state", {})["caller"] = visit.caller
        if not judges:
            await self._app(visit.scope, receive, visit.send)
            return
        self._check_capacity(visit.caller)
        self._gateway.in_flight[visit.caller] += 1
        self._gateway.metrics.in_flight.inc()
        n_held = 0
        try:
            body = await self._body(visit, receive)
            self._gateway.body_bytes += len(body)
            n_held = len(body)
            await self._watched(visit, body, receive)
        finally:
            self._gateway.body_bytes -= n_held
            self._gateway.in_flight[visit.caller] -= 1
            self._gateway.metrics.in_flight.dec()
            if not self._gateway.in_flight[visit.caller]:
                del self._gateway.in_flight[visit.caller]

    def _check_headers(self, visit: _Visit) -> None:
        limit = self._gateway.config.max_header_bytes
        if sum(len(name) + len(value) + 4 for name, value in visit.scope["headers"]) > limit:
            raise HttpError(431, "header_too_large", f"more than {limit} bytes of headers")
        host = visit.headers.get(b"host", b"").decode("latin-1")
        # A page in a browser may reach a loopback port under its own name (DNS rebinding). With a
        # key the page has none; without one the name must be ours.
        if self._checks_host and _name_of(host) not in self._hosts:
            raise HttpError(
                403,
                "forbidden",
                "the Host header is not a name of this gateway; add it with --allowed-host",
                param="Host",
            )
        origin = visit.headers.get(b"origin")
        cross = visit.headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site")
        if cross or (origin is not None and urlsplit(origin.decode("latin-1")).netloc != host):
            raise HttpError(403, "forbidden", "requests from other origins are refused")

    def _check_capacity(self, caller: str) -> None:
        gateway, config = self._gateway, self._gateway.config
        slots = gateway.slots
        if gateway.draining:
            raise _busy(503, "draining", "the gateway is shutting down; use another", 5)
        if gateway.is_full:
            raise _busy(503, "overloaded", "the queue is full; try again", slots.retry_after_s)
        if self._gateway.in_flight[caller] >= config.max_per_key:
            raise _busy(
                429,
                "rate_limited",
                f"{config.max_per_key} requests of this key are in flight",
                slots.retry_after_s,
            )
        if config.rate is None:
            return
        now = time.monotonic()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = TokenBucket(config.rate, max(1.0, config.rate), now)
        wait_s = bucket.take(now)
        if wait_s:
            raise _busy(
                429, "rate_limited", f"more than {config.rate:g} requests a second", int(wait_s) + 1
            )

    async def _body(self, visit: _Visit, receive: Receive) -> bytes:
        config = self._gateway.config
        try:
            async with asyncio.timeout(config.body_timeout_s):
                return await _read(visit, receive, config.max_body_bytes)
        except TimeoutError as error:
            raise HttpError(
                408,
                "slow_body",
                "the body took too long to arrive",
                headers={"Connection": "close"},
            ) from error

    async def _watched(self, visit: _Visit, body: bytes, receive: Receive) -> None:
        """Run the app; cancel it when the client goes away before it is answered."""
        unread = [body]

        async def replay() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        work = asyncio.current_task()
        assert work is not None
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not visit.is_answered:
                gone = True
                work.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await self._app(visit.scope, replay, visit.send)
        except asyncio.CancelledError:
            if not gone:
                raise
            raise _Gone from None
        finally:
            watcher.cancel()

    def _record(self, visit: _Visit, took_s: float) -> None:
        metrics = self._gateway.metrics
        route = visit.route
        status = str(visit.status or "gone")
        if not visit.status:
            metrics.gone.inc()
        metrics.requests.labels(route, status).inc()
        metrics.request_seconds.labels(route).observe(took_s)
        audit.info(
            "id=%s key=%s route=%s status=%s bytes=%d ms=%.1f",
            visit.id.decode(), visit.caller, route, status, visit.n_bytes, took_s * 1e3,
        )  # fmt: skip


_BUG = HttpError(500, "internal", "a bug of the gateway; its log has the request id")


def _at(error: BaseException) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


class _Gone(Exception):
    """The client has gone; there is nobody to answer."""


def _authorised(keyring: Keyring, headers: Headers, judges: bool) -> Key:
    presented = headers.get(b"x-api-key", b"").decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        presented = token.strip()
    key = keyring.find(presented)
    if key is None:
        raise HttpError(
            401,
            "unauthorized",
            "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    scope = "judge" if judges else "read"
    if scope not in key.scopes:
        raise HttpError(403, "forbidden", f"this key has no scope {scope!r}")
    return key


async def _read(visit: _Visit, receive: Receive, limit: int) -> bytes:
    """The body; beyond the limit nothing is kept, but some is read so that the client can hear."""
    declared = visit.headers.get(b"content-length", b"0")
    is_too_large = declared.isdigit() and int(declared) > limit
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        visit.n_bytes += len(chunk)
        is_too_large = is_too_large or visit.n_bytes > limit
        if is_too_large:
            chunks.clear()
        else:
            chunks.append(chunk)
        if visit.n_bytes <= 8 * limit and message.get("more_body", False):
            continue
        if is_too_large:
            raise HttpError(
                413,
                "too_large",
                f"a body of more than {limit} bytes; send fewer or shorter responses",
                headers={"Connection": "close"},
            )
        return b"".join(chunks)


def _name_of(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _busy(status: int, type: ErrorType, message: str, retry_after_s: int) -> HttpError:
    return HttpError(status, type, message, retry_after_s=retry_after_s)
