"""Whether one more request may be judged now: draining, the queue, a key's share and rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from spct.serve.errors import ErrorType, HttpError
from spct.serve.gateway import Gateway


class TokenBucket:
    """At most `rate` per second in the long run, `burst` at once; `now` is passed in."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._level, self._at = rate, burst, burst, now

    def take(self, now: float) -> float:
        """Take one; returns 0, or the seconds until there is one."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._rate


class Admission:
    """Lets requests in up to the gateway's bounds, and counts those that are in."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._buckets: dict[str, TokenBucket] = {}  # by the key's name, of which there are few

    @contextmanager
    def admitted(self, caller: str) -> Iterator[None]:
        """Hold a place for a request, or refuse it with when to come again."""
        self._check(caller)
        in_flight, gauge = self._gateway.in_flight, self._gateway.metrics.in_flight
        in_flight[caller] += 1
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()
            in_flight[caller] -= 1
            if not in_flight[caller]:
                del in_flight[caller]

    @contextmanager
    def held(self, n_bytes: int) -> Iterator[None]:
        """Count a body's bytes for as long as it is in memory."""
        self._gateway.body_bytes += n_bytes
        try:
            yield
        finally:
            self._gateway.body_bytes -= n_bytes

    def _check(self, caller: str) -> None:
        gateway, config = self._gateway, self._gateway.config
        wait_s = gateway.slots.retry_after_s
        if gateway.draining:
            raise _refused(503, "draining", "the gateway is shutting down; use another", 5)
        if gateway.is_full:
            raise _refused(503, "overloaded", "the queue is full; try again", wait_s)
        if gateway.in_flight[caller] >= config.max_per_key:
            why = f"{config.max_per_key} requests of this key are in flight"
            raise _refused(429, "rate_limited", why, wait_s)
        if config.rate is not None:
            self._check_rate(caller, config.rate)

    def _check_rate(self, caller: str, rate: float) -> None:
        now = time.monotonic()
        bucket = self._buckets.setdefault(caller, TokenBucket(rate, max(1.0, rate), now))
        wait_s = bucket.take(now)
        if wait_s:
            why = f"more than {rate:g} requests per second"
            raise _refused(429, "rate_limited", why, int(wait_s) + 1)


def _refused(status: int, kind: ErrorType, message: str, retry_after_s: int) -> HttpError:
    return HttpError(status, kind, message, retry_after_s=retry_after_s)
