"""Schemathesis over the OpenAPI schema: no 5xx, no reply outside the schema, nothing invalid taken.

A real server answers in a thread. `positive_data_acceptance` is left out: a body may fit the schema
and still be refused for what it says (another model, a text of another template), which is what
most of the 4xx are for; every other check of schemathesis runs.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from spct.serve.config import ServeConfig
from tests.serve.local import scripted, served

EXAMPLES = os.environ.get("SPCT_FUZZ_EXAMPLES", "50")
CONFIG = ServeConfig(on_unscored=0.0, template="chatml", group_size=2, group_wait_s=0.0)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    started, stop, found = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with served(scripted(k=1), CONFIG) as client:
            found.append(client.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert started.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_no_request_makes_a_server_error_or_a_reply_outside_the_schema(url, tmp_path):
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
        "--exclude-checks", "positive_data_acceptance", "--max-examples", EXAMPLES,
        "--continue-on-failure", "--warnings", "off", "--no-color", "--seed", "1",
        "--request-timeout", "20", "--workers", "1",
    ]  # fmt: skip
    # one worker: hypothesis parses source, which CPython 3.11 does not survive in two threads at
    # once (SystemError: AST constructor recursion depth mismatch, python/cpython#106905)
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
