"""How a judging route reads its request: strict JSON, bounded depth, and answers given again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from spct.errors import did_you_mean
from spct.serve.errors import HttpError, invalid
from spct.serve.replay import Replays
from spct.serve.wires.native import JudgeExample, JudgeRequest
from spct.strict_json import NotStrictJSON, read_json

_MAX_KEY = 255
_MAX_CONTAINERS = 100_000  # lists and objects of one body
_MAX_KEYS = 1000  # of one object; each that is unknown would be an error of its own


class StrictRequest(Request):
    """A request whose JSON has no NaN, no lone surrogates and no deep nesting."""

    async def json(self) -> Any:
        """Parse the body; whatever is wrong with it is a 400."""
        limit: int = self.app.state.gateway.config.max_json_depth
        body = await self.body()
        try:
            return read_json(
                body, max_depth=limit, max_containers=_MAX_CONTAINERS, max_keys=_MAX_KEYS
            )
        except NotStrictJSON as error:
            why = str(error)
        # outside of the handler: the error's frames hold the parsed value, however large it is
        raise HttpError(400, "bad_json", f"the body is not strict JSON: {why}")


class JudgingRoute(APIRoute):
    """A route that judges: retries and equal requests get the answer that was given before."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return handle

        async def answer(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            body = await strict.body()
            state = request.app.state
            caller: str = request.scope["state"]["caller"]
            key = request.headers.get("Idempotency-Key")
            digest = sha256(body).digest()
            replays: Replays = state.replays
            if key is not None:
                if not key or len(key) > _MAX_KEY:
                    raise invalid(f"expected 1 to {_MAX_KEY} characters", "Idempotency-Key")
                name = ("key", caller, self.path, key)
                return await replays.answer(
                    name, digest, lambda: handle(strict), keep_unscored=True
                )
            if is_grouped(self.path, body, state.gateway.is_grouping):
                return await handle(strict)
            return await replays.answer(
                ("body", caller, self.path, digest),
                digest,
                lambda: handle(strict),
                keep_unscored=False,
            )

        return answer


# Per-sample routes: two equal requests of one group are two of its members, not a retry.
PER_SAMPLE = frozenset({"/get_reward", "/remote_rm", "/remote_rm/detail", "/verify"})


def is_grouped(path: str, body: bytes, is_grouping: bool) -> bool:
    """Whether the coalescer, not the body's digest, knows what is a duplicate."""
    return (path in PER_SAMPLE and is_grouping) or (path == "/v1/rewards" and b'"group"' in body)


def describe(errors: list[dict[str, Any]]) -> str:
    """Validation errors without what was sent, but for the names of unknown keys."""
    return "; ".join(_describe(error) for error in errors[:8])


def _describe(error: dict[str, Any]) -> str:
    path = [str(part)[:80] for part in error["loc"] if part != "body"]
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(path[-1], _KEYS)}"
    return f"{where}: {error['msg']}"


_KEYS = frozenset(JudgeRequest.model_fields) | frozenset(JudgeExample.model_fields)
