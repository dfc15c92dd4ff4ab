"""What an endpoint's error body says, in the shapes and words of vendors. Pure.

Only what the server says of itself is read: where it repeats the request, that part is left out, so
that a prompt about API keys or rate limits is never taken for the server's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spct.engines.openai.openai_wire import KEPT_BYTES, GarbageReply, strict_json
from spct.engines.retry import LONGEST_WAIT_S

# The words of vLLM, SGLang, llama.cpp, TGI, LM Studio, Ollama, TensorRT-LLM, LMDeploy, TabbyAPI and
# of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Cohere, xAI, Moonshot, Zhipu, DashScope, MiniMax.
OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size|limit)|prompt (is )?too long|(prompt|input) length"
    r"|input is too long|input (token count|tokens) .{0,40}exceed"
    r"|maximum number of tokens allowed|too large for model|too many tokens: size limit"
    r"|exceeded model token limit|prompt exceeds|range of input length|max_(input_len|num_tokens)\b"
    r"|max_seq_len|session_len|`inputs` (tokens|must have less)|context overflow"
    r"|request too large .{0,200}reduce your message size|max.{0,20} (context|model length)",
    re.IGNORECASE | re.DOTALL,
)
# Of OpenAI, Azure and Groq, as a 429: a request above the limit of a whole minute never passes.
TOO_LARGE = re.compile(
    r"request too large|(input|output) tokens must be reduced|reduce your message size",
    re.IGNORECASE,
)
# Of all of the above and of OpenRouter, Together, Hugging Face, Azure, Databricks, watsonx, Baidu,
# Tencent, iFlytek, One-API, Kong and LiteLLM: a key that is missing, wrong or no longer good.
_KEY = (
    r"(?:(?:x-)?(?:api|access|subscription|secret)[ _-]?(?:key|token|id)"
    r"|auth(?:entication|ori[sz]ation)? (?:token|key|header|credentials?)"
    r"|iam[ _-]token|bearer token|credentials?)"
)
_NOT_GOOD = (
    r"(?:incorrect|invalid|illegal|wrong|missing|expired|revoked|malformed"
    r"|not (?:valid|found|provided|supplied)|(?:does not|doesn't) exist|no longer valid)"
)
BAD_KEY = re.compile(
    rf"(?:\b(?:no|unknown)|{_NOT_GOOD})[ _-]?(?:\w+ )?{_KEY}\b|\b{_KEY}s?\b.{{0,30}}{_NOT_GOOD}"
    r"|authentication[ _]?error|authori[sz]ed_error|unauthori[sz]ed|unauthenticated|authfailure"
    r"|not authenticated|invalid[ _]authentication|login fail|failed to authenticate"
    r"|authenti\w+ (?:has )?fail|authentication (?:is )?required"
    r"|invalid (?:user ?name or )?password|security token .{0,40}(?:invalid|expired)"
    r"|(?:certification|licc) fail|appidnoauth|hmac (?:signature|secret)|secretid is not found"
    r"|authentication_token_not_valid|carry the api secret key|invalid proxy server token"
    r"|token_not_found_in_db|^(?:auth_error|invalid_?api_?key|api_?key_?invalid)$"
    r"|^(?:(?:invalid|illegal|expired) token|token (?:is )?(?:expired|invalid|incorrect))\b"
    r"(?! (?:id|count|at|in)\b)"
    r"|(?:无效的|未提供|过期的)令牌|令牌.{0,6}(?:无效|过期|不可用)|身份验证失败|无法进行身份验证|鉴权失败|认证失败"
    r"|authorization token(?:非法|过期)|密钥.{0,6}(?:无效|错误|不存在|过期)|无效的(?:api|密钥)",
    re.IGNORECASE | re.MULTILINE,
)
BAD_MODEL = re.compile(
    r"invalid model name|model.?not.?found|no such model|unknown model|unsupported model"
    r"|\bmodel\b.{0,200}(not exist|not found|is not (available|supported))"
    r"|no healthy deployments",
    re.IGNORECASE | re.DOTALL,
)
# Of OpenAI, Anthropic, DeepSeek, Moonshot, xAI, OpenRouter, Together, MiniMax, Zhipu, DashScope,
# Volcengine: a quota that is paid for and used up. A limit per minute or day is not one of them.
UNPAID = re.compile(
    r"insufficient.?(quota|balance|credit|funds)|balance is (insufficient|too low)"
    r"|exceeded.?(your )?current.?quota|credit balance|billing.{0,6}limit|spending limit"
    r"|credit limit exceeded|(out of|no|used all|run out of)( \w+){0,3} credits|payment required"
    r"|arrearage|account.?overdue|overdue.?(payment|balance|bill)|欠费|余额不足",
    re.IGNORECASE,
)
LIMITED = re.compile(
    r"(rate|qps|requests?|concurrency|quota).{0,12}(limit|exceeded)|too many (concurrent )?requests"
    r"|overloaded|resource.?exhausted|throttl|at capacity|限流|限速|并发",
    re.IGNORECASE,
)
FILTERED = re.compile(
    r"content.?(filter|policy|management policy)|flagged|moderation|safety system", re.IGNORECASE
)

_INNER = ("error", "errors", "base_resp", "Error")  # Cloudflare's list, MiniMax's and Tencent's
_WORDS = ("message", "detail", "error_msg", "status_msg", "msg", "Message", "title")
_CODES = ("code", "type", "status", "status_code", "statusCode", "error_code", "Code", "http_code")
_ECHO = re.compile(
    r"""(['"])input\1:\s*(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL
)  # of pydantic, as vLLM hands it on
_WAITS = {"retry_after": 1.0, "retry_after_seconds": 1.0, "retrydelay": 1.0, "estimated_time": 1.0,
          "retry_after_ms": 1e-3, "wait_seconds": 1.0}  # fmt: skip
_WAIT = re.compile(
    r"(?:try again|retry|wait)(?: (?:in|after|for))?:? (?:(\d{1,4})h)?(?:(\d{1,4})m(?!s))?"
    r"(?:(\d{1,6}(?:\.\d{1,9})?)\s*(ms|milliseconds?|s\b|sec|seconds?))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ServerError:
    """What the body of an error says, in the server's own words.

    `is_told` is False where no field held the words, and the message is the raw body. `wait_s` is
    the wait that the body asks for, in seconds.
    """

    message: str
    code: str = ""
    param: str = ""
    status: int | None = None  # where the body itself holds one
    is_told: bool = True
    wait_s: float | None = None

    @property
    def words(self) -> str:
        """Everything that says what went wrong."""
        return f"{self.code}\n{_ECHO.sub('', self.message)}"

    def names(self, field: str) -> bool:
        """Whether it is about this request field."""
        return field == self.param or bool(re.search(rf"\b{re.escape(field)}\b", self.message))


def read_error(body: bytes) -> ServerError:
    """Find message, code, parameter and wait in the shapes of endpoints; else the raw text."""
    raw = body[:KEPT_BYTES].decode("utf-8", "replace").strip() or "(an empty body)"
    try:
        found = strict_json(body)
    except GarbageReply:
        return ServerError(raw, is_told=False)
    if isinstance(found, list) and len(found) == 1:  # Gemini's
        found = found[0]
    fields = _fields(found)
    message = next((said for name in _WORDS if (said := _said(fields.get(name)))), "")
    codes = [str(fields[name]) for name in _CODES if fields.get(name)]
    codes = [code.removesuffix(".0") for code in codes]
    return ServerError(
        (message or raw)[:KEPT_BYTES],
        next((code for code in codes if not code.isdigit()), ""),
        str(fields.get("param") or ""),
        next((int(c) for c in codes if c.isdigit() and len(c) == 3 and c >= "400"), None),
        bool(message),
        _wait_s(fields, message),
    )


def _fields(found: Any) -> dict[str, Any]:
    """The fields of the error, those around it for what it lacks."""
    if not isinstance(found, dict):
        return {"message": found}
    around = found
    if isinstance(found.get("Response"), dict):
        found = found["Response"]
    inner = next((found[name] for name in _INNER if found.get(name)), None)
    if isinstance(inner, list) and inner:
        inner = inner[0]
    if isinstance(inner, dict):
        return {**around, **inner}
    return around if inner is None else {**around, "message": inner}


def _said(value: object) -> str:
    """The text of a field; of a list of complaints what each says, and of which field."""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list):
        return ""
    told = []
    for one in value:
        if isinstance(one, dict) and isinstance(one.get("msg"), str):
            place = one.get("loc")
            where = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
            told.append(where + one["msg"])
    return "; ".join(told)


def _wait_s(fields: Any, message: str) -> float | None:
    """The wait that a body asks for, in seconds: in a field, however deep, or in words."""
    for name, value in _pairs(fields):
        unit = _WAITS.get(name.lower().replace("-", "_"))
        number = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*s?\s*", str(value))
        if unit is not None and number:
            return _sane(float(number[1]) * unit)
    for found in _WAIT.finditer(message):
        hours, minutes, rest, unit_said = found.groups()
        if hours or minutes or rest:
            small = float(rest or 0) * (1e-3 if (unit_said or "").lower().startswith("m") else 1)
            return _sane(3600 * float(hours or 0) + 60 * float(minutes or 0) + small)
    return None


def _sane(seconds: float) -> float | None:
    return seconds if seconds <= LONGEST_WAIT_S else None


def _pairs(value: Any, depth: int = 5) -> Iterator[tuple[str, Any]]:
    """Every named scalar in a body, a few levels deep."""
    if depth and isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _pairs(inner, depth - 1)
            else:
                yield name, inner
    elif depth and isinstance(value, list):
        for inner in value[:20]:
            yield from _pairs(inner, depth - 1)
