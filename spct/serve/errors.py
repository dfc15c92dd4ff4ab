"""What the gateway answers when it cannot judge: a status and one typed body on every route.

The body has the names that users of OpenAI-like servers read, so their clients show our message:

    {"error": {"type": "too_large", "message": "...", "param": "responses", "code": 413}}

A message names fields and limits and never repeats text that was sent.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

ErrorType = Literal[
    "bad_http",  # 400: the request can be read in two ways, or in none
    "bad_json",  # 400: the body is not strict JSON
    "unauthorized",  # 401: no key, or none that is known
    "forbidden",  # 403: the key's scopes, the Host or the Origin do not allow it
    "not_found",  # 404: no such route
    "model_not_found",  # 404: another model is served
    "wire_not_enabled",  # 404: the wire must have a number, and the operator named none
    "method_not_allowed",  # 405
    "slow_head",  # 408: the request line and headers did not arrive in time
    "slow_body",  # 408: the body did not arrive in time
    "key_reused",  # 409: an Idempotency-Key came back with another body
    "mixed_group",  # 409: a group's members disagree about its query or size
    "too_large",  # 413: the body
    "packed_body",  # 415: a Content-Encoding; bodies are read as they are
    "invalid",  # 422: the fields
    "template_needed",  # 422: templated text, and no chat template was named or it does not fit
    "unscored",  # 424: the judgement failed, and the operator asked for an error
    "rate_limited",  # 429: this key's rate or share
    "header_too_large",  # 431
    "internal",  # 500: a bug of ours
    "no_engine",  # 503 of /readyz: the engine does not answer
    "overloaded",  # 503: the queue is full
    "draining",  # 503: the gateway is going away
]


class ErrorBody(BaseModel):
    """What went wrong."""

    type: ErrorType = Field(description="The kind of error, from a closed set.")
    message: str = Field(description="What was expected, what was got, how to fix it.")
    param: str | None = Field(None, description="The field at fault, where there is one.")
    code: int = Field(description="The HTTP status again.")


class ErrorReply(BaseModel):
    """The body of every reply that is not a success."""

    error: ErrorBody


class HttpError(Exception):
    """Ends a request with a status and a typed body."""

    def __init__(
        self,
        status: int,
        type: ErrorType,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.type, self.message, self.param = status, type, message, param
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    def response(self) -> Response:
        """The reply to send."""
        body = ErrorBody(type=self.type, message=self.message, param=self.param, code=self.status)
        return Response(
            ErrorReply(error=body).model_dump_json(),
            self.status,
            self.headers,
            media_type="application/json",
        )


def invalid(message: str, param: str | None = None) -> HttpError:
    """The caller's fields cannot be judged."""
    return HttpError(422, "invalid", message, param=param)
