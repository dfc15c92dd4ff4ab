"""The one way in: every request passes here before any route sees it (pure ASGI).

In this order: request id, size of the headers, Host and Origin, key and scope, draining, capacity,
the key's share and rate, body size and time; then the route, with its client watched: a client that
goes away cancels the work. Deny by default: a path needs a key unless it is in `PUBLIC`.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from spct.serve.admission import Admission
from spct.serve.config import LOOPBACK, is_loopback
from spct.serve.errors import HttpError
from spct.serve.exchange import ClientGone, Exchange
from spct.serve.gateway import Gateway
from spct.serve.hosts import check_host, check_origin
from spct.serve.keys import Key, Keyring

log = logging.getLogger("spct.serve")

PUBLIC = frozenset({"/healthz", "/readyz", "/health"})
_ANYONE = "anonymous"
_BUG = HttpError(500, "internal", "a bug of the gateway; its log has the request id")


class GatewayMiddleware:
    """ASGI middleware around the app; without a keyring anyone may call who passes the rest."""

    def __init__(self, app: ASGIApp, gateway: Gateway, keyring: Keyring | None) -> None:
        self._app, self._gateway, self._keyring = app, gateway, keyring
        config = gateway.config
        named = {config.host, *config.allowed_hosts}
        self._hosts = LOOPBACK | {name.lower().strip("[]").removesuffix(".") for name in named}
        # With a key a page has none to send; without one the Host must be a name of ours.
        self._checks_host = keyring is None and is_loopback(config.host)
        self._admission = Admission(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks anything else
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._admit(exchange, receive)
        except HttpError as error:
            self._gateway.metrics.refused.labels(error.type).inc()
            await exchange.answer(error)
        except ClientGone:
            log.debug("client of request %s has gone", exchange.id.decode())
        except Exception as error:  # a bug of ours: say where, never what was sent
            where = f"{type(error).__name__} at {_place_of(error)}"
            log.error("request %s: %s", exchange.id.decode(), where)
            log.debug("traceback", exc_info=error)
            if not exchange.status:
                await exchange.answer(_BUG)
        finally:
            exchange.record(self._gateway.metrics)

    async def _admit(self, exchange: Exchange, receive: Receive) -> None:
        scope = exchange.scope
        config, judges = self._gateway.config, scope["method"] == "POST"
        self._check_headers(exchange)
        if scope["path"] not in PUBLIC:
            exchange.caller = self._caller(exchange, judges)
        scope.setdefault("state", {})["caller"] = exchange.caller
        if not judges:
            await self._app(scope, receive, exchange.send)
            return
        with self._admission.admitted(exchange.caller):
            body = await exchange.read_body(config.max_body_bytes, config.body_timeout_s)
            with self._admission.held(len(body)):
                await exchange.run(self._app, body)

    def _check_headers(self, exchange: Exchange) -> None:
        limit = self._gateway.config.max_header_bytes
        headers = exchange.scope["headers"]
        if sum(len(name) + len(value) + 4 for name, value in headers) > limit:
            raise HttpError(431, "header_too_large", f"more than {limit} bytes of headers")
        host = exchange.header("host") or ""
        if self._checks_host:
            check_host(host, self._hosts)
        check_origin(exchange.header("origin"), exchange.header("sec-fetch-site") or "", host)

    def _caller(self, exchange: Exchange, judges: bool) -> str:
        return _ANYONE if self._keyring is None else _key_of(self._keyring, exchange, judges).name


def _key_of(keyring: Keyring, exchange: Exchange, judges: bool) -> Key:
    presented = exchange.headers.get(b"x-api-key", b"")
    scheme, _, token = exchange.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
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


def _place_of(error: BaseException) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"
