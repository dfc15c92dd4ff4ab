"""A reward model that lives behind a gateway: the same Protocol, so every hook can use either."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from spct.core.settings import settings_of
from spct.engines.retry import Failure, RetryPolicy, classify_status, retry_after_s
from spct.engines.transport import Http, Transport
from spct.errors import DataError, EndpointError
from spct.models.base import FrozenModel
from spct.types import Example, Message, Traits, Usage, Verdict

_AGAIN = frozenset({"rate_limited", "down", "timeout", "garbage"})
_MAX_REPLY_BYTES = 16_000_000


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

    @cached_property
    def _transport(self) -> Transport:
        return Transport(
            base_url=self.url.rstrip("/"), api_key=self.api_key, max_reply_bytes=_MAX_REPLY_BYTES
        )

    @property
    def traits(self) -> Traits:
        """The gateway says no when asked for what its model does not take."""
        return Traits(joins_groups=True, settings=settings_of(self))

    @property
    def fingerprint(self) -> str:
        """Where the verdicts come from; the gateway's own fingerprint is in its replies."""
        return f"gateway:{self._transport.base_url}"

    async def judge(self, example: Example) -> Verdict:
        """Judge one example; a failed judgement has no rewards."""
        body: dict[str, Any] = {"query": _turns(example.query), "responses": example.responses}
        if example.reference is not None:
            body["reference"] = example.reference
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
    ) -> list[float | None]:
        """Rewards of some members of a group whose others are asked for elsewhere."""
        body: dict[str, Any] = {
            "query": _turns(query),
            "responses": list(responses),
            "group": {"id": group, "size": size},
        }
        if reference is not None:
            body["reference"] = reference
        rewards: list[float | None] = (await self._post("v1/rewards", body))["rewards"]
        return rewards

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        failed = 0
        while True:
            reply = await self._transport.exchange("POST", path, data, self.timeout_s)
            if isinstance(reply, Http) and reply.status == 200:
                answer = _read(reply.body)
                if answer is not None:
                    return answer
                reply = Failure("garbage", "a 200 whose body is not the gateway's")
            failed += 1
            kind, message = _failure(reply)
            if kind not in _AGAIN or failed > self.retry.max_retries:
                if isinstance(reply, Http) and reply.status in (413, 422):
                    raise DataError(f"the gateway refused an example: {message}")
                raise EndpointError(f"calling {self._transport.url(path)}: {message}")
            asked = retry_after_s(reply.headers) if isinstance(reply, Http) else None
            backoff_s = self.retry.backoff_s(failed, self._rng)
            await asyncio.sleep(backoff_s if asked is None else max(asked, backoff_s))


def _read(body: bytes) -> dict[str, Any] | None:
    """The gateway's answer; None if this is something else, such as a proxy's page."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.keys() & {"results", "rewards"} else None


def _failure(reply: Http | Failure) -> tuple[str, str]:
    if isinstance(reply, Failure):
        return reply.kind, reply.message
    try:
        message = json.loads(reply.body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = "a reply that is not the gateway's"
    return classify_status(reply.status, reply.headers), f"{reply.status}: {message}"


def _turns(query: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in query]


def _verdict(example_id: str, result: Mapping[str, Any]) -> Verdict:
    rewards = result["rewards"]
    return Verdict(
        example_id=example_id,
        rewards=None if rewards is None else tuple(rewards),
        best=tuple(result["best"]),
        trajectories=(),
        k_asked=result["k_asked"],
        k_drawn=result["k_drawn"],
        k_counted=result["k_counted"],
        agreement=result["agreement"],
        usage=Usage(**result["usage"]),
    )
