"""`create_app`: a reward model and settings in, the gateway's ASGI app out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

import spct
from spct.protocols import RewardModel
from spct.serve.config import ServeConfig, is_loopback
from spct.serve.docs_page import POLICY, docs_page
from spct.serve.errors import ErrorType, HttpError, invalid
from spct.serve.gateway import Gateway
from spct.serve.keys import Keyring
from spct.serve.middleware import GatewayMiddleware
from spct.serve.replay import Replays
from spct.serve.replaying import JudgingRoute, describe
from spct.serve.routes.decisions import add_decisions
from spct.serve.routes.engines import add_engines
from spct.serve.routes.native import add_native
from spct.serve.routes.shared import ERRORS, Wires
from spct.serve.routes.trainers import add_trainers


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok", "ready"]


class Version(BaseModel):
    """What is served."""

    model: str
    version: str
    fingerprint: dict[str, str]


def keyring_of(config: ServeConfig, environ: Mapping[str, str]) -> Keyring | None:
    """The keys, or None where there are none and everyone may call."""
    ring = Keyring(environ, config.keys_file)
    return ring if ring.keys else None


def create_app(
    reward_model: RewardModel,
    config: ServeConfig | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    name: str = "spct",
) -> FastAPI:
    """The gateway for one reward model; `name` is what callers may call it by."""
    config = config or ServeConfig()
    gateway = Gateway(reward_model, config, config.names(name)[0])
    wires = Wires(gateway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(gateway.readiness.watch())
        yield
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await reward_model.aclose()
        if gateway.judgement_log is not None:
            gateway.judgement_log.close()

    app = FastAPI(
        title="spct reward gateway",
        version=spct.__version__,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    app.state.replays = Replays(
        config.keep_s, on_replay=gateway.metrics.replays.labels("request").inc
    )
    app.router.route_class = JudgingRoute
    _add_health(app, gateway)
    if is_loopback(config.host):
        _add_docs(app)
    add_native(app, wires)
    add_decisions(app, wires)
    add_trainers(app, wires)
    add_engines(app, wires)
    _add_error_handlers(app)
    app.add_middleware(GatewayMiddleware, gateway=gateway, keyring=keyring_of(config, environ))
    return app


def _add_health(app: FastAPI, gateway: Gateway) -> None:
    errors: dict[int | str, dict[str, Any]] = {
        status: ERRORS[status] for status in (401, 403, 431, 500)
    }

    @app.get("/healthz", response_model=Alive, responses=errors, tags=["operations"])
    async def healthz() -> Response:
        """Liveness: the process answers. Needs no key."""
        return _json(Alive(status="ok"))

    def check_ready() -> None:
        if gateway.draining:
            raise HttpError(503, "draining", "the gateway is shutting down", retry_after_s=5)
        if (trouble := gateway.readiness.trouble) is not None:
            raise HttpError(503, "no_engine", trouble, retry_after_s=5)

    ready_errors = {**errors, 503: ERRORS[503]}

    @app.get("/readyz", response_model=Alive, responses=ready_errors, tags=["operations"])
    async def readyz() -> Response:
        """Readiness: send requests here; 503 while draining or without an engine. Needs no key."""
        check_ready()
        return _json(Alive(status="ready"))

    @app.get("/health", response_model=Alive, responses=ready_errors, tags=["vLLM", "TEI"])
    async def health() -> Response:
        """What vLLM, SGLang and TEI call readiness. Needs no key."""
        return await readyz()

    @app.get("/version", response_model=Version, responses=errors, tags=["operations"])
    async def version() -> Response:
        """What is served, and the parts of its fingerprint."""
        return _json(
            Version(model=gateway.name, version=spct.__version__, fingerprint=gateway.fingerprint)
        )

    @app.get(
        "/metrics",
        response_class=Response,
        responses={**errors, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        tags=["operations"],
    )
    async def metrics() -> Response:
        """Counters for Prometheus."""
        gateway.metrics.waiting.set(gateway.slots.waiting)
        gateway.metrics.judging.set(gateway.slots.busy)
        return Response(gateway.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Response:
        """The routes as a page; on loopback only."""
        page = docs_page(app.openapi())
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


_TYPES: dict[int, ErrorType] = {404: "not_found", 405: "method_not_allowed"}


def _add_error_handlers(app: FastAPI) -> None:
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, HttpError)
        return error.response()

    async def fields(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(describe(list(error.errors()))).response()

    async def starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, HttpError):  # FastAPI wraps what reading the body raises
            return error.__cause__.response()
        kind = _TYPES.get(error.status_code, "invalid")
        message = {"not_found": "there is no such route; see /openapi.json"}.get(kind, error.detail)
        headers = dict(error.headers or {})
        return HttpError(error.status_code, kind, message, headers=headers).response()

    app.add_exception_handler(HttpError, ours)
    app.add_exception_handler(RequestValidationError, fields)
    app.add_exception_handler(HTTPException, starlette)


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
