"""Strict HTTP/1.1 under uvicorn: a head is read whole and in time, or the connection ends.

h11 is kind to old clients: it takes bare line feeds, folded headers, and a length beside chunks.
Whatever two parsers may read in two ways lets a client hide a request behind another from a proxy
in front (request smuggling), so each head is checked here before h11 sees it. Every request gets an
h11 connection of its own, because bytes that follow a request must pass the same check.

The clock of a head starts with its first byte and no later byte restarts it, so neither a silent
client nor one that sends a letter a second keeps a file open.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from spct.serve.errors import HttpError
from spct.serve.hosts import parse_host

_REQUEST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ (/[\x21-\x7e]*|\*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_BARE_FEED = re.compile(rb"(?<!\r)\n")
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# h11 takes about 10 us for each chunk of a body, and a client chooses how small its chunks are:
# what has arrived is handed over in pieces, so that other connections are served in between.
_PIECE = 65_536
_PIECE_OF_CHUNKS = 4096
_MAX_WAITING = 262_144


def fault_of(head: bytes) -> str | None:
    """What is wrong with a request's head, or None; `head` is without its closing empty line."""
    if _BARE_LINE_END.search(head):
        return "a line must end with CRLF"
    first, *lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        return "expected METHOD /path HTTP/1.1"
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            return "a header must be `Name: value` on a line of its own"
        found.setdefault(header[1].lower(), []).append(header[2])
    return _fault_of_framing(found, is_1_1=request[2] == b"1") or _fault_of_host(
        found.get(b"host", []), is_1_1=request[2] == b"1"
    )


def _fault_of_framing(found: dict[bytes, list[bytes]], *, is_1_1: bool) -> str | None:
    lengths = found.get(b"content-length", [])
    codings = found.get(b"transfer-encoding", [])
    if lengths and codings:
        return "Content-Length and Transfer-Encoding must not come together"
    if len(lengths) > 1 or any(not re.fullmatch(rb"\d{1,18}", one) for one in lengths):
        return "Content-Length must be one decimal number"
    if codings and (not is_1_1 or [one.lower() for one in codings] != [b"chunked"]):
        return "the only Transfer-Encoding is chunked, once, and in HTTP/1.1"
    return None


def _fault_of_host(hosts: list[bytes], *, is_1_1: bool) -> str | None:
    if len(hosts) > 1 or (is_1_1 and not hosts):
        return "exactly one Host header is needed"
    if hosts and parse_host(hosts[0].decode("latin-1")) is None:
        return "Host must be a name or an address, with or without a port"
    return None


class _OneRequest(h11.Connection):
    """h11 for a single request; uvicorn asks it for the next one where it has drained a body."""

    def start_next_cycle(self) -> None:
        raise _RequestIsOver


class _RequestIsOver(Exception):
    pass


class StrictHTTP(H11Protocol):
    """uvicorn's HTTP/1.1 with a strict, timed reader of heads in front."""

    def __init__(
        self,
        *args: Any,
        max_head_bytes: int,
        head_timeout_s: float,
        on_refused: Callable[[str], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._max_head_bytes, self._head_timeout_s = max_head_bytes, head_timeout_s
        self._on_refused = on_refused
        self._head: bytearray | None = bytearray()  # None while a request is being answered
        self._clock: asyncio.TimerHandle | None = None
        self._waiting = bytearray()  # received, and not yet handed to h11
        self._piece = _PIECE
        self._is_feeding = False
        self.conn = _OneRequest(h11.SERVER, max_head_bytes + 4096)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that connects and says nothing is idle, as between two requests."""
        super().connection_made(transport)
        self._start_idle_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._stop_clock()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Collect a head, or hand a body's bytes on."""
        if self.transport.is_closing():
            return
        if self._head is not None:
            self._unset_keepalive_if_required()
            self._collect_head(self._head, data)
            return
        self._waiting += data
        if len(self._waiting) > _MAX_WAITING:
            self.transport.pause_reading()
        if not self._is_feeding:
            self._feed()

    def _collect_head(self, head: bytearray, data: bytes) -> None:
        if self._clock is None:
            self._start_clock(self._head_is_late)
        searched = max(0, len(head) - 3)
        head += data
        end = head.find(b"\r\n\r\n", searched)
        if (len(head) if end < 0 else end) > self._max_head_bytes:
            self._refuse(431, "header_too_large", f"more than {self._max_head_bytes} bytes of head")
        elif end >= 0:
            self._stop_clock()
            self._start_request(bytes(head[:end]), bytes(head[end + 4 :]))
        elif _BARE_FEED.search(head, searched):
            # a client that ends its lines with LF alone would wait for its answer in vain
            self._refuse(400, "bad_http", "a line must end with CRLF")

    def _start_request(self, head: bytes, rest: bytes) -> None:
        fault = fault_of(head)
        if fault is not None:
            self._refuse(400, "bad_http", fault)
            return
        self._head = None
        is_chunked = b"\ntransfer-encoding:" in head.lower()
        self._piece = _PIECE_OF_CHUNKS if is_chunked else _PIECE
        super().data_received(head + b"\r\n\r\n")
        if rest:
            self.data_received(rest)

    def _feed(self) -> None:
        """Hand a piece to h11, and come back for the next after the loop has served others."""
        self._is_feeding = False
        if self._head is not None or self.transport.is_closing():
            return
        piece = bytes(self._waiting[: self._piece])
        del self._waiting[: self._piece]
        try:
            super().data_received(piece)
        except _RequestIsOver:  # answered before its body had come, which has now been drained
            self._stop_clock()
            self._await_next_head()
            return
        if len(self._waiting) <= _MAX_WAITING and not self.flow.read_paused:
            self.transport.resume_reading()
        if self._waiting:
            self._is_feeding = True
            self.loop.call_soon(self._feed)

    def on_response_complete(self) -> None:
        """After a request and its answer, the next head is read from the start."""
        if self.conn.their_state is h11.DONE and self.conn.our_state is h11.DONE:
            self._await_next_head()
        elif not self.transport.is_closing():  # the rest of a body that was refused is drained
            self._start_clock(self.transport.close)
        super().on_response_complete()

    def _await_next_head(self) -> None:
        rest = bytes(self.conn.trailing_data[0]) + bytes(self._waiting)
        self._waiting.clear()
        self.conn = _OneRequest(h11.SERVER, self._max_head_bytes + 4096)
        self._head = bytearray()
        self._start_idle_clock()
        if rest:  # not at once: a thousand requests in one packet must not nest a thousand calls
            self.loop.call_soon(self.data_received, rest)

    def _head_is_late(self) -> None:
        self._refuse(408, "slow_head", f"no complete head within {self._head_timeout_s:g} s")

    def send_400_response(self, msg: str) -> None:
        """A body is framed wrongly: say so if nothing was said yet, and let the route stop."""
        has_begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if has_begun:
            self.transport.close()
        else:
            self._refuse(400, "bad_http", "the chunks of the body have no proper sizes")

    def _refuse(self, status: int, kind: Any, message: str) -> None:
        """Answer what never became a request, and close: its bytes cannot be trusted further."""
        self._stop_clock()
        self._head = bytearray()
        if self.transport.is_closing():
            return
        self._on_refused(kind)
        reply = HttpError(status, kind, message, headers={"Connection": "close"}).response()
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [name + b": " + value for name, value in reply.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(reply.body)]))
        self.transport.close()

    def _start_clock(self, end: Callable[[], None]) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self._head_timeout_s, end)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _start_idle_clock(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
