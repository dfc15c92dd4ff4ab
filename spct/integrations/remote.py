"""A reward model that lives behind a gateway: the same Protocol, so every hook can use either."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from spct.core.generative import stream
from spct.engines.retry import Failure, RetryPolicy, classify_status, retry_after_s
from spct.engines.transport import Http, Transport
from spct.errors import DataError, EndpointError
from spct.types import Example, Message, Usage, Verdict

_AGAIN = frozenset({"rate_limited", "down", "timeout", "garbage"})
_MAX_REPLY_BYTES = 16_000_000


class RemoteRM:
    """Judges through `url`, the address of a gateway; a retry gets the answer of the first try.

    Verdicts carry no trajectories: ask the gateway's /v1/judge with `include` to read judgements.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "EMPTY",
        timeout_s: float = 300.0,
        retry: RetryPolicy | None = None,
        concurrency: int = 64,
    ) -> None:
        self._transport = Transport(
            base_url=url.rstrip("/"), api_key=api_key, max_reply_bytes=_MAX_REPLY_BYTES
        )
        self._timeout_s, self.concurrency = timeout_s, concurrency
        self._retry, self._rng = retry or RetryPolicy(), Random(0)

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

    def judge_many(self, examples: Iterable[Example]) -> AsyncIterator[Verdict]:
        """Judge a stream; verdicts come as they finish."""
        return stream(self.judge, examples, self.concurrency)

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
            reply = await self._transport.exchange("POST", path, data, self._timeout_s)
            if isinstance(reply, Http) and reply.status == 200:
                answer = _read(reply.body)
                if answer is not None:
                    return answer
                reply = Failure("garbage", "a 200 whose body is not the gateway's")
            failed += 1
            kind, message = _failure(reply)
            if kind not in _AGAIN or failed > self._retry.max_retries:
                if isinstance(reply, Http) and reply.status in (413, 422):
                    raise DataError(f"the gateway refused an example: {message}")
                raise EndpointError(f"calling {self._transport.url(path)}: {message}")
            asked = retry_after_s(reply.headers) if isinstance(reply, Http) else None
            backoff_s = self._retry.backoff_s(failed, self._rng)
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
