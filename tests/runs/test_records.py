from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.runs.codec import (
    decode,
    dump_completion,
    dump_example,
    dump_verdict,
    encode,
    load_completion,
    load_example,
    load_verdict,
    to_line,
)
from spct.types import Completion, Example, Message, TokenLogprob, Verdict
from tests.runs.nouns import prompt_of, reply_of, verdict_of
from tests.runs.strategies import completions, examples, verdicts


@given(verdicts())
def test_a_verdict_survives_the_round_trip(verdict: Verdict) -> None:
    assert load_verdict(decode(encode(dump_verdict(verdict)))) == verdict


@given(completions)
def test_a_completion_survives_the_round_trip(completion: Completion) -> None:
    assert load_completion(decode(encode(dump_completion(completion)))) == completion


@given(examples)
def test_an_example_survives_the_round_trip(example: Example) -> None:
    assert load_example(decode(encode(dump_example(example)))) == example


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("held", [{"\ud800": 1}, {"a": "\ud800"}, {"a": {"b\udfff": ["\udc00"]}}])
def test_half_surrogates_come_back_as_they_were(held: dict[str, object]) -> None:
    assert decode(encode(held)) == held
    example = Example("e", (Message("user", "q"),), ("r",), meta=held)
    assert load_example(decode(encode(dump_example(example)))) == example
    token = TokenLogprob("\ud800", -1.0, dict.fromkeys(held, -1.0))
    completion = Completion("x", "stop", logprobs=(token,))
    assert load_completion(decode(encode(dump_completion(completion)))) == completion


@given(verdicts())
def test_a_line_is_strict_json_of_the_same_record(verdict: Verdict) -> None:
    record = dump_verdict(verdict)
    line = to_line(record)
    line.encode()  # is UTF-8: no lone surrogate is left
    assert line.splitlines() == [line]
    joined = json.loads(json.dumps(record))  # JSON reads two escaped half surrogates as one letter
    assert json.loads(line, parse_constant=no_constant) == joined


def test_a_line_cannot_reorder_or_clear_a_terminal() -> None:
    line = to_line({"text": "\x1b[2J \x9b2J \u202egnp\u2066 \u2028 \x00 \ud800 \u5b57"})
    assert line == (
        r'{"text":"\u001b[2J \u009b2J \u202egnp\u2066 \u2028 \u0000 \ud800 ' + "\u5b57" + '"}'
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_refused(number: float) -> None:
    verdict = Verdict("a", (number, 1.0), (1,), (), 1, 1, 1, None)
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(dump_verdict(verdict))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_not_finite_reads_back_as_no_chance(number: float) -> None:
    drawn = Completion("x", logprobs=(TokenLogprob("x", number, {"y": number}),))
    read = load_completion(decode(encode(dump_completion(drawn))))
    assert read.logprobs == (TokenLogprob("x", -math.inf, {"y": -math.inf}),)


def test_the_public_names_are_these() -> None:
    prompt = prompt_of("a", (1, 0))
    failed = Completion("", "error", error="refused")
    verdict = verdict_of("a", [(prompt, 3, reply_of(prompt, 3)), (prompt, 4, failed)])
    record = dump_verdict(verdict)
    names = (
        "id rewards winner best k_asked k_drawn k_counted agreement usage unscored prompts"
        " trajectories"
    )
    assert list(record) == names.split()
    scored, unscored = record["trajectories"]
    names = (
        "index seed order hint prompt principles critique scores expected unscored text"
        " finish_reason usage meta_score fingerprint"
    )
    assert list(scored) == names.split()
    assert record["prompts"] == [
        {
            "order": [1, 0],
            "hint": None,
            "messages": [{"role": "user", "content": "Judge a as (1, 0)."}],
        }
    ]
    assert (record["winner"], record["unscored"]) == (0, {"failed": 1})
    assert (scored["scores"], scored["unscored"]) == ([8.0, 5.0], None)
    assert (unscored["scores"], unscored["principles"], unscored["critique"]) == (None, None, None)
    assert unscored["unscored"] == {"reason": "failed", "detail": "refused"}
    assert unscored["error"] == "refused"


def test_a_verdict_of_mixed_examples_is_refused() -> None:
    prompt = prompt_of("a")
    mixed = verdict_of("b", [(prompt, 1, reply_of(prompt, 1))])
    with pytest.raises(ValueError, match=r"several examples: \['a', 'b'\]"):
        dump_verdict(mixed)


@given(st.text(st.characters()))
def test_any_text_can_be_stored(text: str) -> None:
    assert decode(encode({"text": text})) == {"text": text}
