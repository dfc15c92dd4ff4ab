"""The gateway as a process: what it prints, what it refuses, how it goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
SERVE = ("-c", "from spct.cli.main import main; main()", "serve")
# One judgement takes a second: the scripted engine through a config would be instant.
SLOW = """
import asyncio, sys
from spct.engines.scripted import ScriptedEngine
from spct.core.generative import GenerativeRM
from spct.serve.app import create_app
from spct.serve.config import ServeConfig
from spct.serve.server import run
config = ServeConfig(port=0, shutdown_timeout_s=float(sys.argv[1]), group_wait_s=60)
model = GenerativeRM(ScriptedEngine(delay_s=float(sys.argv[2])), k=1)
sys.exit(run(create_app(model, config, environ={}), config))
"""


@asynccontextmanager
async def process(*args: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *args,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def address(running: asyncio.subprocess.Process) -> str:
    assert running.stdout is not None
    line = (await asyncio.wait_for(running.stdout.readline(), 60)).decode()
    assert line.startswith("serving on "), line
    return line.split()[-1]


async def ask(url: str, query: str = "q", **body: object) -> tuple[int, dict]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/rewards", json={"query": query, "responses": ["a"], **body}) as r,
    ):
        return r.status, await r.json()


async def test_serve_scripted_answers_and_a_signal_ends_it_with_code_0():
    async with process(*SERVE, "scripted", "--port", "0") as running:
        url = await address(running)
        status, reply = await ask(url)
        assert status == 200 and reply["model"] == "scripted" and reply["rewards"][0] is not None
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 20) == 0


async def test_requests_in_flight_and_open_groups_are_finished_while_draining():
    async with process("-c", SLOW, "30", "1.0") as running:
        url = await address(running)
        held = asyncio.create_task(ask(url))
        member = asyncio.create_task(ask(url, "other", group={"id": "g", "size": 4}))
        await asyncio.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as ready:
                assert ready.status == 503
            async with session.get(f"{url}/healthz") as alive:
                assert alive.status == 200
        assert (await ask(url, "new"))[0] == 503
        assert (await held)[0] == 200 and (await member)[
            0
        ] == 200  # the group did not wait a minute
        assert await asyncio.wait_for(running.wait(), 20) == 0


async def test_what_does_not_finish_in_time_is_cut_and_the_exit_code_says_so():
    async with process("-c", SLOW, "0.2", "60") as running:
        url = await address(running)
        held = asyncio.create_task(ask(url))
        await asyncio.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 20) == 1
        assert isinstance((await asyncio.gather(held, return_exceptions=True))[0], Exception)


async def test_a_second_signal_leaves_at_once():
    async with process("-c", SLOW, "60", "60") as running:
        url = await address(running)
        held = asyncio.create_task(ask(url))
        await asyncio.sleep(0.5)
        running.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        running.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(running.wait(), 20) == 1
        await asyncio.gather(held, return_exceptions=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--host", "0.0.0.0"], "no key is set"),
        (["--on-unscored", "zero"], "on_unscored"),
    ],
)
async def test_bad_settings_end_with_code_2_before_the_port_is_taken(args, message):
    with socket.socket() as probe:  # a port that is free now, and must be free afterwards
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    async with process(*SERVE, "scripted", "--port", port, *args) as running:
        out, err = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 2 and message in err.decode() and b"serving" not in out


async def test_a_config_file_and_the_environment_set_what_flags_do_not(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[serve]\non_unscored = -1.0\nserved_name = "from-file"\nport = 0\n')
    async with process(
        *SERVE, "scripted", "--config", str(file),
        SPCT_SERVE_SERVED_NAME="from-environment",
    ) as running:  # fmt: skip
        url = await address(running)
        assert (await ask(url))[1]["model"] == "from-environment"
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/remote_rm", json={"prompt": "p", "response": "r"}) as reply,
        ):
            assert reply.status == 200
    file.write_text("[serve]\nhots = 1\n")
    async with process(*SERVE, "scripted", "-c", str(file)) as running:
        _, err = await running.communicate()
        assert running.returncode == 2 and b"did you mean 'host'" in err
