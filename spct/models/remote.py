"""A reward model that lives behind a gateway: the same Protocol, so every hook can use either."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from random import Random
from typing import Any, NamedTuple

from spct.core.recipe import settings_of
from spct.data.criteria import dump_items
from spct.engines.retry import Failure, RetryPolicy, classify_status, retry_after_s
from spct.engines.transport import Http, Transport
from spct.errors import ConfigError, DataError, EndpointError
from spct.models.base import FrozenModel
from spct.protocols import Traits
from spct.strict_json import NotStrictJSON, read_json
from spct.types import Criteria, Example, Message, Reason, Usage, Verdict

log = logging.getLogger("spct.models")
_AGAIN = frozenset({"rate_limited", "down", "timeout", "garbage"})
_MAX_REPLY_BYTES = 16_000_000
_REACH_S = 8.0


@dataclass(frozen=True, slots=True)
class RemoteVerdict(Verdict):
    """A verdict whose judgements stayed at the gateway, which says what became of them."""

    counts: Mapping[Reason, int] = field(default_factory=dict)
    error: str | None = None

    @property
    def unscored(self) -> dict[Reason, int]:
        """How many judgements were left out at the gateway, by reason."""
        return dict(self.counts)


class MemberRewards(NamedTuple):
    """The rewards of some members of a group, and why one is missing."""

    rewards: list[float | None]
    errors: list[str | None]


@dataclass(slots=True)
class _Contact:
    """What is known of the gateway: whether it was ever reached, and its trouble now."""

    is_made: bool = False
    trouble: str | None = None


@dataclass(frozen=True, eq=False)
class RemoteRM(FrozenModel):
    """Judges through `url`, the address of a gateway; a retry gets the answer of the first try.

    Verdicts carry no trajectories: ask the gateway's /v1/judge with `include` to read judgements.
    """

    url: str
    _: KW_ONLY
    api_key: str = field(default="EMPTY", repr=False)
    timeout_s: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    concurrency: int = 64
    _rng: Random = field(default_factory=lambda: Random(0), repr=False)
    _contact: _Contact = field(default_factory=_Contact, repr=False)

    def __post_init__(self) -> None:
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(
                "the gateway's key (SPCT_GATEWAY_KEY) holds a line break or a character beyond "
                "ASCII; expected a key as it stands in the gateway's keys file"
            )

    @cached_property
    def _transport(self) -> Transport:
        return Transport(
            base_url=self.url.rstrip("/"), api_key=self.api_key, max_reply_bytes=_MAX_REPLY_BYTES
        )

    @property
    def trouble(self) -> str | None:
        """Why the gateway could not be asked the last time, or None."""
        return self._contact.trouble

    async def open(self) -> None:
        """See, within seconds and before any work, that a gateway answers at the address."""
        if self._contact.is_made:
            return
        reply = await self._transport.exchange("GET", "healthz", None, _REACH_S)
        where = f"the gateway at {self._transport.base_url}"
        if isinstance(reply, Failure):
            raise EndpointError(
                f"cannot reach {where}: {reply.message}; expected `spct serve` to run there "
                "before its clients start: check the address and the port"
            )
        if reply.status != 200 or _read(reply.body, "status") is None:
            raise EndpointError(
                f"{where} answers {reply.status} to /healthz, so it is something else; expected "
                "the address of `spct serve`, without a route"
            )
        self._contact.is_made = True

    @property
    def traits(self) -> Traits:
        """The gateway says no when asked for what its model does not take."""
        return Traits(joins_groups=True, settings=settings_of(self), takes_criteria=True)

    @property
    def fingerprint(self) -> str:
        """Where the verdicts come from; the gateway's own fingerprint is in its replies."""
        return f"gateway:{self._transport.base_url}"

    async def judge(self, example: Example) -> Verdict:
        """Judge one example; a failed judgement has no rewards."""
        body: dict[str, Any] = {"query": _turns(example.query), "responses": example.responses}
        body |= _known(example.reference, example.criteria)
        reply = await self._post("v1/judge", {"examples": [body]})
        return _verdict(example.id, reply["results"][0])

    async def member_rewards(
        self,
        query: tuple[Message, ...],
        responses: Sequence[str],
        *,
        group: str,
        size: int,
        reference: str | None = None,
        criteria: Criteria | None = None,
    ) -> MemberRewards:
        """Rewards of some members of a group whose others are asked for elsewhere."""
        body: dict[str, Any] = {
            "query": _turns(query),
            "responses": list(responses),
            "group": {"id": group, "size": size},
        }
        body |= _known(reference, criteria)
        reply = await self._post("v1/rewards", body)
        return MemberRewards(reply["rewards"], reply["errors"])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        failed = 0
        while True:
            reply = await self._transport.exchange("POST", path, data, self.timeout_s)
            if isinstance(reply, Http) and reply.status == 200:
                answer = _read(reply.body, "results") or _read(reply.body, "rewards")
                if answer is not None:
                    self._note(None)
                    return answer
                reply = Failure("garbage", "a 200 whose body is not the gateway's")
            failed += 1
            kind, message = _failure(reply)
            if kind not in _AGAIN or failed > self.retry.max_retries:
                if isinstance(reply, Http) and reply.status in (413, 422):
                    raise DataError(f"the gateway refused an example: {message}")
                raise EndpointError(f"calling {self._transport.url(path)}: {message}")
            if kind in ("down", "timeout", "garbage"):
                self._note(message)
            asked = retry_after_s(reply.headers) if isinstance(reply, Http) else None
            backoff_s = self.retry.backoff_s(failed, self._rng)
            await asyncio.sleep(backoff_s if asked is None else max(asked, backoff_s))

    def _note(self, trouble: str | None) -> None:
        """Say at once, and once per outage, that the gateway does not answer, and why."""
        contact, where = self._contact, self._transport.base_url
        if trouble is not None and contact.trouble is None:
            log.warning("the gateway at %s does not answer: %s; trying again", where, trouble)
        elif trouble is None and contact.trouble is not None:
            log.warning("the gateway at %s answers again", where)
        contact.trouble = trouble
        contact.is_made = contact.is_made or trouble is None


def _read(body: bytes, key: str) -> dict[str, Any] | None:
    """The gateway's answer; None if this is something else, such as a proxy's page."""
    try:
        answer = read_json(body)
    except NotStrictJSON:
        return None
    return answer if isinstance(answer, dict) and key in answer else None


def _failure(reply: Http | Failure) -> tuple[str, str]:
    if isinstance(reply, Failure):
        return reply.kind, reply.message
    try:
        message = read_json(reply.body)["error"]["message"]
    except (NotStrictJSON, KeyError, TypeError):
        message = "a reply that is not the gateway's"
    return classify_status(reply.status, reply.headers), f"{reply.status}: {message}"


def _turns(query: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in query]


def _known(reference: str | None, criteria: Criteria | None) -> dict[str, Any]:
    """What a request says of an example beside its texts."""
    found: dict[str, Any] = {} if reference is None else {"reference": reference}
    return found if criteria is None else {**found, "criteria": dump_items(criteria)}


def _verdict(example_id: str, result: Mapping[str, Any]) -> RemoteVerdict:
    rewards = result["rewards"]
    return RemoteVerdict(
        example_id=example_id,
        rewards=None if rewards is None else tuple(rewards),
        best=tuple(result["best"]),
        trajectories=(),
        k_asked=result["k_asked"],
        k_drawn=result["k_drawn"],
        k_counted=result["k_counted"],
        agreement=result["agreement"],
        usage=Usage(**result["usage"]),
        counts=result["unscored"],
        error=result["error"],
    )
