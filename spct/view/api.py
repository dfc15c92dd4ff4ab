"""The page's server: loopback only, reads run folders, writes nothing but a person's verdicts.

Texts of a run are hostile by assumption. They leave here as JSON (ASCII, so that lone surrogates
survive) and become text nodes in the page; the policy below lets no other script run, whatever a
text holds. A page of another site can reach a loopback port, so the Host must be a loopback name,
and a write needs the token that only our own page was given.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from spct.errors import DataError, SpctError
from spct.view.run import RunView, compare
from spct.view.shell import fill, in_page, script, style

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    runs: Sequence[RunView], *, ranking: Mapping[str, Any] | None = None, problem: str = ""
) -> FastAPI:
    """The server of these runs."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    token = secrets.token_urlsafe(16)

    _guard(app)
    _pages(app, runs, {"token": token, "ranking": ranking, "problem": problem})
    _reads(app, runs)
    _marks(app, runs, token)
    return app


def _guard(app: FastAPI) -> None:
    """The headers of every reply, and errors in words."""

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(SpctError)
    async def refused(request: Request, error: SpctError) -> Response:
        return _json({"error": str(error)}, 404 if isinstance(error, DataError) else 500)


def _pages(app: FastAPI, runs: Sequence[RunView], boot: Mapping[str, Any]) -> None:
    """The page, its script and its style."""

    @app.get("/")
    async def page() -> Response:
        held = in_page({"runs": [run.facts() for run in runs], **boot})
        data = f'<script type="application/json" id="boot">{held}</script>'
        head = '<link rel="stylesheet" href="/style.css">'
        text = fill(head, data, '<script src="/app.js"></script>')
        return Response(text, media_type="text/html; charset=utf-8")

    @app.get("/app.js")
    async def scripts() -> Response:
        return Response(script(), media_type="text/javascript; charset=utf-8")

    @app.get("/style.css")
    async def styles() -> Response:
        return Response(style(), media_type="text/css; charset=utf-8")


def _reads(app: FastAPI, runs: Sequence[RunView]) -> None:
    """What the page asks for."""

    @app.get("/api/runs")
    async def facts() -> Response:
        return _json({"runs": [await run_in_threadpool(run.facts) for run in runs]})

    @app.get("/api/list")
    async def rows(
        request: Request,
        run: int,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Response:
        chosen = _chosen(runs, run)
        filters = dict(request.query_params)
        return _json(await run_in_threadpool(chosen.page, filters, offset=offset, limit=limit))

    @app.get("/api/example")
    async def example(run: int, id: str) -> Response:
        return _json(await run_in_threadpool(_chosen(runs, run).example, id))

    @app.get("/api/figures")
    async def figures(run: int) -> Response:
        return _json(await run_in_threadpool(_chosen(runs, run).figures))

    @app.get("/api/compare")
    async def two(a: int, b: int) -> Response:
        return _json(await run_in_threadpool(compare, _chosen(runs, a), _chosen(runs, b)))


def _marks(app: FastAPI, runs: Sequence[RunView], token: str) -> None:
    """A person's verdict: the one thing that is written."""

    @app.post("/api/mark")
    async def mark(request: Request, x_spct_token: Annotated[str, Header()] = "") -> Response:
        if not secrets.compare_digest(x_spct_token, token):
            return _json({"error": "only the page itself may write; reload it"}, 403)
        try:
            body = json.loads(await request.body())
            run, id, value, note = body["run"], body["id"], body["mark"], str(body.get("note", ""))
        except (ValueError, KeyError, TypeError):
            return _json({"error": "expected an object with run, id and mark"}, 422)
        await run_in_threadpool(_chosen(runs, run).mark, id, value, note)
        return _json({})


def _chosen(runs: Sequence[RunView], index: object) -> RunView:
    if not isinstance(index, int) or not 0 <= index < len(runs):
        raise DataError(f"no run {index!r}; this page shows {len(runs)}")
    return runs[index]


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
