"""Reading replies and error bodies: any bytes give completions, a named error, or garbage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.engines.openai.errors import NRefused, failure, read_error
from spct.engines.openai.wire import FINISH_REASONS, GarbageReply, encode, read_reply, strict_json
from spct.engines.transport import Http
from spct.errors import ContextOverflow, SpctError
from tests.engines.fault_server import chat_reply

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": "q"}],
    "n": 3,
    "logprobs": True,
    "top_logprobs": 2,
}
PATHS = [
    ("choices",),
    ("usage",),
    ("model",),
    ("usage", "prompt_tokens"),
    ("choices", 0),
    ("choices", 1, "index"),
    ("choices", 1, "message"),
    ("choices", 1, "message", "content"),
    ("choices", 1, "message", "refusal"),
    ("choices", 1, "message", "reasoning"),
    ("choices", 1, "finish_reason"),
    ("choices", 1, "logprobs"),
    ("choices", 1, "logprobs", "content"),
    ("choices", 1, "logprobs", "content", 0),
    ("choices", 1, "logprobs", "content", 0, "logprob"),
    ("choices", 1, "logprobs", "content", 0, "token"),
    ("choices", 1, "logprobs", "content", 0, "top_logprobs"),
    ("choices", 1, "logprobs", "content", 0, "top_logprobs", 0),
]


@given(st.binary(max_size=300) | values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_garbage_or_a_reply(body: bytes) -> None:
    try:
        reply = read_reply(body, 1)
    except GarbageReply as error:
        assert str(error)
    else:
        assert len(reply.completions) == 1


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=25)  # a place
@given(value=values)
def test_any_value_in_any_place_of_a_reply_is_survived(
    path: tuple[str | int, ...], value: object
) -> None:
    reply: Any = chat_reply(REQUEST)
    place = reply
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        read = read_reply(json.dumps(reply).encode(), 3)
    except GarbageReply:
        return
    assert 1 <= len(read.completions) <= 3
    for completion in read.completions:
        assert isinstance(completion.text, str) and "\ud800" not in completion.text
        assert completion.finish_reason in {*FINISH_REASONS.values(), "error"}
        assert (completion.finish_reason == "error") == (completion.error is not None)
        assert completion.usage.prompt_tokens >= 0 and completion.usage.completion_tokens >= 0
        completion.text.encode("utf-8")


@given(values)
def test_strict_json_reads_what_was_written_or_refuses(value: object) -> None:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        read = strict_json(body)
    except GarbageReply:
        return
    assert json.dumps(read, sort_keys=True) == json.dumps(value, sort_keys=True)


def test_surrogate_pairs_are_whole_characters() -> None:
    assert strict_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@given(st.binary(max_size=300) | values.map(lambda v: json.dumps(v).encode()))
def test_any_error_body_gives_a_bounded_message(body: bytes) -> None:
    said = read_error(body)
    assert said.message and len(said.message) <= 2000


@given(
    st.integers(200, 599),
    st.dictionaries(st.sampled_from(["retry-after", "x-should-retry", "location"]), st.text()),
    values.map(lambda v: json.dumps({"error": v}).encode()),
    st.booleans(),
)
def test_any_status_is_a_failure_or_an_error_of_ours(
    status: int, headers: dict[str, str], body: bytes, is_new: bool
) -> None:
    try:
        found = failure(Http(status, headers, body), "http://h", REQUEST, is_new)
    except (SpctError, NRefused) as error:
        assert status >= 300 and str(error)
    else:
        assert (found is None) == (status == 200)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9 ...", 400),
        ("'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context "
         "length is 512 tokens and your request has 20 input tokens", 400),
        ("You passed 9000 input tokens and requested 10 output tokens. However, the model's "
         "context length is only 8192 tokens", 400),
        ("Requested token count exceeds the model's maximum context length of 4096 tokens.", 400),
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 400),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 400),
        ("prompt is too long: 210000 tokens > 200000 maximum", 400),
        ("too many tokens", "context_length_exceeded"),
    ],
)  # fmt: skip
def test_the_words_of_every_engine_for_an_overflow_are_known(message: str, code: object) -> None:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    with pytest.raises(ContextOverflow):
        failure(Http(400, {}, body), "http://h", {"max_tokens": 10}, False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no", "code": 401}}',
        b'{"object": "error", "message": "no", "code": 400}',
        b'{"error": "no"}',
        b'{"detail": "no"}',
        b"no",
    ],
)
def test_error_bodies_of_several_shapes_give_the_message(body: bytes) -> None:
    assert read_error(body).message == "no"


def test_extra_fields_win_and_none_removes_a_field() -> None:
    sent = json.loads(encode({"seed": 1, "top_p": 0.5, "x": 1}, {"seed": None, "top_p": 0.9}))
    assert sent == {"top_p": 0.9, "x": 1}
