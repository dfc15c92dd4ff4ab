"""Error bodies as vendors write them: what they mean, which wait they ask for, what stops a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spct.engines.openai.openai_errors import failure, failure_in_200
from spct.engines.openai.vendors import read_error
from spct.engines.retry import Failure
from spct.engines.transport import Http
from spct.errors import ContextOverflow, EndpointError


def meaning(body: Any, status: int = 200) -> str:
    """The kind of failure, or "nothing"."""
    found = judged(body, status)
    return found.kind if found else "nothing"


def judged(body: Any, status: int = 200) -> Failure | None:
    packed = body if isinstance(body, bytes) else json.dumps(body).encode()
    judge = failure_in_200 if status == 200 else failure
    return judge(Http(status, {}, packed), "http://h", {}, True)


LIMITS: list[tuple[Any, float | None]] = [
    ({"error": {"message": "Provider returned error", "code": 429}}, None),
    ({"error": {"message": "x", "code": 429.0, "metadata": {"headers": {"Retry-After": "7"}}}}, 7),
    ({"error": {"message": "Rate limit reached for gpt. Please try again in 1m2.5s."}}, 62.5),
    ({"error": {"message": "Rate limit reached. Please try again in 250ms.", "code": "x"}}, 0.25),
    ({"error": {"message": "Rate limit reached. Please try again in 7m12s."}}, None),
    ({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 12 seconds."}, 12),
    ({"error": "Too Many Requests", "code": "429", "retry_after_ms": 1500}, 1.5),
    ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded",
                 "details": [{"@type": "RetryInfo", "retryDelay": "34s"}]}}], 34),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None}, None),
    ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, None),
    ({"code": "Throttling.RateQuota", "message": "Requests throttled"}, None),
    ({"success": False, "errors": [{"code": 10429, "message": "Too many requests"}]}, None),
    ({"Response": {"Error": {"Code": "LimitExceeded", "Message": "Request limit exceeded"}}}, None),
    ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, None),
    (b"Too many requests, slow down", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wait_s"), LIMITS)
def test_a_rate_limit_inside_a_200_is_one_and_its_wait_is_read(
    body: Any, wait_s: float | None
) -> None:
    found = judged(body)
    assert found is not None and found.kind == "rate_limited" and found.is_passed_on
    assert found.wait_s == wait_s


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        {"error": {"message": "Insufficient credits. Add more", "code": 402}},
        {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
        {"error": {"type": "exceeded_current_quota_error", "message": "check your plan"}},
        {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}},
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        {"code": "Arrearage", "message": "Access denied, please make sure your account is in good"},
        {"code": "x", "error": "Your team has either used all available credits or reached its"},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 429])
def test_a_quota_that_is_used_up_is_no_rate_limit_and_stops_the_run(body: Any, status: int) -> None:
    with pytest.raises(EndpointError, match="paid or topped up"):
        meaning(body, status)


KEYS: list[Any] = [
    {"base_resp": {"status_code": 1004, "status_msg": "login fail: Please carry the API secret key "
     "in the 'Authorization' field of the request header"}, "choices": None},
    {"type": "error", "error": {"type": "authorized_error", "message": "login fail (1004)",
     "http_code": "401"}},
    {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}},
    {"error": {"code": "401", "message": "token expired or incorrect"}},
    {"error": {"code": "1000", "message": "身份验证失败。"}},
    {"error": {"message": "无效的令牌 (request id: x)", "type": "new_api_error"}},
    {"code": "InvalidApiKey", "message": "Invalid API-key provided."},
    {"error_code": 110, "error_msg": "Access token invalid or no longer valid"},
    {"error_code": 14, "error_msg": "IAM Certification failed"},
    {"Response": {"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "The SecretId is "
     "not found, please ensure that your SecretId is correct."}}},
    {"header": {"code": 11200}, "message": "HMAC secret key does not match"},
    {"error": {"code": "AuthenticationError", "message": "The API key doesn't exist."}},
    {"error": {"type": "invalid_authentication_error", "message": "Invalid Authentication"}},
    {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
    {"error": {"status": "UNAUTHENTICATED", "message": "Request had invalid authentication "
     "credentials. Expected OAuth 2 access token."}},
    {"error": {"status": "INVALID_ARGUMENT", "message": "API key expired. Please renew it."}},
    {"message": "The security token included in the request is invalid."},
    {"message": "invalid api token"},
    {"message": "No API key found in request"},
    {"error": "Invalid username or password."},
    {"error": {"message": "No auth credentials found", "metadata": {}}},
    {"statusCode": 0, "message": "Access denied due to invalid subscription key."},
    {"error": {"code": "invalid_api_key", "message": "no"}},
    {"errors": [{"code": "authentication_token_not_valid", "message": "Failed to authenticate"}]},
    {"detail": "Not authenticated"},
    {"error": {"message": "litellm.AuthenticationError: OpenAIException", "code": "x"}},
    b"Unauthorized",
]  # fmt: skip


@pytest.mark.parametrize("body", KEYS, ids=str)
@pytest.mark.parametrize("status", [200, 202, 400, 403, 406, 422, 500])
def test_a_refused_key_stops_the_run_in_whatever_words_and_status(body: Any, status: int) -> None:
    if status == 500 and isinstance(body, bytes):
        assert meaning(body, status) == "server", "the page of a failing server is not believed"
        return
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        meaning(body, status)


@pytest.mark.parametrize(
    "said",
    [
        "Invalid token id 50300 in the prompt",
        "Invalid token at position 7 of the grammar",
        "Missing required parameter: 'messages[0].content'",
        "the prompt has no tokens left for a reply",
        "an invalid key 'api' in the body",
        "No tool named access was found",
        "The server had an error while processing your request",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_other_keys_and_tokens_are_not_the_api_key(said: str, status: int) -> None:
    assert meaning({"error": {"message": said}}, status) == ("final" if status == 400 else "server")


TALK = "Response 1 hits the rate limit: too many requests. Incorrect API key, prompt is too long."


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"choices": [{"message": {"content": TALK}}]})[:-3].encode(),  # cut short
        {"choices": [{"message": {"content": [TALK]}}]},
        {"id": "x", "choices": [], "prompt": TALK},
        [{"text": TALK}, {"text": TALK}],
        (TALK * 10).encode(),
        {"detail": [{"loc": ["body", "n"], "msg": "wrong", "input": TALK}]},
    ],
)
def test_what_a_reply_talks_of_is_not_what_the_endpoint_complains_of(body: Any) -> None:
    assert meaning(body) == "nothing"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "messages"], "msg": "wrong", "input": TALK}]},
        {"error": {"message": f"1 validation error: {{'loc': ('body',), 'input': {TALK!r}}}"}},
    ],
)
def test_what_a_refusal_repeats_of_the_prompt_does_not_count(body: Any) -> None:
    assert meaning(body, 400) == "final"


def test_a_list_of_complaints_is_told_in_words() -> None:
    body = {"detail": [{"loc": ["body", "n"], "msg": "must be 1"}, {"msg": "no"}]}
    assert read_error(json.dumps(body).encode()).message == "body.n: must be 1; no"


def test_a_prompt_that_is_too_long_is_known_inside_a_200_of_any_shape() -> None:
    for body in ({"detail": "prompt is too long"}, {"error": "prompt is too long"}):
        with pytest.raises(ContextOverflow):
            judged(body)


@pytest.mark.parametrize("status", [200, 429])
def test_a_request_above_the_limit_of_a_whole_minute_is_not_waited_for(status: int) -> None:
    said = (
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 42000. The "
        "input or output tokens must be reduced in order to run successfully."
    )
    body = {"error": {"message": said, "type": "tokens", "code": "rate_limit_exceeded"}}
    assert meaning(body, status) == "final"
