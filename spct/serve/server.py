"""Running the app: what is refused before the port is taken, and how it goes away.

SIGTERM or SIGINT once: /readyz turns 503 and new judgements are refused, open groups are judged as
they are, requests in flight are finished (`shutdown_timeout_s`), the port is closed, and the exit
code is 0, or 1 if something had to be cut. A second signal cuts everything within two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import uvicorn
from fastapi import FastAPI

from spct.errors import ConfigError
from spct.serve.app import keyring_of
from spct.serve.config import ServeConfig, is_loopback
from spct.serve.gateway import Gateway
from spct.serve.http1 import StrictHTTP
from spct.serve.wires.chat import template_named

log = logging.getLogger("spct.serve")


def check(config: ServeConfig, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse what must not be served; runs before a model is loaded or a port is taken."""
    template_named(config.template)
    has_keys = keyring_of(config, environ) is not None
    if not has_keys and not config.unsafe_no_auth and not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host} can be reached from other machines and no key is set, so anyone "
            "could judge at your cost; name keys with --keys-file or SPCT_GATEWAY_KEYS, or say "
            "--unsafe-no-auth"
        )


def take_port(config: ServeConfig) -> socket.socket:
    """Bind, or say who may be in the way."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose "
            "another --port"
        ) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn with our way of going away: it re-raises signals, which would end in code 143."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_signal = on_signal

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def http_config(app: FastAPI, config: ServeConfig) -> uvicorn.Config:
    """How uvicorn serves the app: strict HTTP/1.1 with clocks, and nothing else."""
    gateway: Gateway = app.state.gateway
    protocol = partial(
        StrictHTTP,
        max_head_bytes=config.max_header_bytes,
        head_timeout_s=config.head_timeout_s,
        on_refused=lambda kind: gateway.metrics.refused.labels(kind).inc(),
    )
    return uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # it is called as the class is
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,  # nothing here trusts or uses a client's address
        backlog=2048,
        timeout_keep_alive=75,  # longer than the usual proxy's 60 s
        timeout_graceful_shutdown=2,
        loop="uvloop" if sys.platform != "win32" else "auto",
    )


def run(app: FastAPI, config: ServeConfig) -> int:
    """Serve until a signal; returns the exit code."""
    listener = take_port(config)
    _allow_many_connections()
    uvicorn_config = http_config(app, config)
    drain = Drain(app.state.gateway, config)
    server = _Server(uvicorn_config, drain.on_signal)
    drain.server = server
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    gc.collect()
    gc.freeze()  # what is loaded stays: full collections that walk it would stop every request
    print(f"serving on http://{shown}:{port}", flush=True)
    server.run(sockets=[listener])
    return drain.exit_code


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual soft limit is 1,024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Drain:
    """Goes away in order, at the first signal; at the second at once."""

    def __init__(self, gateway: Gateway, config: ServeConfig) -> None:
        self._gateway, self._config = gateway, config
        self._task: asyncio.Task[None] | None = None
        self.server: uvicorn.Server | None = None
        self.exit_code = 0

    def on_signal(self) -> None:
        """A signal has come."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())
            return
        log.warning("second signal: leaving now")
        self._task.cancel()
        self._leave(cut=True)

    async def _drain(self) -> None:
        log.info("draining")
        self._gateway.drain()
        await asyncio.sleep(self._config.drain_grace_s)
        deadline = asyncio.get_running_loop().time() + self._config.shutdown_timeout_s
        while self._gateway.in_flight.total():
            if asyncio.get_running_loop().time() > deadline:
                log.warning("%d requests cut at the deadline", self._gateway.in_flight.total())
                self._leave(cut=True)
                return
            await asyncio.sleep(0.02)
        self._leave(cut=False)

    def _leave(self, *, cut: bool) -> None:
        assert self.server is not None
        self.exit_code = int(cut)
        self.server.should_exit = True
        self.server.force_exit = cut
