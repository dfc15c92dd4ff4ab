"""One request on its way through: its id, its bounded body, its watched client, its record."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spct.serve.errors import HttpError
from spct.serve.metrics import Metrics

audit = logging.getLogger("spct.serve.audit")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS = os.urandom(4).hex().encode()  # request ids of two processes differ
_NUMBERS = count()
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class ClientGone(Exception):
    """The client has gone; there is nobody to answer."""


class Exchange:
    """A request and what has been sent in answer to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.id = given if _REQUEST_ID.fullmatch(given) else b"%s-%x" % (_PROCESS, next(_NUMBERS))
        self.caller = "-"
        self.status = 0
        self._n_bytes = 0
        self._is_answered = False
        self._started = time.perf_counter()

    def header(self, name: str) -> str | None:
        """A header's value."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    async def send(self, message: Message) -> None:
        """Pass an answer on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], *_SECURITY, (b"x-request-id", self.id)]
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(_NO_CONTENT)
            message = {**message, "headers": headers}
        elif not message.get("more_body", False):
            self._is_answered = True
        await self._send(message)

    async def answer(self, error: HttpError) -> None:
        """Answer with an error."""
        await error.response()(self.scope, self._receive, self.send)

    def check_is_plain(self) -> None:
        """Refuse a body that is declared as packed: what unpacks it could be a bomb.

        A false declaration is refused too: a proxy that believes it would read another body.
        """
        codings = [value for name, value in self.scope["headers"] if name == b"content-encoding"]
        named = [one.strip().lower() for value in codings for one in value.split(b",")]
        if any(one not in (b"", b"identity") for one in named):
            raise HttpError(
                415,
                "packed_body",
                "a body with a Content-Encoding; send it unpacked",
                headers={"Accept-Encoding": "identity"},
            )

    async def read_body(self, limit: int, timeout_s: float) -> bytes:
        """The body, within a size and a time."""
        self.check_is_plain()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._read(limit)
        except TimeoutError as error:
            raise HttpError(
                408,
                "slow_body",
                "the body took too long to arrive",
                headers={"Connection": "close"},
            ) from error

    async def _read(self, limit: int) -> bytes:
        """Beyond the limit nothing is kept, but some is read, so that the client can hear why."""
        declared = self.headers.get(b"content-length", b"0")
        is_too_large = declared.isdigit() and int(declared) > limit
        chunks: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            self._n_bytes += len(chunk)
            is_too_large = is_too_large or self._n_bytes > limit
            if is_too_large:
                chunks.clear()
            else:
                chunks.append(chunk)
            if self._n_bytes <= 8 * limit and message.get("more_body", False):
                continue
            if is_too_large:
                raise HttpError(
                    413,
                    "too_large",
                    f"a body of more than {limit} bytes; send fewer or shorter responses",
                    headers={"Connection": "close"},
                )
            return b"".join(chunks)

    async def run(self, app: ASGIApp, body: bytes) -> None:
        """Run the app on a body that was read; cancel it when the client goes away before then."""
        unread = [body]

        async def replay() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await self._receive()

        work = asyncio.current_task()
        assert work is not None
        is_gone = False

        async def watch() -> None:
            nonlocal is_gone
            while (await self._receive())["type"] != "http.disconnect":
                pass
            if not self._is_answered:
                is_gone = True
                work.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await app(self.scope, replay, self.send)
        except asyncio.CancelledError:
            if not is_gone:
                raise
            raise ClientGone from None
        finally:
            watcher.cancel()

    def record(self, metrics: Metrics) -> None:
        """Count the request and write its audit line: names, sizes and times, never texts."""
        took_s = time.perf_counter() - self._started
        route: str = getattr(self.scope.get("route"), "path", "unmatched")
        status = str(self.status or "gone")
        if not self.status:
            metrics.gone.inc()
        metrics.requests.labels(route, status).inc()
        metrics.request_seconds.labels(route).observe(took_s)
        audit.info(
            "id=%s key=%s route=%s status=%s bytes=%d ms=%.1f",
            self.id.decode(), self.caller, route, status, self._n_bytes, took_s * 1e3,
        )  # fmt: skip
