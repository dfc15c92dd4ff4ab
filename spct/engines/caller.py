"""Keeps at one call until it has an answer or is given up: the asyncio half of `retry`.

Attempts go through the gate one by one; a wait between two attempts holds no slot. While the
endpoint is down, one call at a time tries and the others wait; what fails then is charged to
nobody.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from spct.engines.gate import Gate
from spct.engines.retry import (
    STARVED_S,
    CallRetries,
    Failure,
    Outage,
    RetryBudget,
    RetryPolicy,
    Starvation,
)
from spct.engines.transport import Http, Transport
from spct.errors import EndpointError

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class EngineStats:
    """What happened so far; `warnings` counts oddities by name, and the first of each is logged."""

    calls: int = 0
    attempts: int = 0
    retries: int = 0
    rate_limited: int = 0
    answered: int = 0
    failed: int = 0
    outages: int = 0
    warnings: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Request:
    """What to send; `tokens` is a guess at what it costs, for the token quota.

    Requests with one `prefix` share the beginning of their work: a server that has it in its cache
    does it once.
    """

    method: str
    path: str
    body: bytes | None = None
    tokens: int = 0
    prefix: int | None = None


class Caller:
    """Calls one endpoint. Times are seconds."""

    def __init__(
        self,
        transport: Transport,
        gate: Gate,
        *,
        policy: RetryPolicy,
        budget: RetryBudget,
        outage: Outage,
        attempt_timeout_s: float,
        deadline_s: float,
        stats: EngineStats | None = None,
    ) -> None:
        self.transport, self.gate, self.outage = transport, gate, outage
        self.policy, self.budget = policy, budget
        self.attempt_timeout_s, self.deadline_s = attempt_timeout_s, deadline_s
        self.stats, self.starvation = stats or EngineStats(), Starvation()
        self._trial_lock = asyncio.Lock()
        self._last_down = ""
        self._rng = Random()  # for jitter only, never for sampling

    async def call(self, request: Request, read: Callable[[Http], T | Failure]) -> T | Failure:
        """Return what `read` makes of the reply; a `Failure` is the last one, with why it ended."""
        self.stats.calls += 1
        self.budget.earn()
        clock = asyncio.get_running_loop().time
        retries = CallRetries(self.policy, self.budget)
        while True:
            step = self._trial if self.outage.is_open else self.attempt
            outcome = await step(request, read, retries)
            if outcome is None:
                continue
            if not isinstance(outcome, Failure):
                return outcome
            if outcome.kind == "down" and self.outage.is_open and clock() < retries.deadline:
                self._stop_if_it_lasts()
                continue
            wait = retries.next_wait_s(outcome, clock(), self._rng, self.stats.answered)
            if (lasted_s := self.starvation.lasted_s) >= STARVED_S:
                raise EndpointError(
                    f"calling {self.transport.base_url}: {outcome.message}; every call was rate "
                    f"limited for {lasted_s:.0f} s; when that is over, run the same command again"
                )
            if wait is None:
                return replace(outcome, message=f"{outcome.message} ({retries.why})")
            self.stats.retries += 1
            await asyncio.sleep(wait)

    async def _trial(
        self, request: Request, read: Callable[[Http], T | Failure], retries: CallRetries
    ) -> T | Failure | None:
        """Stand in line; the first in it tries alone whether the endpoint is back."""
        async with self._trial_lock:
            if not self.outage.is_open:
                return None
            now = asyncio.get_running_loop().time()
            self._stop_if_it_lasts()
            await asyncio.sleep(self.outage.trial_wait_s(now, self.policy, self._rng))
            return await self.attempt(request, read, retries, is_trial=True)

    async def attempt(
        self,
        request: Request,
        read: Callable[[Http], T | Failure],
        retries: CallRetries,
        *,
        is_trial: bool = False,
        has_slot: bool = False,
    ) -> T | Failure | None:
        """One exchange in a slot of the gate; None if an outage began while it waited for one."""
        if not has_slot:
            await self.gate.wait_for_slot()
        try:
            await self.gate.pace(request.tokens)
            if self.outage.is_open and not is_trial:
                return None
            now = asyncio.get_running_loop().time()
            if retries.deadline == math.inf:  # the time in the queue does not count
                retries.deadline = now + self.deadline_s
            timeout = min(self.attempt_timeout_s, max(retries.deadline - now, 0.001))
            self.stats.attempts += 1
            got = await self.transport.exchange(request.method, request.path, request.body, timeout)
            if isinstance(got, Http) and got.status not in (502, 503, 504):
                self.outage.answer()
            outcome = got if isinstance(got, Failure) else read(got)
            self._learn(outcome)
            return outcome
        finally:
            self.gate.leave()

    def _learn(self, outcome: object) -> None:
        """Tell the limit and the outage what became of an attempt."""
        now, limit = asyncio.get_running_loop().time(), self.gate.limit
        if not isinstance(outcome, Failure):
            self.stats.answered += 1
            self.starvation.answered()
            limit.succeeded(now, self.gate.in_flight)
        elif outcome.kind == "rate_limited":
            self.stats.rate_limited += 1
            self.starvation.limited(now)
            limit.rate_limited(now, outcome.wait_s)
            self.gate.close_for(outcome.wait_s or 0.0)
            if self.stats.rate_limited == 1:
                log.warning("%s: %s; slowing down", self.transport.base_url, outcome.message)
        elif outcome.kind in ("server", "down"):
            limit.server_error(now)
        if isinstance(outcome, Failure) and outcome.kind == "down":
            was_open, self._last_down = self.outage.is_open, outcome.message
            self.gate.close_for(outcome.wait_s or 0.0)  # a 503 may say when it is back
            self.outage.failed(now)
            if self.outage.is_open and not was_open:
                self.stats.outages += 1
                log.warning("%s is down: %s; waiting", self.transport.base_url, outcome.message)

    def _stop_if_it_lasts(self) -> None:
        if self.outage.has_lasted(asyncio.get_running_loop().time()):
            raise EndpointError(
                f"calling {self.transport.base_url}: {self._last_down}; no answer for "
                f"{self.outage.lasted_s:.0f} s; check that the server runs and the address is "
                "right, then run the same command again"
            )
