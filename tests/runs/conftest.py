"""An endpoint in a process of its own, so that it outlives the clients that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Endpoint:
    url: str
    pid: int

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as reply:
            return dict(json.load(reply))


@contextmanager
def endpoints(n: int, *flags: str) -> Iterator[list[Endpoint]]:
    """So many endpoints, each in a process of its own."""
    command = [sys.executable, "-m", "tests.engines.fault_server", "--port=0", *flags]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(n)
        ]
        found = []
        try:
            for server in servers:
                assert server.stdout is not None
                port = int(server.stdout.readline().split()[1])
                found.append(Endpoint(f"http://127.0.0.1:{port}/v1", server.pid))
            yield found
        finally:
            for server in servers:
                server.kill()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with endpoints(1, "--latency=0.01") as (one,):
        yield one
