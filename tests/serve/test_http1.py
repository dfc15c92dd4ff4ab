"""Strict HTTP/1.1: what is taken, what is refused once and for all, and which clocks run."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.serve.config import ServeConfig
from spct.serve.hosts import Host, parse_host
from spct.serve.http1 import fault_of
from tests.serve.local import Model, served

BODY = b'{"query": "q", "responses": ["a"]}'
POST = b"POST /v1/rewards HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
EVIL = POST.replace(b"localhost", b"evil.example")  # a 403 that waits for no body
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def replies(port: int, *parts: bytes, wait_s: float = 0.3) -> list[int]:
    """The statuses of what comes back, one write after the other, until `wait_s` of silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.02)
        while data := await asyncio.wait_for(reader.read(65536), wait_s):
            got += data
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return [int(one[:3]) for one in got.split(b"HTTP/1.1 ")[1:]]


# ---- the head (pure)

HEADS = {
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c",
    "a folded header with a tab": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc",
    "a bare line feed": b"GET / HTTP/1.1\r\nHost: a\nX: b",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : b",
    "a name that is empty": b"GET / HTTP/1.1\r\nHost: a\r\n: b",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00",
    "length and chunks": POST + LENGTH + b"Transfer-Encoding: chunked",
    "two equal lengths": POST + LENGTH + LENGTH.strip(),
    "a list of lengths": POST + b"Content-Length: 5, 5",
    "a signed length": POST + b"Content-Length: +5",
    "a length in hexadecimal": POST + b"Content-Length: 0x5",
    "an empty length": POST + b"Content-Length:",
    "a length with Arabic digits": POST + "Content-Length: ٣".encode(),
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked",
    "identity": POST + b"Transfer-Encoding: identity",
    "xchunked": POST + b"Transfer-Encoding: xchunked",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a",
    "HTTP/2.0": b"PRI * HTTP/2.0\r\nHost: a",
    "HTTP/01.1": b"GET / HTTP/01.1\r\nHost: a",
    "lower case": b"GET / http/1.1\r\nHost: a",
    "HTTP/0.9": b"GET /",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: a",
    "a space at the end": b"GET / HTTP/1.1 \r\nHost: a",
    "an absolute target": b"GET http://a/ HTTP/1.1\r\nHost: a",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: a",
    "no host": b"GET / HTTP/1.1\r\nX: a",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: u@a",
    "two hosts in one": b"GET / HTTP/1.1\r\nHost: a, b",
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(name):
    assert fault_of(HEADS[name].removesuffix(b"\r\n")) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:8000",
        b"GET /healthz?x=1 HTTP/1.0",
        b"OPTIONS * HTTP/1.1\r\nHost: a",
        POST + b"Content-Length: 5",
        POST + b"Transfer-Encoding: Chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX: caf\xc3\xa9\t1  ",
        b"GET / HTTP/1.1\r\nHOST: [::1]:8000",
    ],
)
def test_a_proper_head_passes(head):
    assert fault_of(head) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_heads(data):
    for head in (data, b"GET / HTTP/1.1\r\nHost: a\r\n" + data):
        assert fault_of(head) is None or fault_of(head)


# ---- host names (pure)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("localhost", Host("localhost")),
        ("LocalHost:8000", Host("localhost", 8000)),
        ("localhost.:8000", Host("localhost", 8000)),
        ("[::1]:8000", Host("::1", 8000)),
        ("[0:0:0:0:0:0:0:1]", Host("::1")),
        ("reward_gateway:80", Host("reward_gateway", 80)),
    ],
)
def test_every_spelling_of_a_host_is_one_name(value, host):
    assert parse_host(value) == host


@pytest.mark.parametrize(
    "value",
    ["", ".", ":80", "[::1]evil.example", "[::1].evil", "[::1", "::1", "[evil]", "a b", "a:b",
     "a:", "a:0", "a:70000", "a:80:80", "a\x00", "münchen", "a#b", "a?b", "127.0.0.1@evil",
     "[::1]]", "[[::1]]", "a..:"],
)  # fmt: skip
def test_what_is_not_wholly_a_host_is_none(value):
    assert parse_host(value) is None


# ---- over the wire


@pytest.mark.parametrize("name", ["length and chunks", "a folded header", "two hosts"])
async def test_a_refused_head_is_one_400_and_the_connection_ends(name):
    model = Model()
    async with served(model) as client:
        got = await replies(client.port, HEADS[name] + b"\r\n\r\n" + CHUNKS + GET)
        assert got == [400]
        assert await client.metric('spct_refused_total{reason="bad_http"}') == 1
    assert not model.n_begun


async def test_lines_that_end_with_a_line_feed_alone_are_refused_at_once():
    async with served() as client:
        assert await replies(client.port, GET.replace(b"\r\n", b"\n")) == [400]


async def test_requests_in_one_packet_are_answered_in_turn_and_each_is_checked():
    model = Model()
    async with served(model) as client:
        good = POST + LENGTH + b"\r\n" + BODY
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS
        assert await replies(client.port, GET + good + chunked + GET) == [200] * 4
        smuggled = GET + b"GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + GET
        assert await replies(client.port, good, smuggled) == [200, 200, 400]


async def test_a_request_may_come_letter_by_letter():
    async with served(Model()) as client:
        data = POST + LENGTH + b"\r\n" + BODY + GET
        assert await replies(client.port, *(data[i : i + 7] for i in range(0, len(data), 7))) == [
            200,
            200,
        ]


async def test_a_body_that_nobody_wanted_is_drained_and_the_next_request_is_read():
    async with served(environ={"SPCT_GATEWAY_KEYS": "a-key-of-sixteen-characters"}) as client:
        refused = POST + b"Content-Length: 200000\r\n\r\n"
        got = await replies(client.port, refused, b"x" * 100_000, b"x" * 100_000 + GET)
        assert got == [401, 200]
        refused = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        assert await replies(client.port, refused, CHUNKS + GET) == [401, 200]


async def test_a_body_that_is_framed_wrongly_is_one_400_and_judges_nothing(caplog):
    model = Model()
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with served(model) as client:
        for body in (b"zz\r\nab\r\n", b"-1\r\nab\r\n", b"2\r\nabc\r\n", b"\r\n"):
            assert await replies(client.port, chunked + body) == [400], body
        assert client.app.state.gateway.in_flight.total() == 0
    assert not model.n_begun and not [r for r in caplog.records if r.levelname == "ERROR"]


DRIPS = {
    "part of a request line": (b"POST /v1/jud", b""),
    "a header that grows": (POST + b"X-A: ", b"a"),
    "one header after the other": (POST, b"X-A: b\r\n"),
    "a second request on the connection": (GET + b"GET /heal", b""),
    "a body after its refusal": (EVIL + b"Content-Length: 999\r\n\r\n", b"x"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRIPS)
async def test_no_head_and_no_leftover_body_keeps_a_connection_open(name):
    first, drip = DRIPS[name]
    limits = ServeConfig(head_timeout_s=0.2, body_timeout_s=0.2)
    async with served(config=limits) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(first)

        async def send_on() -> None:
            while True:
                await asyncio.sleep(0.03)
                writer.write(drip)

        sending = asyncio.create_task(send_on())
        try:
            async with asyncio.timeout(10):
                while await reader.read(65536):
                    pass
        except ConnectionError:
            pass
        finally:
            sending.cancel()
            writer.close()


async def test_a_body_of_tiny_chunks_does_not_stop_other_callers():
    tiny = b"1\r\n \r\n" * 300_000
    async with served(Model()) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n" + tiny)
        loop = asyncio.get_running_loop()
        worst = 0.0
        for _ in range(20):
            started = loop.time()
            assert (await client.get("/healthz"))[0] == 200
            worst = max(worst, loop.time() - started)
        writer.close()
    assert worst < 1.0  # 0.03 s here; without the pieces more than 3 s


async def test_every_loopback_spelling_of_the_host_is_answered_without_a_key():
    async with served() as client:
        port = client.port
        for host in (f"LOCALHOST:{port}", "localhost.", f"[::1]:{port}", "127.0.0.1"):
            assert (await client.get("/version", headers={"Host": host}))[0] == 200, host
        for host in ("evil.example", "localhost.evil.example", "[::2]"):
            assert (await client.get("/version", headers={"Host": host}))[0] == 403, host
        same = {"Host": f"LOCALHOST:{port}", "Origin": f"http://localhost:{port}"}
        assert (await client.get("/version", headers=same))[0] == 200
        for origin in ("null", "http://localhost", "http://evil.example", "http://["):
            assert (await client.get("/version", headers={**same, "Origin": origin}))[0] == 403
