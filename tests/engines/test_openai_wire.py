"""Reading replies and error bodies: any bytes give completions, a named error, or garbage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.engines.openai.openai_errors import NRefused, failure, read_error
from spct.engines.openai.openai_wire import (
    FINISH_REASONS,
    GarbageReply,
    encode,
    read_reply,
    strict_json,
)
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


def reply_with(**choice: Any) -> Any:
    reply = chat_reply({**REQUEST, "n": 1, "logprobs": False})
    reply["choices"][0].update(choice)
    (completion,) = read_reply(json.dumps(reply).encode(), 1).completions
    return completion


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("stop eos eos_token end_turn stop_sequence STOP COMPLETE Completed", "stop"),
        ("length max_tokens MAX_TOKENS model_length max_output_tokens", "length"),
        ("FINISH_REASON_MAX_TOKENS model_context_window_exceeded", "length"),
        (
            "content_filter SAFETY RECITATION refusal guardrail_intervened sensitive",
            "content_filter",
        ),
        ("abort error tool_calls function_call insufficient_system_resource cancelled", "error"),
    ],
)
def test_the_finish_words_of_all_vendors_are_known(words: str, meaning: str) -> None:
    for word in words.split():
        assert reply_with(finish_reason=word).finish_reason == meaning, word


@pytest.mark.parametrize("word", [None, "", 0, False, [], {}])
def test_a_reply_that_does_not_say_how_it_ended_has_failed(word: object) -> None:
    completion = reply_with(finish_reason=word)
    assert completion.finish_reason == "error" and repr(word) in str(completion.error)


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm \\boxed{3, 8}"}]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([THOUGHT, {"type": "text", "text": "b"}], "b"),
        ([{"type": "output_text", "text": "a", "annotations": []}], "a"),
        (["a", "b"], "ab"),
        ([], ""),
    ],
)
def test_content_in_parts_is_read_and_a_thought_is_no_reply(content: Any, text: str) -> None:
    completion = reply_with(message={"role": "assistant", "content": content})
    assert completion.text == text and completion.finish_reason == "stop"


@pytest.mark.parametrize("content", [[THOUGHT], [THOUGHT, {"type": "text", "text": "\n"}]])
def test_a_thought_alone_has_failed(content: Any) -> None:
    completion = reply_with(message={"content": content})
    assert completion.finish_reason == "error" and "only reasoning" in str(completion.error)


@pytest.mark.parametrize("part", [{"type": "image_url"}, {"type": "text"}, 7, None, {}, []])
def test_a_part_that_is_not_known_fails_its_reply_by_name(part: Any) -> None:
    completion = reply_with(message={"content": [{"type": "text", "text": "a"}, part]})
    assert completion.finish_reason == "error" and "unknown type" in str(completion.error)


@pytest.mark.parametrize("bad", [-1, 2**53 + 1, 2**63, 10**400, "10", None, 1.5, True, [], {}])
def test_a_count_that_no_request_can_have_counts_as_none(bad: object) -> None:
    body = chat_reply({**REQUEST, "logprobs": False})
    body["usage"] = {"prompt_tokens": bad, "completion_tokens": 7}
    reply = read_reply(json.dumps(body).encode(), 3)
    assert not reply.has_usage and reply.usage.prompt_tokens == 0
    assert sum(c.usage.completion_tokens for c in reply.completions) == 7


OVERFLOWS = (Path(__file__).parent / "overflows.txt").read_text("utf-8").splitlines()


@pytest.mark.parametrize("line", OVERFLOWS, ids=lambda line: line[:24])
def test_a_prompt_that_does_not_fit_is_known_in_every_servers_words(line: str) -> None:
    said = line.partition(": ")[2]
    for body in ({"error": {"message": said}}, [{"error": {"message": said}}], {"error": said}):
        http = Http(400, {}, json.dumps(body).encode())
        with pytest.raises(ContextOverflow):
            failure(http, "http://h", {"max_tokens": 9, "temperature": 0.5, "n": 2}, is_new=True)


@pytest.mark.parametrize(
    "said",
    [
        "temperature must be at most 2",
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
        "Invalid value for 'stop'",
        "unprocessable",
    ],
)
def test_other_refusals_are_not_taken_for_a_long_prompt(said: str) -> None:
    http = Http(400, {}, json.dumps({"error": {"message": said}}).encode())
    try:
        failure(http, "http://h", {"max_tokens": 9, "temperature": 0.5, "stop": ["x"]}, is_new=True)
    except SpctError as error:
        assert not isinstance(error, ContextOverflow)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_filtered_prompt_is_refused_and_does_not_end_the_run(status: int) -> None:
    said = "Your chosen model requires moderation and your input was flagged for harm"
    http = Http(status, {}, json.dumps({"error": {"message": said, "code": status}}).encode())
    found = failure(http, "http://h", {}, is_new=True)
    assert found is not None and found.kind == "refused"


def test_a_misshapen_choice_fails_alone_and_its_siblings_count() -> None:
    good = {"finish_reason": " Stop ", "message": {"content": {"type": "text", "text": "fine"}}}
    odd = [None, {"finish_reason": "stop"}, {"finish_reason": "stop", "message": {"content": 7}}]
    for bad in odd:
        reply = read_reply(json.dumps({"choices": [bad, good]}).encode(), 2)
        assert [c.finish_reason for c in reply.completions] == ["error", "stop"]
        assert reply.completions[1].text == "fine"
        with pytest.raises(GarbageReply):
            read_reply(json.dumps({"choices": [bad, bad]}).encode(), 2)
