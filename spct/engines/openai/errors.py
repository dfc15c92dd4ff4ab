"""What a chat endpoint's HTTP status and error body mean for a run. Pure.

Three outcomes: this call may be tried again or not (`Failure`), the run cannot go on (an exception
with the server's own words and what to do), or, for a 200, none of both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from spct.engines.openai.wire import KEPT_BYTES, GarbageReply, strict_json
from spct.engines.retry import Failure, classify_status, retry_after_s
from spct.engines.transport import Http
from spct.errors import ConfigError, ContextOverflow, EndpointError

GRAMMAR_FIELDS = ("structured_outputs", "ebnf", "grammar")
OPTIONAL_FIELDS = ("seed", "stop", "logprobs", "top_logprobs", "temperature", "top_p", "max_tokens")

WHAT_TO_DO = {
    401: "set OPENAI_API_KEY (or the variable named by --api-key-env) to a key that it accepts",
    402: "the account behind the key has to be paid or topped up",
    403: "use a key that may use this model, or another model",
    404: "check --model, and that the base URL ends as the server wants (/v1); see `spct doctor`",
    405: "check the base URL; it should end as the server wants (/v1)",
    410: "the model or the route is gone; choose another with --model",
}

_OVERFLOW_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_OVERFLOW = re.compile(
    r"(maximum |model's )context (length|window)|context size|prompt is too long"
    r"|input token count .* exceeds|longer than the (model's )?context",
    re.IGNORECASE,
)


class NRefused(Exception):
    """The endpoint does not take more than one completion a request."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """What the body of a reply that is no 200 says, in the server's own words."""

    message: str
    code: str = ""
    param: str = ""

    def names(self, field: str) -> bool:
        """Whether it is about this request field."""
        return field == self.param or bool(re.search(rf"\b{re.escape(field)}\b", self.message))


def read_error(body: bytes) -> ServerError:
    """Find message, code and parameter in the shapes that endpoints use; else the raw text."""
    raw = body[:KEPT_BYTES].decode("utf-8", "replace").strip() or "(an empty body)"
    try:
        found = strict_json(body)
    except GarbageReply:
        return ServerError(raw)
    if isinstance(found, dict):
        found = found.get("error", found)
    fields = found if isinstance(found, dict) else {"message": found}
    words = (fields.get("message"), fields.get("detail"), raw)
    codes = (fields.get("code"), fields.get("type"), "")
    return ServerError(
        next(word for word in words if isinstance(word, str) and word.strip())[:KEPT_BYTES],
        next(code for code in codes if isinstance(code, str)),
        str(fields.get("param") or ""),
    )


def failure(http: Http, url: str, fields: Mapping[str, object], is_new: bool) -> Failure | None:
    """Judge a reply's status: None for a 200, else a `Failure`, or an exception that ends the run.

    `fields` are what was asked for. `is_new` says that the endpoint has not answered well yet: a
    400 that names an optional field then means that it lacks it, so every call would fail.
    """
    if http.status == 200:
        return None
    if 200 < http.status < 300:
        return Failure("garbage", f"answered {http.status}, expected 200")
    said = read_error(http.body)
    answer = f"answered {http.status}: {said.message!r}"
    kind = classify_status(http.status, http.headers)
    if http.status < 400:
        raise EndpointError(
            f"calling {url}: redirected ({http.status}) to {http.headers.get('location')!r}; "
            "redirects are not followed, since they would take the key along; if that is the right "
            "place, make it the base URL"
        )
    if http.status == 429 and said.code == "insufficient_quota":
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[402]}")
    if kind == "final" and http.status in WHAT_TO_DO:
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[http.status]}")
    if kind == "final" and http.status in (400, 413, 422):
        return _bad_request(said, f"calling {url}: {answer}", fields, is_new)
    return Failure(kind, answer, retry_after_s(http.headers))


def _bad_request(
    said: ServerError, what: str, fields: Mapping[str, object], is_new: bool
) -> Failure:
    if said.code in _OVERFLOW_CODES or _OVERFLOW.search(said.message):
        raise ContextOverflow(
            f"{what}; the prompt and max_tokens={fields.get('max_tokens')} do not fit the model's "
            "context; lower --max-tokens, shorten the responses, or use a model with a longer one"
        )
    if "content_filter" in said.code or "content_policy" in said.code:
        return Failure("refused", what)
    if "n" in fields and (said.param == "n" or re.search(r"\bn\b|choice", said.message)):
        raise NRefused(said.message)
    grammar = next((name for name in GRAMMAR_FIELDS if name in fields), None)
    if grammar and (said.names(grammar) or re.search("grammar|guided|structured", said.message)):
        raise ConfigError(
            f"{what}; the endpoint refuses a grammar in the field {grammar!r}; set grammar_field "
            "to the one that it takes (structured_outputs: vLLM, ebnf: SGLang, grammar: "
            "llama.cpp), or sample without a grammar"
        )
    refused = _first_named(said, [f for f in OPTIONAL_FIELDS if f in fields]) if is_new else None
    if refused:
        raise ConfigError(
            f"{what}; the endpoint seems to refuse the field {refused!r}; change it, or leave it "
            f'out with extra_body {{"{refused}": null}}'
        )
    return Failure("final", what)


def _first_named(said: ServerError, names: Collection[str]) -> str | None:
    return next((name for name in names if said.names(name)), None)
