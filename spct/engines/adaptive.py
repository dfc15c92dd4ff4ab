"""How many calls to have in flight, and how fast to start them. Pure: the caller passes the time.

`AdaptiveLimit` finds the concurrency that an endpoint bears, without tuning: it doubles in a slow
start, then grows by 5 % per clean round, and falls to 80 % once per episode of rate limits. Unlike
TCP's additive increase the step is a share of the limit, so it suits 10 and 1,000.
`Pacer` spreads calls or tokens over time where the endpoint's quota is known.
"""

from __future__ import annotations

import math

GROWTH, CUT, FULL = 1.05, 0.8, 0.8


class AdaptiveLimit:
    """The number of calls that may be in flight; `limit` changes as outcomes are noted.

    A round is as many good answers as the limit. It lets the limit grow if it was clean (no rate
    limit and no server error in it or in the cooldown before) and if at least 80 % of the limit
    was in flight at some time: a limit that nobody uses proves nothing.
    """

    def __init__(
        self, *, minimum: int = 10, start: int = 20, maximum: int = 100, cooldown_s: float = 15.0
    ) -> None:
        if not 1 <= minimum <= start <= maximum:
            raise ValueError(
                f"bounds: got {minimum}-{start}-{maximum}, expected 1 <= min <= start <= max"
            )
        self.minimum, self.maximum, self.cooldown_s = minimum, maximum, cooldown_s
        self.limit = start
        self.slow_start = True
        self.cuts = 0
        self._exact = float(start)
        self._hold_until = -math.inf  # no growth before
        self._episode_until = -math.inf  # no second cut before
        self._answers, self._peak, self._clean = 0, 0, True  # of this round

    def succeeded(self, now: float, in_flight: int) -> None:
        """Note a good answer; `in_flight` counts the calls under way, this one included."""
        self._answers += 1
        self._peak = max(self._peak, in_flight)
        if self._answers < self.limit:
            return
        if self._clean and now >= self._hold_until and self._peak >= FULL * self.limit:
            self._set(self._exact * (2.0 if self.slow_start else GROWTH))
        self._answers, self._peak, self._clean = 0, 0, True

    def rate_limited(self, now: float, wait_s: float | None = None) -> None:
        """Note a 429: one cut an episode, which lasts a cooldown and what Retry-After asks."""
        until = now + max(self.cooldown_s, wait_s or 0.0)
        self._clean = self.slow_start = False
        self._hold_until = max(self._hold_until, until)
        if now < self._episode_until:
            # still the same episode; only an explicit wait makes it longer, or it would never end
            self._episode_until = max(self._episode_until, now + (wait_s or 0.0))
            return
        self._episode_until = until
        self.cuts += 1
        self._set(self._exact * CUT)

    def server_error(self, now: float) -> None:
        """Note a 5xx or a lost connection: growth pauses, the limit stays."""
        self._clean = False
        self._hold_until = max(self._hold_until, now + self.cooldown_s)

    def _set(self, exact: float) -> None:
        self._exact = min(max(exact, float(self.minimum)), float(self.maximum))
        self.limit = int(self._exact)


class Pacer:
    """Spreads amounts (calls, tokens) over time: at most `per_minute`, with bursts of `burst_s`.

    One number, the time at which what was admitted so far is paid for. An amount is always
    admitted after the wait that `reserve` returns, so an amount above the burst still passes.
    """

    def __init__(self, per_minute: float, burst_s: float = 1.0) -> None:
        if not per_minute > 0:
            raise ValueError(f"the limit per minute is {per_minute!r}; expected a positive number")
        self.rate, self.burst_s = per_minute / 60.0, burst_s
        self._paid_until = -math.inf

    def reserve(self, now: float, amount: float) -> float:
        """Admit the amount and return how many seconds it must wait."""
        start = max(self._paid_until, now - self.burst_s)
        self._paid_until = start + amount / self.rate
        return max(0.0, start - now)

    def correct(self, change: float) -> None:
        """Charge (or with a negative change, give back) what an estimate missed."""
        self._paid_until += change / self.rate
