"""What a chat endpoint's HTTP status and error body mean for a run. Pure.

Three outcomes: this call may be tried again or not (`Failure`), the run cannot go on (an exception
with the server's own words and what to do), or, for a good 200, neither. Two exceptions stay inside
the engine: `NRefused` and `FieldRefused` say what the endpoint does not take, and the engine asks
again without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from spct.engines.openai.openai_wire import GRAMMAR_FIELDS
from spct.engines.openai.vendors import (
    BAD_KEY,
    BAD_MODEL,
    FILTERED,
    LIMITED,
    OVERFLOW,
    TOO_LARGE,
    UNPAID,
    ServerError,
    read_error,
)
from spct.engines.retry import Failure, classify_status, retry_after_s
from spct.engines.transport import Http
from spct.errors import ConfigError, ContextOverflow, EndpointError

OPTIONAL_FIELDS = (
    *("seed", "stop", "logprobs", "top_logprobs", "temperature", "top_p", "max_tokens"),
    "max_completion_tokens",
)
# What may be left out with a warning: the endpoint then uses its own value, and the run goes on.
DROPPABLE = frozenset({"seed", "temperature"})
SHORT = 300  # bytes: a 200 of plain text that may be a complaint
SETTING = {"logprobs": "--top-logprobs", "top_logprobs": "--top-logprobs", "top_p": "--top-p"}

WHAT_TO_DO = {
    401: "set OPENAI_API_KEY (or the variable named by --api-key-env) to a key that it accepts",
    402: "the account behind the key has to be paid or topped up",
    403: "use a key that may use this model, or another model",
    404: "check --model, and that the base URL ends as the server wants (/v1); see `spct doctor`",
    405: "check the base URL; it should end as the server wants (/v1)",
    410: "the model or the route is gone; choose another with --model",
}

_NOT_TAKEN = re.compile(
    r"(un|not )support|(un|not )recogni[sz]ed|unknown|unexpected|extra_forbidden|extra (in|field)"
    r"|not permitted|not allowed|deprecated|only the default|cannot both be|instead",
    re.IGNORECASE,
)


class NRefused(Exception):
    """The endpoint does not take more than one completion per request."""


class FieldRefused(Exception):
    """The endpoint does not take a field that the call can do without, or takes it by a new name.

    `use` is that name; None leaves the field out.
    """

    def __init__(self, field: str, use: str | None, said: str) -> None:
        super().__init__(said)
        self.field, self.use = field, use


def failure(http: Http, url: str, fields: Mapping[str, object], is_new: bool) -> Failure | None:
    """Judge a reply's status: None for a 200, else a `Failure`, or an exception that ends the run.

    `fields` are what was asked for. `is_new` says that the endpoint has not answered well yet: a
    400 that names an optional field then means that it lacks it, so every call would fail.
    """
    if http.status == 200:
        return None
    if 200 < http.status < 300:
        inside = failure_in_200(replace(http, status=200), url, fields, is_new)
        return inside or Failure("garbage", f"answered {http.status}, expected 200")
    said = read_error(http.body)
    answer = f"answered {http.status}: {said.message!r}"
    kind = classify_status(http.status, http.headers)
    if http.status < 400:
        raise EndpointError(
            f"calling {url}: redirected ({http.status}) to {http.headers.get('location')!r}; "
            "redirects are not followed, since they would take the key along; if that is the right "
            "place, make it the base URL"
        )
    if http.status == 429 and TOO_LARGE.search(said.words):
        return Failure("final", f"calling {url}: {answer}")
    if http.status < 500 and UNPAID.search(said.words):
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[402]}")
    if kind == "final" and FILTERED.search(said.words):  # one prompt's fault, also as a 403
        return Failure("refused", f"calling {url}: {answer}")
    if _refuses_key(http.status, said):
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[401]}")
    if kind == "final" and http.status in WHAT_TO_DO:
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[http.status]}")
    if kind == "final" and http.status in (400, 413, 422):
        return _bad_request(said, f"calling {url}: {answer}", fields, is_new)
    wait_s = retry_after_s(http.headers)
    return Failure(kind, answer, said.wait_s if wait_s is None else wait_s)


def failure_in_200(
    http: Http, url: str, fields: Mapping[str, object], is_new: bool
) -> Failure | None:
    """What a 200 means whose body is an error, as gateways pass them on; None where it is none."""
    said = read_error(http.body)
    # what is no error object is a reply gone wrong: its text may be about limits, keys and lengths
    if not said.is_told and (len(http.body) > SHORT or http.body.lstrip()[:1] in (b"{", b"[")):
        return None
    status = said.status or (429 if LIMITED.search(said.words) else None)
    if any(words.search(said.words) for words in (OVERFLOW, BAD_KEY, UNPAID)):
        status = 400
    if status is None:
        return None
    found = failure(replace(http, status=status), url, fields, is_new)
    return found and replace(found, message=f"a 200 whose body {found.message}", is_passed_on=True)


def _refuses_key(status: int, said: ServerError) -> bool:
    """Whether a refused key is behind an error, whatever its status: no later call would pass.

    LiteLLM answers 400, MiniMax a 200, a proxy 500 for its vendor's 401. The page of a failing
    server is not read for such words, nor is what is said of a limit or an overflow.
    """
    if status == 429 or (status >= 500 and not said.is_told) or OVERFLOW.search(said.words):
        return False
    return BAD_KEY.search(said.words) is not None


def _bad_request(
    said: ServerError, what: str, fields: Mapping[str, object], is_new: bool
) -> Failure:
    if OVERFLOW.search(said.words):
        limit = fields.get("max_tokens", fields.get("max_completion_tokens"))
        raise ContextOverflow(
            f"{what}; the prompt and max_tokens={limit} do not fit the model's context; lower "
            "--max-tokens, shorten the responses, or use a model with a longer one"
        )
    if said.param == "model" or BAD_MODEL.search(said.words):
        raise EndpointError(f"{what}; {WHAT_TO_DO[404]}")
    if "n" in fields and (said.param == "n" or re.search(r"\bn\b|choice", said.message)):
        raise NRefused(said.message)
    grammar = next((name for name in GRAMMAR_FIELDS if name in fields), None)
    if grammar and (said.names(grammar) or re.search("grammar|guided|structured", said.message)):
        raise ConfigError(
            f"{what}; the endpoint refuses a grammar in the field {grammar!r}; set grammar_field "
            "to the one that it takes (structured_outputs: vLLM, ebnf: SGLang, grammar: "
            "llama.cpp), or sample without a grammar"
        )
    _check_fields(said, what, fields, is_new)
    return Failure("final", what)


def _check_fields(said: ServerError, what: str, fields: Mapping[str, object], is_new: bool) -> None:
    """Raise where the endpoint refuses a field of ours, with or without a way round it."""
    named = [f for f in OPTIONAL_FIELDS if f in fields and f == said.param]
    if not named and is_new:
        named = [f for f in OPTIONAL_FIELDS if f in fields and said.names(f)]
    if not named:
        return
    field = "top_p" if {"temperature", "top_p"} <= set(named) else named[0]
    if _NOT_TAKEN.search(said.words):
        if field == "max_tokens" and "max_completion_tokens" in said.message:
            raise FieldRefused(field, "max_completion_tokens", said.message)
        # top_p = 1 asks for nothing, so nothing is lost without it
        if field in DROPPABLE or (field == "top_p" and fields[field] == 1):
            raise FieldRefused(field, None, said.message)
    change = f"change it ({SETTING.get(field, '--' + field.replace('_', '-'))}), or "
    raise ConfigError(
        f"{what}; the endpoint seems to refuse the field {field!r}; "
        f"{'' if field in ('seed', 'stop') else change}leave it out: "
        f'extra_body = {{ {field} = "omit" }} under [engine] in the --config file'
    )
