"""Log probabilities as servers write them: aligned, added up, floored; impossible ones refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.engines.openai.logprobs import FLOOR, BadLogprobs, read_logprobs
from spct.engines.openai.openai_wire import read_reply
from spct.text.format import POINTWISE
from spct.types import Judgement
from tests.engines.fault_server import as_json

TOKENS = ["Analysis:\n", "fine", "\n\n", "Scores:", " \\boxed{", "8", ",", " 3", "}"]
TEXT = "".join(TOKENS)


def entry(token: str, logprob: object = -0.1, tops: Any = None, **more: object) -> dict[str, Any]:
    tops = [(token, logprob)] if tops is None else tops
    return {
        "token": token,
        "logprob": logprob,
        "top_logprobs": [{"token": t, "logprob": x} for t, x in tops],
        **more,
    }


def content(tokens: list[str] = TOKENS, tops: Any = None, **more: Any) -> dict[str, Any]:
    return {"content": [entry(t, tops=tops if t == "8" else None, **more) for t in tokens]}


def read(logprobs: Any, text: str = TEXT) -> Any:
    """What the judge makes of a whole reply with these log probabilities."""
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
    body = as_json({"choices": [choice]}).body
    return POINTWISE.read(read_reply(body, 1).completions[0], (0, 1))


def expected(logprobs: Any, text: str = TEXT) -> tuple[float, ...] | None:
    outcome = read(logprobs, text)
    assert isinstance(outcome, Judgement), outcome
    return outcome.expected


@pytest.mark.parametrize(
    "before",
    [["<think>", "\nhmm 8, 3", "\n</think>\n\n"], ["8", ",", " 3", "</think>"], ["", "\n"]],
)
@pytest.mark.parametrize("after", [[], ["<|im_end|>"], ["\n", "</s>"]])
def test_tokens_of_the_thought_and_of_the_end_are_left_out(
    before: list[str], after: list[str]
) -> None:
    tokens = read_logprobs(content(before + TOKENS + after), TEXT)
    assert tokens is not None and "".join(t.token for t in tokens) == TEXT
    assert expected(content(before + TOKENS + after)) == pytest.approx((8, 3))


def test_a_text_that_the_tokens_do_not_spell_has_no_expectation() -> None:
    assert expected(content([f"token_id:{i}" for i in range(9)])) is None


def test_bytes_say_what_a_token_stands_for() -> None:
    named = content()
    for one, token in zip(named["content"], TOKENS, strict=True):
        for part in (one, *one["top_logprobs"]):
            part |= {"token": token.replace(" ", "Ġ").replace("\n", "Ċ")}
            part |= {"bytes": list(token.encode())}
    named["content"].append(entry("<|im_end|>", bytes=[]))
    assert expected(named) == pytest.approx((8, 3))


def test_a_character_of_several_tokens_is_placed_by_its_bytes() -> None:
    pieces = [b"\xe2\x80", b"\x9c", *(t.encode() for t in TOKENS)]
    value = {"content": [entry(f"?{i}", bytes=list(p)) for i, p in enumerate(pieces)]}
    tokens = read_logprobs(value, "\u201c" + TEXT)
    assert tokens is not None and len(tokens) == len(pieces)
    assert [t.token for t in tokens[2:]] == TOKENS


@pytest.mark.parametrize(
    "tops",
    [
        [("8", -0.5), ("9", -0.95), ("9", -9.0)],
        [("9", -9.0), ("8", -0.5), ("9", -0.95)],
        [("8", -0.5), ("9", -0.95), ("8", -9.0)],
        [("8", -0.5), ("8", -0.5), ("9", -0.95), ("9", -0.95)],  # listed twice: above 1 if added
    ],
)
def test_spellings_of_one_token_add_up(tops: list[tuple[str, float]]) -> None:
    first, _ = expected(content(tops=tops)) or (0.0, 0.0)
    assert first == pytest.approx(
        8 + math.exp(-0.95) / (math.exp(-0.5) + math.exp(-0.95)), abs=1e-3
    )


@pytest.mark.parametrize("zero", [None, -9999.0, -9999, -1e30])
def test_a_probability_of_zero_has_many_names(zero: object) -> None:
    assert expected(content(tops=[("8", -0.1), ("9", zero)])) == pytest.approx((8, 3))
    tokens = read_logprobs(content(tops=[("8", zero)]), TEXT)
    assert tokens is not None and tokens[5].top == {"8": FLOOR}


def test_minus_infinity_that_python_servers_write_is_zero_and_a_text_keeps_its_own() -> None:
    text = 'so "logprob": -Infinity it is\n' + TEXT
    logprobs = content([text[: -len(TEXT)], *TOKENS], tops=[("8", -0.1), ("9", -math.inf)])
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
    (completion,) = read_reply(as_json({"choices": [choice]}).body, 1).completions
    assert completion.text == text and completion.logprobs is not None
    assert completion.logprobs[6].top["9"] == FLOOR


@pytest.mark.parametrize("value", ["1e999", "-1e999", "-0.1", 1000, 0.5, True, [], {}, "NaN"])
@pytest.mark.parametrize("where", ["sampled", "alternative"])
def test_what_is_no_log_probability_leaves_its_reply_unscored(value: object, where: str) -> None:
    logprobs = content(tops=[("8", -0.1), ("9", value)])
    if where == "sampled":
        logprobs = content()
        logprobs["content"][5]["logprob"] = value
    outcome = read(logprobs)
    assert not isinstance(outcome, Judgement) and outcome.reason == "failed"
    assert "log probability" in outcome.detail


def test_alternatives_of_more_than_certainty_are_refused() -> None:
    with pytest.raises(BadLogprobs, match=r"probability of 1\.7"):
        read_logprobs(content(tops=[("8", -0.1), ("9", -0.2)]), TEXT)


def test_a_little_above_zero_is_rounding() -> None:
    tokens = read_logprobs(content(tops=[("8", 0.004)]), TEXT)
    assert tokens is not None and tokens[5].top == {"8": 0.0}


def test_the_lists_of_the_first_completions_route_are_read() -> None:
    old = {
        "tokens": TOKENS,
        "token_logprobs": [-0.1] * len(TOKENS),
        "top_logprobs": [{t: -0.1} for t in TOKENS],
    }
    assert expected(old) == pytest.approx((8, 3))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "token", "logprob", "bytes", "top_logprobs", "tokens"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.text(max_size=5))
def test_anything_is_read_or_refused(value: Any, text: str) -> None:
    try:
        tokens = read_logprobs(value, text)
    except BadLogprobs:
        return
    assert all(FLOOR <= t.logprob <= 0 for t in tokens or ())
