"""Reward models and a real server on loopback for the gateway's tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.models.base import FrozenModel
from spct.protocols import Traits
from spct.serve.app import create_app
from spct.serve.config import ServeConfig
from spct.serve.server import http_config
from spct.types import Example, Verdict
from spct.votes.vote import best, mean_scores


def scripted(k: int = 2) -> GenerativeRM:
    return GenerativeRM(ScriptedEngine(), k=k, vote=mean_scores)


def verdict(example: Example, rewards: Sequence[float] | None) -> Verdict:
    counted = 0 if rewards is None else 1
    top = () if rewards is None else best(tuple(rewards))
    known = None if rewards is None else tuple(rewards)
    return Verdict(example.id, known, top, (), 1, 1, counted, 1.0 if counted else None)


class Model(FrozenModel):
    """A reward model that is a function; it remembers what it judged and what was cancelled."""

    fingerprint = "model:test"
    concurrency = 8
    traits = Traits()

    def __init__(
        self,
        rewards: Callable[[Example], Sequence[float] | None] | None = None,
        *,
        delay_s: float = 0.0,
        error: Exception | None = None,
    ) -> None:
        self._rewards = rewards or (lambda example: [float(len(r)) for r in example.responses])
        self.delay_s, self.error = delay_s, error
        self.judged: list[Example] = []
        self.n_begun = 0
        self.n_cancelled = 0

    async def judge(self, example: Example) -> Verdict:
        self.n_begun += 1
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        self.judged.append(example)
        return verdict(example, self._rewards(example))


class Client:
    """An aiohttp session on a served app."""

    def __init__(self, session: aiohttp.ClientSession, app: FastAPI, port: int) -> None:
        self.session, self.app, self.port = session, app, port
        self.url = f"http://127.0.0.1:{port}"

    async def post(self, path: str, body: Any, **kwargs: Any) -> tuple[int, Any]:
        async with self.session.post(self.url + path, json=body, **kwargs) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str, **kwargs: Any) -> tuple[int, str]:
        async with self.session.get(self.url + path, **kwargs) as reply:
            return reply.status, await reply.text()

    async def metric(self, line: str) -> float:
        """A metric's value by its full line start, labels included; 0 if there is none yet."""
        async with self.session.get(self.url + "/metrics") as reply:
            text = await reply.text()
        found = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0


@asynccontextmanager
async def served(
    model: Any = None, config: ServeConfig | None = None, *, environ: dict[str, str] | None = None
) -> AsyncIterator[Client]:
    """Serve a model on a free port of loopback, in this event loop."""
    config = config or ServeConfig()
    app = create_app(model or scripted(), config, environ=environ or {})
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config_ = http_config(app, config)
    config_.load()
    server = uvicorn.Server(config_)
    server.lifespan = config_.lifespan_class(config_)
    await server.startup(sockets=[listener])  # without its main loop, which ticks in tenths
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, app, listener.getsockname()[1])
    finally:
        for one in server.servers:
            one.close()
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
        for connection in list(server.server_state.connections):  # of clients that stay
            connection.shutdown()
        await asyncio.sleep(0)
        await server.lifespan.shutdown()
