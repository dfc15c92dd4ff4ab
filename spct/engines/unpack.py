"""What a reply's body is once it is out of its wrapping: unpacked, and in UTF-8. Pure, bounded.

Replies are asked for as they are, and come as they like: some proxies pack them, name the packing
in capitals or by an old name, or send another character set. A reply that is paid for and whole is
not thrown away for that.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Callable

_GZIP_MAGIC = b"\x1f\x8b"
# Text encodings only: codecs.lookup also knows zlib and rot13.
_CHARSET = re.compile(
    r"(utf|iso|latin|windows|cp|koi8|gb|big5|shift|euc|mac|us-?ascii|ascii)[\w-]*", re.IGNORECASE
)


class Unreadable(Exception):
    """The body cannot be unpacked or decoded; the message says why."""


class TooLarge(Exception):
    """The body is larger than allowed, and would be the next time."""


def unpacked(body: bytes, encoding: str, cap: int) -> bytes:
    """The body of a `Content-Encoding`: a list of packings, the last applied first taken off."""
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in reversed([name for name in names if name not in ("", "identity")]):
        unpack = _UNPACKERS.get(name)
        if unpack is None:
            raise Unreadable(f"the reply is packed as {name!r}, though it was asked for unpacked")
        body = unpack(body, name, cap)
    return body


def as_utf8(body: bytes, content_type: str) -> bytes:
    """JSON in UTF-8: as it came, or from UTF-16, UTF-32 or the character set that is declared.

    Valid UTF-8 is taken as that whatever is declared: servers state their platform's default.
    """
    wide = json.detect_encoding(body[:4])
    if wide.startswith(("utf-16", "utf-32")):
        return _decoded(body, wide)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        found = re.search(r"charset\s*=\s*\"?([\w.:-]+)", content_type, re.IGNORECASE)
        if found and _CHARSET.fullmatch(found[1]) and not found[1].lower().startswith("utf"):
            return _decoded(body, found[1])
    return body  # what is not UTF-8 after all is named by the JSON reader


def _decoded(body: bytes, charset: str) -> bytes:
    try:
        return codecs.decode(body, charset).encode("utf-8")
    except (UnicodeError, LookupError) as error:
        raise Unreadable(f"the reply is not {charset}: {error}") from None


def _zlib(body: bytes, name: str, cap: int) -> bytes:
    """gzip, in one or several members, or deflate with or without zlib's head."""
    if name == "deflate" and not _has_zlib_head(body):
        return _member(body, name, cap, -zlib.MAX_WBITS)[0]
    plain, rest = _member(body, name, cap, 32 + zlib.MAX_WBITS)
    while rest.startswith(_GZIP_MAGIC):
        more, rest = _member(rest, name, cap - len(plain), 32 + zlib.MAX_WBITS)
        plain += more
    return plain


def _has_zlib_head(body: bytes) -> bool:
    return body[:2] == _GZIP_MAGIC or (
        len(body) > 1 and body[0] & 15 == zlib.DEFLATED and (body[0] * 256 + body[1]) % 31 == 0
    )


def _member(body: bytes, name: str, cap: int, wbits: int) -> tuple[bytes, bytes]:
    unpacker = zlib.decompressobj(wbits)
    try:
        plain = unpacker.decompress(body, cap + 1)
    except zlib.error as error:
        raise Unreadable(f"the reply says {name} and is not: {error}") from None
    if len(plain) > cap:
        raise TooLarge
    if not unpacker.eof:
        raise Unreadable(f"the {name} reply broke off")
    return plain, unpacker.unused_data


def _by_arrow(body: bytes, name: str, cap: int) -> bytes:
    """br and zstd, which Python's own library has only from 3.14 on (and br not at all)."""
    try:
        import pyarrow  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        raise Unreadable(
            f"the reply is packed as {name!r}, which needs pyarrow: pip install 'spct[parquet]'"
        ) from None
    plain = bytearray()
    source = pyarrow.BufferReader(body)
    try:
        with pyarrow.CompressedInputStream(source, _ARROW_NAMES[name]) as packed:
            # a bounded output, so that a small body cannot become gigabytes
            while len(plain) <= cap and (more := packed.read(_PIECE)):
                plain += more
    except OSError as error:
        raise Unreadable(f"the reply says {name} and cannot be unpacked: {error}") from None
    if len(plain) > cap:
        raise TooLarge
    return bytes(plain)


_PIECE = 2**20
_ARROW_NAMES = {"br": "brotli", "zstd": "zstd"}
_UNPACKERS: dict[str, Callable[[bytes, str, int], bytes]] = {
    "gzip": _zlib,
    "x-gzip": _zlib,
    "deflate": _zlib,
    "x-deflate": _zlib,
    "br": _by_arrow,
    "zstd": _by_arrow,
}
