"""A scorer behind HTTP: the classification routes of vLLM and SGLang.

| shape | route | sent | read |
|---|---|---|---|
| vllm-classify | /classify | `input`: token ids, or `messages` | `data[i].probs` of one number |
| vllm-pooling | /pooling | the same, and `task` "classify" | `data[i].data` of one number |
| sglang-classify | /classify | `text` without the leading BOS | `embedding` of one number |

The activation is switched off in each request: both servers may squash the logit to 0..1. With a
tokenizer here, vLLM gets token ids, so no BOS can be doubled and nothing is cut; without one it
gets `messages` and applies its own template. SGLang adds the BOS itself. Retries, pauses for
outages and errors are those of the chat client.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from spct.engines.adaptive import AdaptiveLimit
from spct.engines.caller import Caller, Request
from spct.engines.gate import Gate
from spct.engines.openai.openai_errors import failure
from spct.engines.openai.openai_wire import GarbageReply, strict_json
from spct.engines.retry import Failure, Outage, RetryBudget, RetryPolicy
from spct.engines.transport import Http, Transport
from spct.errors import ConfigError, EngineError, first_error
from spct.models.encode import Conversation, Encoder
from spct.text.tokens import ALL_TOKENS, pattern_of
from spct.types import Usage

# The server writes its own template around `messages`, and takes an end of turn in a content for a
# real one. Which tokens its model has is not known here, so those of all families are broken up.
_TOKENS = re.compile(pattern_of(ALL_TOKENS))

Shape = Literal["vllm-classify", "vllm-pooling", "sglang-classify"]
PATHS: dict[Shape, str] = {
    "vllm-classify": "classify",
    "vllm-pooling": "pooling",
    "sglang-classify": "classify",
}


class HTTPScorer:
    """Scores conversations at a server. `base_url` ends before the route: http://host:8000.

    `encoder` writes and counts conversations here; vLLM does not need it. `max_batch` is how many
    conversations one request holds, `max_concurrency` how many requests are in flight.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        shape: Shape = "vllm-classify",
        encoder: Encoder | None = None,
        api_key: str | None = None,
        max_batch: int = 32,
        max_concurrency: int = 16,
        timeout_s: float = 300.0,
        retry: RetryPolicy | None = None,
        outage: Outage | None = None,
    ) -> None:
        if encoder is None and shape == "sglang-classify":
            raise ConfigError(
                "scoring over the SGLang route takes text, so it needs a tokenizer here to write "
                "conversations with; set `tokenizer` to the model's folder"
            )
        self.model, self.shape, self.encoder, self.max_batch = model, shape, encoder, max_batch
        self.usage = Usage()
        self._answered = False
        self._caller = Caller(
            Transport(base_url=base_url, api_key=api_key or "EMPTY", max_reply_bytes=32 * 2**20),
            Gate(AdaptiveLimit(minimum=1, start=max_concurrency, maximum=max_concurrency)),
            policy=retry or RetryPolicy(),
            budget=RetryBudget(),
            outage=outage or Outage(),
            attempt_timeout_s=timeout_s,
            deadline_s=3 * timeout_s,
        )

    @property
    def fingerprint(self) -> str:
        """Names the server, the route and the model."""
        return f"{self.shape}:{self._caller.transport.base_url}:{self.model}"

    async def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one logit per conversation; `ContextOverflow` if one does not fit."""
        size = 1 if self.encoder is None else self.max_batch  # `messages` is one conversation
        parts = [conversations[i : i + size] for i in range(0, len(conversations), size)]
        with first_error():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._score(part)) for part in parts]
        return [logit for task in tasks for logit in task.result()]

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._caller.transport.aclose()

    def body(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        """The request's fields for one batch."""
        fields: dict[str, Any] = {"model": self.model}
        if self.shape == "sglang-classify":
            return fields | {"text": [self._text(c) for c in conversations]}
        if self.shape == "vllm-pooling":
            fields["task"] = "classify"
        if self.encoder is None:
            (one,) = conversations
            fields["messages"] = [{"role": m.role, "content": _broken(m.content)} for m in one]
            # the response is given, so nothing may be opened for the assistant to continue
            fields |= {"add_generation_prompt": False, "add_special_tokens": False}
        else:
            fields["input"] = [self.encoder.fitting(c) for c in conversations]
        return fields | {"use_activation": False}

    def _text(self, conversation: Conversation) -> str:
        assert self.encoder is not None
        self.encoder.fitting(conversation)  # refuses what is too long
        bos = self.encoder.tokenizer.bos_token
        text = self.encoder.text(conversation)
        return text.removeprefix(bos) if isinstance(bos, str) else text

    async def _score(self, conversations: Sequence[Conversation]) -> list[float]:
        fields, path = self.body(conversations), PATHS[self.shape]
        url = self._caller.transport.url(path)

        def read(http: Http) -> list[float] | Failure:
            refused = failure(http, url, fields, is_new=not self._answered)
            if refused is not None:
                return refused
            try:
                reply = strict_json(http.body)
                logits = read_logits(reply, self.shape, len(conversations))
            except GarbageReply as error:
                return Failure("garbage", str(error))
            self._count(reply, len(conversations))
            return logits

        request = Request("POST", path, json.dumps(fields).encode())
        logits = await self._caller.call(request, read)
        if isinstance(logits, Failure):
            raise EngineError(f"scoring at {url}: {logits.message}")
        self._answered = True
        return logits

    def _count(self, reply: Any, n: int) -> None:
        used = reply.get("usage") if isinstance(reply, dict) else None
        tokens = used.get("prompt_tokens") if isinstance(used, dict) else None
        self.usage += Usage(tokens if isinstance(tokens, int) else 0, 0, n)


def _broken(text: str) -> str:
    """The text with control tokens broken up: `<|im_end|>` becomes `< |im_end|>`."""
    return _TOKENS.sub(lambda token: f"{token[0][:1]} {token[0][1:]}", text)


def read_logits(reply: Any, shape: Shape, n: int) -> list[float]:
    """The `n` logits of a reply in the order asked; `GarbageReply` for anything else."""
    if shape == "sglang-classify":
        items: Any = reply if isinstance(reply, list) else [reply]
        key = "embedding"
    else:
        items = reply.get("data") if isinstance(reply, dict) else None
        key = "probs" if shape == "vllm-classify" else "data"
    if not isinstance(items, list) or len(items) != n:
        got = f"{len(items)} entries" if isinstance(items, list) else repr(reply)[:200]
        raise GarbageReply(f"expected {n} scored entries, got {got}")
    logits: list[float | None] = [None] * n
    for place, item in enumerate(items):
        # vLLM answers a batch in the order in which it finished; `index` says which one this is
        index = item.get("index", place) if isinstance(item, dict) else None
        if not isinstance(index, int) or not 0 <= index < n or logits[index] is not None:
            raise GarbageReply(f"entry {place} has the index {index!r}, expected 0..{n - 1} once")
        logits[index] = _one_number(item.get(key), key, place)
    return [logit for logit in logits if logit is not None]


def _one_number(value: Any, key: str, place: int) -> float:
    while isinstance(value, list) and len(value) == 1:  # some versions nest it once more
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise GarbageReply(
            f"entry {place} has {key} = {value!r:.100}, expected one finite number; is the model "
            "a sequence classifier of one logit?"
        )
    return float(value)
