"""When a failed call is tried again: OpenAI's rules, joined with a budget and a pause for outages.

Everything here is arithmetic on times that the caller passes in (seconds of a monotonic clock), so
the policy is tested against a virtual clock. Nothing sleeps and nothing does I/O.

- A rate limit (429) is not the call's fault: it is waited out while the endpoint answers anybody.
  Where it answers nobody for `STARVED_S`, the run stops; one that a gateway passes on inside a 200
  (its provider's, with nothing to say that waiting helps) is then given up after as many tries as
  any other failure.
- Other retryable failures (408, 409, 5xx, timeouts, garbage) cost one of the call's retries and
  one of the engine's retry budget, so that a sick endpoint is not answered with a storm.
- While the endpoint is down altogether, one call at a time tries and the others wait; that is
  charged to nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from typing import Literal

FailureKind = Literal[
    "rate_limited",  # 429
    "server",  # 408, 409, 500, or the server asks for a retry
    "down",  # no connection, a reset, 502, 503, 504: nobody is home
    "timeout",  # the attempt took too long
    "garbage",  # a 200 that is not a chat completion
    "refused",  # a content filter refused the prompt
    "final",  # another try would end the same way
]

LONGEST_WAIT_S = 120.0
STARVED_S = 300.0  # twice the longest wait that a server may ask for, and more


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt failed; `wait_s` is the wait that the server asked for, if it was sane.

    `is_passed_on` says that it stood inside a 200: a gateway's word for its provider.
    """

    kind: FailureKind
    message: str
    wait_s: float | None = None
    is_passed_on: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late to try again; unusable 200s have a lower limit of their own."""

    max_retries: int = 5
    garbage_retries: int = 2
    base_s: float = 0.5
    cap_s: float = 8.0
    jitter: float = 0.25

    def backoff_s(self, n_failed: int, rng: Random) -> float:
        """Exponential from `base_s` to `cap_s`, shortened by up to `jitter`; `n_failed` from 1."""
        full = min(self.base_s * 2.0 ** min(n_failed - 1, 30), self.cap_s)
        return full * (1 - self.jitter * rng.random())


def classify_status(status: int, headers: Mapping[str, str]) -> FailureKind:
    """OpenAI's rule: `x-should-retry` decides where given, else 408, 409, 429, 5xx are retried."""
    asked = headers.get("x-should-retry")
    if asked == "false":
        return "final"
    if status == 429:
        return "rate_limited"
    if status in (502, 503, 504):
        return "down"
    if asked == "true" or status in (408, 409) or status >= 500:
        return "server"
    return "final"


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The wait that the server asks for in seconds; None if absent, garbage, negative or > 120 s.

    `retry-after-ms` wins over `retry-after`, which is seconds or an HTTP date. A date is compared
    with the reply's own `date`, so a wrong clock on this machine does not matter; `now` (epoch
    seconds) stands in where the reply has none.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        wait = _number(value)
        if wait is not None:
            wait *= unit
        elif (then := _epoch(value)) is not None:
            base = _epoch(headers.get("date", ""))
            wait = then - (base if base is not None else time.time() if now is None else now)
        if wait is not None and 0 <= wait <= LONGEST_WAIT_S:
            return wait
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _epoch(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):  # the parser answers both for dates that are none
        return None


class RetryBudget:
    """Allows retries up to a share of the calls, plus a reserve so that a short run can retry."""

    def __init__(self, share: float = 0.2, reserve: float = 50.0) -> None:
        self.share, self.reserve, self.left = share, reserve, reserve

    def earn(self) -> None:
        """Note one call."""
        self.left = min(self.reserve, self.left + self.share)

    def spend(self) -> bool:
        """Take one retry if there is one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Outage:
    """Is the endpoint down? Opens after `after` failures of kind "down" with no answer between.

    While it is open, one call at a time tries, at growing distances. It `has_lasted` when it has
    lasted `startup_s` if there was never an answer (a wrong URL), or `patience_s` (a server that
    does not come back). A call that comes later than `cap_s` after the last trial may still try its
    luck, so a long-lived engine recovers by itself.
    """

    def __init__(
        self,
        *,
        after: int = 4,
        startup_s: float = 15.0,
        patience_s: float = 180.0,
        cap_s: float = 8.0,
    ) -> None:
        self.after, self.cap_s = after, cap_s
        self.startup_s, self.patience_s = startup_s, patience_s
        self.n_failed = 0
        self.answered = False
        self._since = self._last = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls must wait for a trial."""
        return self.n_failed >= self.after

    def has_lasted(self, now: float) -> bool:
        """Whether waiting has gone on for so long that the run should stop."""
        return self.is_hopeless and now - self._last < self.cap_s

    @property
    def is_hopeless(self) -> bool:
        """Whether it has outlasted the patience, however long ago it was last tried."""
        patience = self.patience_s if self.answered else self.startup_s
        return self.is_open and self.lasted_s >= patience

    @property
    def lasted_s(self) -> float:
        """The time from the first failure in a row to the last."""
        return self._last - self._since

    def trial_wait_s(self, now: float, policy: RetryPolicy, rng: Random) -> float:
        """How long the next trial waits before its attempt."""
        due = self._last + min(policy.backoff_s(self.n_failed - self.after + 1, rng), self.cap_s)
        return max(0.0, due - now)

    def failed(self, now: float) -> None:
        """Note an attempt that found nobody home."""
        self._since = self._since if self.n_failed else now
        self._last = now
        self.n_failed += 1

    def answer(self) -> None:
        """Note any sign of life: an HTTP reply other than 502, 503 and 504."""
        self.n_failed, self.answered = 0, True


@dataclass(slots=True)
class Starvation:
    """For how long an endpoint has answered every call of an engine with a rate limit."""

    _since: float = -math.inf
    _last: float = -math.inf

    @property
    def lasted_s(self) -> float:
        """From the first rate limit since the last answer to the last one."""
        return self._last - self._since if self._last > -math.inf else 0.0

    def limited(self, now: float) -> None:
        """Note a rate limit; one long after the last begins anew, as nobody asked meanwhile."""
        if now - self._last > 2 * LONGEST_WAIT_S:
            self._since = now
        self._last = now

    def answered(self) -> None:
        """Note an answer."""
        self._since = self._last = -math.inf


@dataclass(slots=True)
class CallRetries:
    """The retries of one call. `next_wait_s` is None to give up, and then `why` says why."""

    policy: RetryPolicy
    budget: RetryBudget
    deadline: float = math.inf
    n_failed: int = 0
    n_garbage: int = 0
    n_limited: int = 0
    why: str = ""
    _answered: int = -1
    _n_starved: int = 0

    def next_wait_s(
        self, failure: Failure, now: float, rng: Random, answered: int = 0
    ) -> float | None:
        """How long to wait before the next attempt; `answered` counts the engine's answers."""
        if failure.kind == "rate_limited":
            self.n_limited += 1
            if answered != self._answered:
                self._answered, self._n_starved = answered, 0
            self._n_starved += 1
            if failure.is_passed_on and self._n_starved > self.policy.max_retries:
                self.why = f"gave up after {self._n_starved} attempts with nobody answered between"
                return None
            wait = self.policy.backoff_s(self.n_limited, rng)
        elif (refusal := self._refusal(failure)) is not None:
            self.why = refusal
            return None
        else:
            wait = self.policy.backoff_s(self.n_failed, rng)
        if failure.wait_s is not None:
            # never earlier than asked; late by a jitter, not all at once
            wait = failure.wait_s * (1 + self.policy.jitter * rng.random())
        if now + wait >= self.deadline:
            self.why = "the call's deadline leaves no time for another attempt"
            return None
        return wait

    def _refusal(self, failure: Failure) -> str | None:
        if failure.kind in ("refused", "final"):
            return "another attempt would end the same way"
        self.n_failed += 1
        self.n_garbage += failure.kind == "garbage"
        if self.n_garbage > self.policy.garbage_retries:
            return f"gave up after {self.n_garbage} unusable replies"
        if self.n_failed > self.policy.max_retries:
            return f"gave up after {self.n_failed} failed attempts"
        if not self.budget.spend():
            return f"the retry budget ({self.budget.share:.0%} of all calls) is used up"
        return None
