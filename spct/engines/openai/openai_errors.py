"""What a chat endpoint's HTTP status and error body mean for a run. Pure.

Three outcomes: this call may be tried again or not (`Failure`), the run cannot go on (an exception
with the server's own words and what to do), or, for a good 200, neither. Two exceptions stay inside
the engine: `NRefused` and `FieldRefused` say what the endpoint does not take, and the engine asks
again without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from spct.engines.openai.openai_wire import GRAMMAR_FIELDS, KEPT_BYTES, GarbageReply, strict_json
from spct.engines.retry import Failure, classify_status, retry_after_s
from spct.engines.transport import Http
from spct.errors import ConfigError, ContextOverflow, EndpointError

OPTIONAL_FIELDS = (
    *("seed", "stop", "logprobs", "top_logprobs", "temperature", "top_p", "max_tokens"),
    "max_completion_tokens",
)
# What may be left out with a warning: the endpoint then uses its own value, and the run goes on.
DROPPABLE = frozenset({"seed", "temperature"})
SETTING = {"logprobs": "--top-logprobs", "top_logprobs": "--top-logprobs", "top_p": "--top-p"}

WHAT_TO_DO = {
    401: "set OPENAI_API_KEY (or the variable named by --api-key-env) to a key that it accepts",
    402: "the account behind the key has to be paid or topped up",
    403: "use a key that may use this model, or another model",
    404: "check --model, and that the base URL ends as the server wants (/v1); see `spct doctor`",
    405: "check the base URL; it should end as the server wants (/v1)",
    410: "the model or the route is gone; choose another with --model",
}

# The words of vLLM, SGLang, llama.cpp, TGI, LM Studio, Ollama, TensorRT-LLM, LMDeploy, TabbyAPI and
# of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Cohere, xAI, Moonshot, Zhipu, DashScope, MiniMax.
_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size|limit)|prompt (is )?too long|(prompt|input) length"
    r"|input is too long|input (token count|tokens) .{0,40}exceed"
    r"|maximum number of tokens allowed|too large for model|too many tokens: size limit"
    r"|exceeded model token limit|prompt exceeds|range of input length|max_(input_len|num_tokens)\b"
    r"|max_seq_len|session_len|`inputs` (tokens|must have less)|context overflow"
    r"|request too large .{0,200}reduce your message size|max.{0,20} (context|model length)",
    re.IGNORECASE | re.DOTALL,
)
_BAD_KEY = re.compile(
    r"authentication ?error|(incorrect|invalid|no|missing) api.?key|api key not valid"
    r"|unauthori[sz]ed|invalid proxy server token|token_not_found_in_db"
    r"|^(auth_error|invalid_api_key)$",
    re.IGNORECASE | re.MULTILINE,
)
_BAD_MODEL = re.compile(
    r"invalid model name|model.?not.?found|no such model|unknown model|unsupported model"
    r"|\bmodel\b.{0,200}(not exist|not found|is not (available|supported))"
    r"|no healthy deployments",
    re.IGNORECASE | re.DOTALL,
)
_LIMITED = re.compile(
    r"rate.?limit|too many requests|overloaded|resource.?exhausted", re.IGNORECASE
)
_FILTERED = re.compile(
    r"content.?(filter|policy|management policy)|flagged|moderation|safety system", re.IGNORECASE
)
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


@dataclass(frozen=True, slots=True)
class ServerError:
    """What the body of an error says, in the server's own words."""

    message: str
    code: str = ""
    param: str = ""
    status: int | None = None  # where the body itself holds one

    @property
    def words(self) -> str:
        """Everything that says what went wrong."""
        return f"{self.code}\n{self.message}"

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
    if isinstance(found, list) and len(found) == 1:  # Gemini's
        found = found[0]
    if isinstance(found, dict):
        found = found.get("error") or found
    fields = found if isinstance(found, dict) else {"message": found}
    words = (fields.get("message"), fields.get("detail"), raw)
    codes = [c for c in (fields.get("code"), fields.get("type"), fields.get("status")) if c]
    return ServerError(
        next(word for word in words if isinstance(word, str) and word.strip())[:KEPT_BYTES],
        next((code for code in codes if isinstance(code, str) and not code.isdigit()), ""),
        str(fields.get("param") or ""),
        next((int(c) for c in codes if str(c).isdigit() and 400 <= int(c) < 600), None),
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
    if kind == "final" and _FILTERED.search(said.words):  # one prompt's fault, also as a 403
        return Failure("refused", f"calling {url}: {answer}")
    if kind == "final" and http.status in WHAT_TO_DO:
        raise EndpointError(f"calling {url}: {answer}; {WHAT_TO_DO[http.status]}")
    if kind == "final" and http.status in (400, 413, 422):
        return _bad_request(said, f"calling {url}: {answer}", fields, is_new)
    return Failure(kind, answer, retry_after_s(http.headers))


def failure_in_200(
    http: Http, url: str, fields: Mapping[str, object], is_new: bool
) -> Failure | None:
    """What a 200 without choices means if its body is an error, as gateways pass them on."""
    said = read_error(http.body)
    status = said.status or (429 if _LIMITED.search(said.words) else None)
    if _OVERFLOW.search(said.words) or _BAD_KEY.search(said.words):
        status = 400
    if status is None:
        return None
    found = failure(replace(http, status=status), url, fields, is_new)
    return found and replace(found, message=f"a 200 whose body {found.message}")


def _bad_request(
    said: ServerError, what: str, fields: Mapping[str, object], is_new: bool
) -> Failure:
    if _OVERFLOW.search(said.words):
        limit = fields.get("max_tokens", fields.get("max_completion_tokens"))
        raise ContextOverflow(
            f"{what}; the prompt and max_tokens={limit} do not fit the model's context; lower "
            "--max-tokens, shorten the responses, or use a model with a longer one"
        )
    # LiteLLM's proxy answers 400 where others answer 401 or 404
    if _BAD_KEY.search(said.words):
        raise EndpointError(f"{what}; {WHAT_TO_DO[401]}")
    if said.param == "model" or _BAD_MODEL.search(said.words):
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
