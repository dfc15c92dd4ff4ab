"""Several endpoints with one model behind one engine: who answers which request.

Requests wait in one line, not in one per endpoint, so nothing is stuck behind a slow one. A free
slot goes to the first request whose prompt this endpoint has seen (its prefix is cached there),
else to the first in line, which takes the endpoint with the least in flight for its weight.

An endpoint is set aside when connections to it fail (`Outage`), when it keeps failing otherwise,
when it refuses the key, or when it turns out to have another model. Its requests go on to the
others. `GET /models` then finds out, at growing distances, whether it is back. A rate limit closes
one endpoint and no other. The run ends when every endpoint has been away for too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar
from urllib.parse import urlsplit

from spct.engines.caller import Caller, EngineStats, Request
from spct.engines.gate import Gate
from spct.engines.line import Line
from spct.engines.openai.openai_wire import GarbageReply, read_models
from spct.engines.retry import STARVED_S, CallRetries, Failure
from spct.engines.transport import Http
from spct.errors import ConfigError, EndpointError

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIAL_S = 10.0  # for GET /models of an endpoint that is set aside
LONGEST_ASIDE_S = 60.0


@dataclass(slots=True, eq=False)
class _Replica:
    caller: Caller
    weight: float
    aside: str | None = None  # why
    is_refused: bool = False  # set aside for what waiting alone does not cure
    n_bad: int = 0  # failures on end
    n_aside: int = 0  # since its last good answer
    n_answered: int = 0

    @property
    def url(self) -> str:
        return self.caller.transport.base_url

    @property
    def load(self) -> float:
        return (self.caller.gate.in_flight + 1) / self.weight

    @property
    def is_lost(self) -> bool:
        return self.is_refused or self.caller.outage.is_hopeless


@dataclass(slots=True)
class Replicas:
    """Calls whichever endpoint can answer, in place of one `Caller`; all share its `stats`."""

    callers: Sequence[Caller]
    weights: Sequence[float]
    model: str | None = None
    _replicas: list[_Replica] = field(init=False)
    _line: Line[_Replica] = field(default_factory=Line)
    _revivals: set[asyncio.Task[None]] = field(default_factory=set)
    _timer: asyncio.TimerHandle | None = None
    _is_open: bool = False
    _impostors: set[Caller] = field(default_factory=set)  # that list the model and are another
    _answering: str | None = None  # what the first reply called its model
    _rng: Random = field(default_factory=Random)  # for jitter only

    def __post_init__(self) -> None:
        pairs = zip(self.callers, self.weights, strict=True)
        self._replicas = [_Replica(caller, weight) for caller, weight in pairs]
        urls = [replica.url for replica in self._replicas]
        if twice := {url for url in urls if urls.count(url) > 1}:
            raise ConfigError(f"the endpoint {min(twice)} is named twice; name each once")

    @property
    def stats(self) -> EngineStats:
        """What happened so far, at all of them."""
        return self.callers[0].stats

    @property
    def gate(self) -> Gate:
        """The first one's gate; the quotas in it are shared by all."""
        return self.callers[0].gate

    def shown(self) -> list[str]:
        """One line for each endpoint: how busy it is, or why it is set aside."""
        return [
            f"{urlsplit(r.url).netloc} "
            + (
                f"set aside: {r.aside}"
                if r.aside
                else f"{r.caller.gate.in_flight}/{r.caller.gate.limit.limit} in flight, "
                f"{r.n_answered} answered"
            )
            for r in self._replicas
        ]

    # --- the model ----------------------------------------------------------------------------

    async def open(self) -> str:
        """Look at every endpoint and return the model's name; refuse one with another model."""
        if self._is_open and self.model is not None:
            return self.model
        found = await asyncio.gather(*(self._served(replica) for replica in self._replicas))
        pairs = zip(self._replicas, found, strict=True)
        lists = {replica: names for replica, names in pairs if isinstance(names, list)}
        if self.model is None:
            self.model = _only(lists)
        for replica, names in zip(self._replicas, found, strict=True):
            if isinstance(names, list) and self.model not in names:
                raise EndpointError(
                    f"{replica.url} serves {', '.join(names[:20])}, expected {self.model!r} as "
                    "behind the other endpoints: replicas must have one model; leave it out, or "
                    "name the model with --model"
                )
            if isinstance(names, str):
                self._set_aside(replica, names)
        self._is_open = True
        return self.model

    def check(self, url: str, answering: str | None) -> None:
        """Refuse a reply of another model than the first reply's: some servers answer any name."""
        self._answering = self._answering or answering
        if answering is not None and answering != self._answering:
            named = (r.caller for r in self._replicas if url.startswith(f"{r.url}/"))
            self._impostors.update(named)
            raise EndpointError(
                f"calling {url}: the model {answering!r} answered, expected {self._answering!r} as "
                "from the other endpoints; the reply is not used"
            )

    async def _served(self, replica: _Replica) -> list[str] | str | None:
        """What an endpoint lists; None where it has no such list, a text where it is not there."""
        outage, clock = replica.caller.outage, asyncio.get_running_loop().time
        try:
            got = await replica.caller.transport.exchange("GET", "models", None, TRIAL_S)
        except EndpointError as error:
            replica.is_refused = True
            return str(error)
        if isinstance(got, Failure) or got.status in (502, 503, 504):
            outage.failed(clock())
            return got.message if isinstance(got, Failure) else f"answered {got.status}"
        outage.answer()
        if got.status >= 500:
            return f"answered {got.status}"
        if got.status == 200:
            try:
                return [str(entry["id"]) for entry in read_models(got.body)]
            except GarbageReply:
                return None
        replica.is_refused = replica.is_refused or got.status in (401, 403)
        return f"answered {got.status} to GET /models" if replica.is_refused else None

    # --- one call -----------------------------------------------------------------------------

    async def call(self, request: Request, read: Callable[[Http], T | Failure]) -> T | Failure:
        """Return what `read` makes of the first good reply, or the last failure and why it ended.

        A lost connection or a rate limit costs the call none of its retries while there is an
        endpoint that it has not tried.
        """
        first = self.callers[0]
        policy, clock = first.policy, asyncio.get_running_loop().time
        self.stats.calls += 1
        first.budget.earn()
        retries = CallRetries(policy, first.budget)
        tried: set[_Replica] = set()
        while True:
            replica = await self._turn(request.prefix, tried)
            outcome = await self._attempt(replica, request, read, retries)
            if outcome is None:
                continue
            if not isinstance(outcome, Failure):
                return outcome
            tried.add(replica)
            up = self._up()
            is_free = outcome.kind in ("down", "rate_limited") and clock() < retries.deadline
            if is_free and (not up or not tried.issuperset(up)):  # where none is up, it waits
                self.stats.retries += 1
                continue
            wait = retries.next_wait_s(outcome, clock(), self._rng, self.stats.answered)
            if wait is None:
                return replace(outcome, message=f"{replica.url}: {outcome.message} ({retries.why})")
            self.stats.retries += 1
            if tried.issuperset(up):
                await asyncio.sleep(wait)
                tried.clear()

    async def _attempt(
        self,
        replica: _Replica,
        request: Request,
        read: Callable[[Http], T | Failure],
        retries: CallRetries,
    ) -> T | Failure | None:
        """One attempt at one endpoint, which is set aside where it is down or always fails."""
        outage = replica.caller.outage
        try:
            outcome = await replica.caller.attempt(request, read, retries, has_slot=True)
            if not isinstance(outcome, Failure):
                replica.n_bad = replica.n_aside = 0
                replica.n_answered += outcome is not None
            elif outcome.kind == "rate_limited":
                if replica.caller.starvation.lasted_s >= STARVED_S:
                    raise EndpointError(f"rate limited for {STARVED_S:g} s: {outcome.message}")
            elif outcome.kind not in ("refused", "final"):
                replica.n_bad += 1
                if outage.is_open or replica.n_bad >= outage.after:
                    self._set_aside(replica, outcome.message)
            return outcome
        except EndpointError as error:
            replica.is_refused = True
            self._set_aside(replica, str(error))
            return None
        finally:
            self._dispatch()

    def _up(self) -> list[_Replica]:
        return [replica for replica in self._replicas if replica.aside is None]

    async def _turn(self, prefix: int | None, tried: Collection[_Replica]) -> _Replica:
        turn = self._line.join(prefix, tried)
        self._dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().caller.gate.leave()
                self._dispatch()
            raise

    def _dispatch(self) -> None:
        """Give free slots to those who wait, and look again when a closed endpoint opens."""
        now, up = asyncio.get_running_loop().time(), self._up()
        if not up and all(replica.is_lost for replica in self._replicas):
            why = "; ".join(f"{r.url}: {r.aside}" for r in self._replicas)
            self._line.end(
                EndpointError(
                    f"none of {len(self._replicas)} endpoints can be used ({why}); check "
                    "them, then run the same command again"
                )
            )
        while free := [r for r in up if r.caller.gate.has_room(now)]:
            replica = self._line.serve(sorted(free, key=lambda r: r.load), up)
            if replica is None:
                break
            replica.caller.gate.take()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        opening = [t for r in up if (t := r.caller.gate.closed_until) > now]
        if opening and len(self._line):
            self._timer = asyncio.get_running_loop().call_at(min(opening), self._dispatch)

    # --- set aside and back -------------------------------------------------------------------

    def _set_aside(self, replica: _Replica, why: str) -> None:
        if replica.aside is not None:
            return
        replica.aside, replica.n_aside = why, replica.n_aside + 1
        left = len(self._up())
        log.warning("%s is set aside, %d endpoints are left: %s", replica.url, left, why)
        if replica.caller not in self._impostors:
            task = asyncio.create_task(self._revive(replica))
            self._revivals.add(task)
            task.add_done_callback(self._revivals.discard)

    async def _revive(self, replica: _Replica) -> None:
        """Try at growing distances whether an endpoint is back."""
        policy, n_tried = replica.caller.policy, replica.n_aside
        while True:
            wait = policy.backoff_s(n_tried, self._rng) * 2 ** max(0, replica.n_aside - 5)
            await asyncio.sleep(min(wait, LONGEST_ASIDE_S))
            n_tried += 1
            was_refused, replica.is_refused = replica.is_refused, False
            names = await self._served(replica)
            if names is None and not was_refused:
                break
            if isinstance(names, list) and self.model in names:
                break
            replica.is_refused = replica.is_refused or was_refused or isinstance(names, list)
            if isinstance(names, list):
                names = f"it serves {', '.join(names[:20])}, expected {self.model!r}"
            replica.aside = names or replica.aside
            self._dispatch()
        replica.aside, replica.n_bad, replica.is_refused = None, 0, False
        log.warning("%s is back", replica.url)
        self._dispatch()

    async def aclose(self) -> None:
        """Stop looking for endpoints and close the connections. Idempotent."""
        for task in list(self._revivals):
            task.cancel()
        await asyncio.gather(*self._revivals, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        for caller in self.callers:
            await caller.transport.aclose()


def _only(lists: dict[_Replica, list[str]]) -> str:
    """The one model that all of them serve, where none was named."""
    shown = {", ".join(names[:20]) or "none": replica.url for replica, names in lists.items()}
    names = next(iter(lists.values()), [])
    if len(shown) != 1 or len(names) != 1:
        found = "; ".join(f"{url} serves {text}" for text, url in shown.items()) or "none answers"
        raise EndpointError(
            f"the endpoints do not list one and the same model ({found}); name it with --model"
        )
    return names[0]
