"""What the judging routes share: the gateway, its errors, the price of a failure, replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from spct.data.chat.templated import template_named
from spct.serve.errors import ErrorReply, HttpError
from spct.serve.gateway import Gateway
from spct.serve.replay import UNSCORED
from spct.serve.samples import SampleOutcome

T = TypeVar("T")
FINGERPRINT = "X-Spct-Fingerprint"
_STATUSES = {
    400: "The body is no strict JSON.",
    401: "No key, or none that is known.",
    403: "The key's scopes, the Host or the Origin do not allow it.",
    404: "Another model is served, or the wire is off.",
    408: "The body did not arrive in time.",
    409: "An Idempotency-Key came back with another body, or a group's members disagree.",
    413: "The body is too large.",
    415: "The body is packed (Content-Encoding).",
    422: "The fields cannot be judged.",
    424: "The judgement failed, and the operator asked for an error.",
    429: "This key's rate or share is used up.",
    431: "The headers are too large.",
    500: "A bug of ours.",
    503: "The queue is full, or the gateway is shutting down.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": text} for status, text in _STATUSES.items()
}


class Asker(NamedTuple):
    """Who asks, by the name of the key, and whether the body is long to read."""

    name: str
    is_long: bool

    async def read(self, read: Callable[..., T], *args: Any) -> T:
        """Turn a body into samples or examples; a long one off the loop that all callers share."""
        return await asyncio.to_thread(read, *args) if self.is_long else read(*args)


async def asker_of(request: Request) -> Asker:
    """Who sent the request; async, or it would be run in a thread."""
    body = await request.body()
    return Asker(request.scope["state"]["caller"], len(body) > _LONG)


Caller = Annotated[Asker, Depends(asker_of)]
_LONG = 65_536


class Wires:
    """The gateway, the template of templated text, and the operator's number for failures."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.config, self.name = gateway, gateway.config, gateway.name
        self.template = template_named(gateway.config.template)

    def check_enabled(self, request: BaseModel, wire: str) -> None:
        """Refuse a wire that must have a number before anything is judged for it."""
        if self.config.on_unscored is None:
            raise HttpError(
                404,
                "wire_not_enabled",
                f"the {wire} wire cannot represent a failed judgement; start the gateway with "
                "--on-unscored NUMBER (what the trainer gets then, counted in /metrics) or "
                "--on-unscored error (a 424)",
            )
        self.count_unknown(request, wire)

    def count_unknown(self, request: BaseModel, wire: str) -> None:
        """Count a request with fields that this version does not know."""
        if request.model_extra:
            self.gateway.metrics.unknown_fields.labels(wire).inc()

    def price(self, rewards: Sequence[float | None], wire: str) -> list[float]:
        """Rewards as numbers: the operator's for those that failed."""
        missing = sum(reward is None for reward in rewards)
        number = self.config.on_unscored
        if not missing:
            return [reward for reward in rewards if reward is not None]
        if not isinstance(number, float):
            raise HttpError(
                424, "unscored", f"{missing} of {len(rewards)} judgements failed; try again"
            )
        self.gateway.metrics.priced.labels(wire).inc(missing)
        return [number if reward is None else reward for reward in rewards]

    def reply(self, body: BaseModel | bytes, rewards: Sequence[float | None]) -> Response:
        """A success, with where its numbers come from and how many of them failed."""
        content = body if isinstance(body, bytes) else body.model_dump_json(by_alias=True)
        headers = {
            FINGERPRINT: self.gateway.fingerprint["digest"],
            UNSCORED: str(sum(reward is None for reward in rewards)),
        }
        return Response(content, headers=headers, media_type="application/json")


def rewards_of(judged: Sequence[SampleOutcome]) -> list[float | None]:
    """The samples' rewards."""
    return [one.reward for one in judged]
