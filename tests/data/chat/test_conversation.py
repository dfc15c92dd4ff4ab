"""One reader of chat messages: nothing that was said is dropped, nothing becomes an empty text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.data.chat.conversation import read_messages, read_response
from spct.errors import DataError


def turns(value, **kw):
    return [(m.role, m.content) for m in read_messages(value, **kw)]


@pytest.mark.parametrize(
    ("role", "ours"),
    [
        ("system", "system"), ("developer", "system"), ("user", "user"), ("human", "user"),
        ("USER", "user"), ("assistant", "assistant"), ("model", "assistant"),
        ("CHATBOT", "assistant"), ("gpt", "assistant"),
    ],
)  # fmt: skip
def test_roles_of_every_vendor(role, ours):
    assert turns([{"role": role, "content": "x"}]) == [(ours, "x")]
    assert turns([{"from": role, "value": "x"}]) == [(ours, "x")]


def test_a_text_is_a_user_turn_and_instructions_a_system_turn():
    assert turns("Hi") == [("user", "Hi")]
    assert turns("Hi", instructions="Be kind") == [("system", "Be kind"), ("user", "Hi")]


def test_calls_and_results_of_tools_are_shown():
    call = {"id": "1", "type": "function", "function": {"name": "w", "arguments": '{"a": 1}'}}
    said = turns(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
            {"role": "user", "content": "So?"},
        ]
    )
    assert said == [
        ("user", "Weather?"),
        ("assistant", 'Call of the tool w:\n{"a": 1}'),
        ("user", "Result of the tool w:\nsunny"),
        ("user", "So?"),
    ]


def test_older_and_other_vendors_tools():
    assert turns([{"role": "function", "name": "w", "content": "sunny"}]) == [
        ("user", "Result of the tool w:\nsunny")
    ]
    legacy = {"role": "assistant", "content": "", "function_call": {"name": "w", "arguments": "{}"}}
    assert turns([legacy]) == [("assistant", "Call of the tool w:\n{}")]
    anthropic = [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t", "name": "w", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sun"}],
        },
    ]
    assert turns(anthropic) == [
        ("assistant", 'Thought:\nhm\n\nI look.\n\nCall of the tool w:\n{"a": 1}'),
        ("user", "Result of the tool w:\nsun"),
    ]
    gemini = [
        {"role": "model", "parts": [{"functionCall": {"name": "w", "args": {}}}]},
        {"role": "function", "parts": [{"functionResponse": {"name": "w", "response": {"r": 1}}}]},
        {"role": "model", "parts": [{"text": "It is "}, {"text": "1."}]},
    ]
    assert [content for _, content in turns(gemini)] == [
        "Call of the tool w:\n{}",
        'Result of the tool w:\n{"r": 1}',
        "It is 1.",
    ]
    sharegpt = [{"from": "function_call", "value": "f()"}, {"from": "observation", "value": "42"}]
    assert turns(sharegpt) == [
        ("assistant", "Call of a tool:\nf()"),
        ("user", "Result of a tool:\n42"),
    ]


def test_items_of_the_responses_api_are_one_assistant_turn_until_a_result_comes():
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I must look."}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "1", "name": "w", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "sunny"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Sun"}],
        },
    ]
    assert turns(output) == [
        ("assistant", "Thought:\nI must look.\n\nCall of the tool w:\n{}"),
        ("user", "Result of the tool w:\nsunny"),
        ("assistant", "Sun"),
    ]
    whole = read_response({"output": output})
    assert whole.endswith("Result of the tool w:\nsunny\n\nSun") and "I must look." in whole


def test_two_messages_of_an_output_are_both_in_the_response():
    message = {"type": "message", "role": "assistant"}
    parts = [[{"type": "output_text", "text": t}] for t in ("One.", "Two.")]
    assert read_response([{**message, "content": p} for p in parts]) == "One.\n\nTwo."


def test_a_refusal_is_text():
    refused = {"role": "assistant", "content": None, "refusal": "I will not."}
    assert turns([refused]) == [("assistant", "I will not.")]
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert turns([part]) == [("assistant", "No.")]


@pytest.mark.parametrize("kind", ["image", "image_url", "input_image", "audio", "input_audio",
                                  "file", "input_file", "video", "hologram", None])  # fmt: skip
def test_what_a_judge_cannot_see_is_refused_by_role_and_part(kind):
    mixed = [{"type": "text", "text": "What is this?"}, {"type": kind, "image_url": {"url": "x"}}]
    with pytest.raises(DataError, match=rf"prompt\[0\]\.content\[1\].*user turn.*{kind!r}"):
        read_messages([{"role": "user", "content": mixed}], "prompt")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "assistant", "content": None}, "holds nothing"),
        ({"role": "assistant"}, "holds nothing"),
        ({"role": "user", "content": []}, "holds nothing"),
        ({"role": "wizard", "content": "x"}, "role: got 'wizard'"),
        ({"content": "x"}, "role: got None"),
        ({"role": ["user"], "content": "x"}, r"role: got \['user'\]"),
        ({"role": "user", "content": 7}, "content: got 7"),
        ({"role": "user", "content": "x", "images": ["a.png"]}, "'images'"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "with a name"),
        ({"role": "assistant", "content": None, "tool_calls": 7}, "tool_calls: got 7"),
        ({"type": "web_search_call", "id": "x"}, "web_search_call"),
        ("Hi", "expected a message"),
    ],
)
def test_a_broken_message_says_what_it_got(message, why):
    with pytest.raises(DataError, match=why):
        read_messages([message])


def test_an_empty_list_and_a_response_without_the_assistant_are_refused():
    with pytest.raises(DataError, match="no message"):
        read_messages([])
    with pytest.raises(DataError, match="no assistant turn"):
        read_response([{"role": "user", "content": "x"}])
    with pytest.raises(DataError, match="got None"):
        read_response(None)


def test_an_empty_text_on_purpose_stays_and_metadata_is_left_aside():
    assert turns([{"role": "assistant", "content": ""}]) == [("assistant", "")]
    kept = {"role": "user", "content": "x", "name": "p1", "id": 3, "annotations": [], "audio": None}
    assert turns([kept]) == [("user", "x")]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "name", "from", "output"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_any_json_is_read_or_a_data_error(value):
    for read in (read_messages, read_response):
        try:
            assert read(value) is not None
        except DataError:
            json.dumps(value)  # it was JSON all along: refused, not crashed


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_no_part_is_lost(texts):
    content = [{"type": "text", "text": text} for text in texts]
    assert turns([{"role": "user", "content": content}]) == [("user", "".join(texts))]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"role": "user", "content": "", "parts": [{"type": "text", "text": "a"}]}, "a"),  # AI SDK
        ({"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "a"}]},
         "Thought:\nhm\n\na"),
        ({"role": "model", "parts": [{"text": "a", "thoughtSignature": "x"}]}, "a"),
        ({"role": "assistant", "tool_plan": "look", "tool_calls": [{"function": {"name": "f"}}]},
         "Thought:\nlook\n\nCall of the tool f:\n"),
        ({"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"},
                                           {"type": "text", "text": "a"}]}, "a"),
        ({"type": "mcp_call", "name": "f", "arguments": "{}", "error": "gone"},
         "Call of the tool f:\n{}\n\nResult of a tool:\nError: gone"),
    ],
)  # fmt: skip
def test_what_a_vendor_says_beside_the_content_is_shown(message, shown):
    assert read_messages([message])[0].content == shown


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": "a", "image": "aGk=", "mimeType": "image/png"}]},
        {"content": [{"type": "text", "text": "a", "image_url": {"url": "u"}}]},
        {"content": "a", "attachments": [{"name": "f.txt"}]},
        {"content": "a", "experimental_attachments": [{"url": "u"}]},
    ],
)
def test_a_picture_or_a_file_beside_a_text_is_refused(message):
    with pytest.raises(DataError, match="cannot see it"):
        read_messages([{"role": "user", **message}])


def test_the_arena_writes_an_absent_picture_as_null():
    part = {"type": "text", "text": "a", "image": None, "mimeType": None}
    assert read_messages([{"role": "user", "content": [part]}])[0].content == "a"
