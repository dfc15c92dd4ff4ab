"""RemoteRM: the gateway's client, against the real gateway on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.retry import RetryPolicy
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, DataError, EndpointError
from spct.models.remote import RemoteRM
from spct.serve.config import ServeConfig
from spct.text.format import MET
from spct.types import Criteria, Criterion, Example, Message
from spct.votes.criteria import weighted
from tests.serve.local import Model, scripted, served

EXAMPLE = Example("mine", (Message("user", "What is 2+2?"),), ("4", "twenty-two"), reference="4")
QUICK = RetryPolicy(max_retries=8, base_s=0.01, cap_s=0.05)


async def test_a_remote_verdict_equals_the_local_one_but_for_its_trajectories():
    local = await scripted(k=4).judge(EXAMPLE)
    async with served(scripted(k=4)) as client:
        remote = RemoteRM(client.url)
        far = await remote.judge(EXAMPLE)
        again = await remote.judge(EXAMPLE)
        await remote.aclose()
    assert far == again and far.example_id == "mine" and far.trajectories == ()
    assert (far.k_asked, far.k_drawn, far.k_counted) == (4, 4, 4)
    assert far.rewards is not None and len(far.rewards) == 2
    assert far.usage.completion_tokens == local.usage.completion_tokens


async def test_a_failed_judgement_stays_none():
    async with served(Model(lambda example: None)) as client:
        remote = RemoteRM(client.url)
        assert (await remote.judge(EXAMPLE)).rewards is None
        await remote.aclose()
    nonsense = GenerativeRM(ScriptedEngine(lambda prompt, seed: "no verdict"), k=3)
    async with served(nonsense) as client:
        remote = RemoteRM(client.url)
        verdict = await remote.judge(EXAMPLE)
        await remote.aclose()
    assert verdict.unscored == {"no_verdict": 3} and "no_verdict" in str(verdict.error)


@pytest.mark.parametrize("key", ["short\nX: y", "schlüssel-schlüssel", "\u2028" * 16])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key):
    with pytest.raises(ConfigError, match="SPCT_GATEWAY_KEY"):
        RemoteRM("http://127.0.0.1:9", api_key=key)


async def test_opening_tells_a_gateway_from_something_else():
    async with served() as client:
        remote = RemoteRM(client.url)
        await remote.open()
        await remote.aclose()
        wrong = RemoteRM(client.url + "/v1/judge")
        with pytest.raises(EndpointError, match="404"):
            await wrong.open()
        await wrong.aclose()


def test_a_client_that_is_never_closed_leaves_no_word_of_it():
    """aiohttp would say "Unclosed client session" on the user's terminal."""
    code = (
        "import asyncio, sys\nfrom spct.models.remote import RemoteRM\n"
        "from spct.types import Example, Message\n"
        "async def main():\n"
        "    remote = RemoteRM(sys.argv[1])\n"
        "    print((await remote.judge(Example('x', (Message('user', 'q'),), ('a',)))).rewards)\n"
        "asyncio.run(main())\n"
    )
    run: list[subprocess.CompletedProcess[str]] = []

    async def main() -> None:
        async with served(Model()) as client:
            command = [sys.executable, "-W", "default", "-c", code, client.url]
            run.append(
                await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
            )

    asyncio.run(main())
    assert run[0].stdout.strip() == "(1.0,)" and "nclosed" not in run[0].stderr


async def test_refusals_are_waited_out_and_everything_is_judged_once():
    model = Model(delay_s=0.05)
    async with served(model, ServeConfig(max_concurrency=1, max_queue=1)) as client:
        remote = RemoteRM(client.url, retry=RetryPolicy(max_retries=60, base_s=0.01, cap_s=0.05))
        examples = [Example(str(i), EXAMPLE.query, ("a" * (i + 1),)) for i in range(6)]
        done = {v.example_id: v.rewards async for v in remote.judge_many(examples)}
        await remote.aclose()
    assert done == {str(i): (float(i + 1),) for i in range(6)} and len(model.judged) == 6


async def test_members_of_a_group_meet_at_the_gateway():
    model = Model()
    async with served(model) as client:
        one, two = RemoteRM(client.url), RemoteRM(client.url)
        rewards = await asyncio.gather(
            one.member_rewards(EXAMPLE.query, ["a", "a"], group="g", size=3),
            two.member_rewards(EXAMPLE.query, ["bb"], group="g", size=3),
        )
        await one.aclose()
        await two.aclose()
    assert rewards == [([1.0, 1.0], [None, None]), ([2.0], [None])]
    assert [sorted(example.responses) for example in model.judged] == [["a", "bb"]]


async def test_a_bad_example_is_a_data_error_and_a_wrong_key_an_endpoint_error():
    async with served(environ={"SPCT_GATEWAY_KEYS": "0123456789abcdef"}) as client:
        remote = RemoteRM(client.url, api_key="0123456789abcdef")
        with pytest.raises(DataError, match="refused an example"):
            await remote.judge(Example("x", EXAMPLE.query, ("a" * 300_000,)))
        await remote.aclose()
        stranger = RemoteRM(client.url, api_key="not-the-key-at-all", retry=QUICK)
        with pytest.raises(EndpointError, match="401") as caught:
            await stranger.judge(EXAMPLE)
        assert "not-the-key" not in str(caught.value)
        await stranger.aclose()


async def test_a_gateway_that_is_not_there_is_an_endpoint_error_after_the_retries():
    remote = RemoteRM("http://127.0.0.1:9", retry=RetryPolicy(max_retries=2, base_s=0.01))
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9"):
        await remote.judge(EXAMPLE)
    await remote.aclose()


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"[]", b'{"ok": true}', b"\xff"])
async def test_a_200_that_is_not_the_gateways_is_tried_again_and_then_an_endpoint_error(body):
    n_asked = 0

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        n_asked += 1
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    remote = RemoteRM(url, retry=RetryPolicy(max_retries=2, base_s=0.01))
    with pytest.raises(EndpointError, match="a 200 whose body is not the gateway's"):
        await remote.judge(EXAMPLE)
    await remote.aclose()
    server.close()
    assert n_asked == 3


async def test_criteria_reach_the_gateways_judge():
    items = (Criterion("word", "Speaks of twenty", 2), Criterion("four", "Names four apples"))
    asked = replace(EXAMPLE, reference=None, criteria=Criteria(items))
    judge = GenerativeRM(ScriptedEngine(), MET, k=1, vote=weighted)
    async with served(judge) as client:
        remote = RemoteRM(client.url)
        far = await remote.judge(asked)
        await remote.aclose()
    assert far.rewards == (await judge.judge(asked)).rewards == pytest.approx((0.0, 2 / 3))
