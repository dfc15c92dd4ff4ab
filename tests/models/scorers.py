"""A scorer that is a function of the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spct.types import Message, Usage

Conversation = tuple[Message, ...]


class FunctionScorer:
    fingerprint = "function"

    def __init__(self, score: Callable[[Conversation], float]) -> None:
        self._score = score
        self.seen: list[Conversation] = []

    async def score(self, conversations: Sequence[Conversation]) -> list[float]:
        self.seen += conversations
        return [self._score(c) for c in conversations]

    @property
    def usage(self) -> Usage:
        return Usage()

    async def aclose(self) -> None:
        pass
