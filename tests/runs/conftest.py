"""An endpoint in a process of its own, so that it outlives the clients that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Endpoint:
    url: str

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as reply:
            return dict(json.load(reply))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    command = [sys.executable, "-m", "tests.engines.fault_server", "--port=0", "--latency=0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Endpoint(f"http://127.0.0.1:{int(server.stdout.readline().split()[1])}/v1")
        server.kill()
