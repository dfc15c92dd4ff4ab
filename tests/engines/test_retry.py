"""The retry policy against a virtual clock: nothing here sleeps."""

from __future__ import annotations

import asyncio
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.engines.openai.engine import OpenAIEngine
from spct.engines.retry import (
    LONGEST_WAIT_S,
    CallRetries,
    Failure,
    FailureKind,
    Outage,
    RetryBudget,
    RetryPolicy,
    Starvation,
    classify_status,
    retry_after_s,
)
from spct.engines.transport import Http
from spct.errors import EndpointError
from spct.types import Message, Prompt, SamplingParams

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Wed, 21 Oct 2015 07:28:30 GMT"
POLICY = RetryPolicy()
KINDS: tuple[FailureKind, ...] = ("rate_limited", "server", "down", "timeout", "garbage")

failures = st.builds(
    Failure,
    st.sampled_from(KINDS),
    st.just("x"),
    st.none() | st.floats(0, LONGEST_WAIT_S, allow_nan=False),
)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "121"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": DATE}, 0.0),
        ({"retry-after": LATER}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_a_sane_wait_is_read_and_anything_else_ignored(
    headers: dict[str, str], wait: float | None
) -> None:
    assert retry_after_s(headers, NOW) == wait


def test_a_date_is_compared_with_the_servers_own_clock() -> None:
    wrong_clock = NOW + 86_400
    assert retry_after_s({"retry-after": LATER, "date": DATE}, wrong_clock) == 30.0


@given(st.text(), st.text(), st.text())
def test_no_header_text_breaks_the_reader(ms: str, seconds: str, date: str) -> None:
    headers = {"retry-after-ms": ms, "retry-after": seconds, "date": date}
    wait = retry_after_s(headers, NOW)
    assert wait is None or 0 <= wait <= LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("status", "asked", "kind"),
    [
        (429, None, "rate_limited"),
        (408, None, "server"),
        (409, None, "server"),
        (500, None, "server"),
        (529, None, "server"),
        (502, None, "down"),
        (503, None, "down"),
        (504, None, "down"),
        (400, None, "final"),
        (404, None, "final"),
        (422, None, "final"),
        (400, "true", "server"),
        (429, "true", "rate_limited"),
        (429, "false", "final"),
        (500, "false", "final"),
        (503, "false", "final"),
        (400, "perhaps", "final"),
    ],
)
def test_statuses_are_retried_as_openai_does(status: int, asked: str | None, kind: str) -> None:
    assert classify_status(status, {"x-should-retry": asked} if asked else {}) == kind


@given(st.integers(1, 10_000), st.integers())
def test_backoff_doubles_from_half_a_second_to_eight_less_a_quarter(n: int, seed: int) -> None:
    full = 0.5 * 2 ** (n - 1) if n < 5 else 8.0
    assert 0.75 * full <= POLICY.backoff_s(n, Random(seed)) <= full


@given(st.lists(failures, max_size=200), st.integers(), st.floats(1, 1000))
def test_a_call_ends_by_its_deadline_and_within_its_retries(
    script: list[Failure], seed: int, deadline: float
) -> None:
    retries = CallRetries(POLICY, RetryBudget(1.0, 1000), deadline)
    rng, now, n_counted = Random(seed), 0.0, 0
    for failure in script:
        wait = retries.next_wait_s(failure, now, rng)
        n_counted += failure.kind != "rate_limited"
        if wait is None:
            assert retries.why
            break
        now += wait
        assert now < deadline and n_counted <= POLICY.max_retries
    assert retries.n_garbage <= POLICY.garbage_retries + 1


@given(failures, st.integers())
def test_a_wait_that_the_server_asks_for_is_never_cut_short(failure: Failure, seed: int) -> None:
    wait = CallRetries(POLICY, RetryBudget()).next_wait_s(failure, 0.0, Random(seed))
    assert wait is not None
    if failure.wait_s is not None:
        assert failure.wait_s <= wait <= 1.25 * failure.wait_s


@pytest.mark.parametrize("kind", ["final", "refused"])
def test_what_cannot_get_better_is_not_tried_again(kind: FailureKind) -> None:
    retries = CallRetries(POLICY, RetryBudget())
    assert retries.next_wait_s(Failure(kind, "x"), 0.0, Random(0)) is None
    assert retries.why == "another attempt would end the same way"


@given(st.lists(st.booleans(), max_size=500), st.floats(0, 1), st.floats(0, 60))
def test_retries_never_exceed_the_share_and_the_reserve(
    script: list[bool], share: float, reserve: float
) -> None:
    budget = RetryBudget(share, reserve)
    n_calls = n_retries = 0
    for is_call in script:
        if is_call:
            budget.earn()
            n_calls += 1
        else:
            n_retries += budget.spend()
    assert n_retries <= reserve + share * n_calls + 1e-6


def test_rate_limits_cost_no_retry_and_no_budget() -> None:
    budget = RetryBudget(0.0, 0.0)
    retries = CallRetries(POLICY, budget, deadline=1e9)
    now = 0.0
    for _ in range(1000):
        wait = retries.next_wait_s(Failure("rate_limited", "x"), now, Random(1))
        assert wait is not None
        now += wait
    assert retries.next_wait_s(Failure("server", "x"), now, Random(1)) is None
    assert "retry budget" in retries.why


# --- outages ------------------------------------------------------------------------------------


def outage_of(n: int, *, start: float = 0.0, step: float = 1.0, answered: bool = False) -> Outage:
    outage = Outage()
    if answered:
        outage.answer()
    for i in range(n):
        outage.failed(start + i * step)
    return outage


def test_an_outage_opens_at_the_fourth_failure_in_a_row() -> None:
    assert not outage_of(3).is_open and outage_of(4).is_open


def test_an_answer_ends_an_outage_and_starts_the_count_anew() -> None:
    outage = outage_of(9)
    outage.answer()
    assert not outage.is_open
    for i in range(3):
        outage.failed(100.0 + i)
    assert not outage.is_open


def test_patience_is_short_with_a_wrong_url_and_long_with_a_server_that_went_away() -> None:
    assert outage_of(17).has_lasted(16.5)
    assert not outage_of(15).has_lasted(14.5)
    assert not outage_of(170, answered=True).has_lasted(169.5)
    assert outage_of(182, answered=True).has_lasted(181.5)


def test_a_call_long_after_the_last_trial_may_try_again_at_once() -> None:
    outage = outage_of(100)
    assert outage.has_lasted(99.5) and not outage.has_lasted(110.0)
    assert outage.trial_wait_s(110.0, POLICY, Random(0)) == 0.0


@given(st.integers(4, 200), st.integers(), st.floats(0, 20))
def test_trials_go_at_most_eight_seconds_apart(n: int, seed: int, late: float) -> None:
    outage = outage_of(n)
    wait = outage.trial_wait_s(n - 1 + late, POLICY, Random(seed))
    assert 0 <= wait <= 8.0 and math.isfinite(wait)


@given(st.lists(st.booleans(), max_size=60), st.floats(0.001, 10))
def test_an_outage_is_open_exactly_after_four_failures_in_a_row(
    script: list[bool], step: float
) -> None:
    outage, in_a_row = Outage(), 0
    for i, ok in enumerate(script):
        in_a_row = 0 if ok else in_a_row + 1
        if ok:
            outage.answer()
        else:
            outage.failed(i * step)
        assert outage.is_open == (in_a_row >= 4)
        assert not (outage.has_lasted(i * step) and in_a_row < 4)


def test_a_limit_is_waited_out_while_others_are_answered() -> None:
    passed_on = Failure("rate_limited", "x", is_passed_on=True)
    retries = CallRetries(POLICY, RetryBudget(), 10_000)
    rng = Random(0)
    for i in range(50):  # somebody was answered between any two
        assert retries.next_wait_s(passed_on, 10.0 * i, rng, answered=i) is not None
    waits = [retries.next_wait_s(passed_on, 500.0 + i, rng, answered=49) for i in range(5)]
    assert None not in waits[:4] and waits[4] is None and "nobody answered" in retries.why


def test_how_long_nobody_was_answered_is_measured_while_somebody_asks() -> None:
    starvation = Starvation()
    assert starvation.lasted_s == 0
    for now in range(0, 301, 100):
        starvation.limited(now)
    assert starvation.lasted_s == 300
    starvation.limited(300 + 2 * LONGEST_WAIT_S + 1)
    assert starvation.lasted_s == 0, "nobody asked for a while"
    starvation.limited(300 + 3 * LONGEST_WAIT_S)
    starvation.answered()
    assert starvation.lasted_s == 0


async def test_an_endpoint_that_only_limits_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spct.engines.caller.STARVED_S", 0.2)
    engine = OpenAIEngine(base_url="http://127.0.0.1:9/v1", model="m", retry=RetryPolicy(base_s=0))
    slow = Http(429, {}, b'{"error": {"message": "slow down"}}')

    async def limited(*_: object) -> Http:
        await asyncio.sleep(0.01)
        return slow

    monkeypatch.setattr(engine.transport, "exchange", limited)
    with pytest.raises(EndpointError, match=r"slow down.*every call was rate limited"):
        await engine.sample(Prompt("a", (Message("user", "q"),), (0,)), 1, SamplingParams())
