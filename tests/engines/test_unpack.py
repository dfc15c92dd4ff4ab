"""However a reply is wrapped, its JSON comes out; what cannot be opened says so, within bounds."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.engines.unpack import TooLarge, Unreadable, as_utf8, unpacked
from spct.strict_json import read_json
from tests.engines.fault_server import by_arrow

BODY = json.dumps({"text": "Scores: \\boxed{8, 3} für alle"}, ensure_ascii=False).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "DEFLATE": zlib.compress,
    "deflate": raw_deflate,
    "br": by_arrow("brotli"),
    "ZSTD": by_arrow("zstd"),
    "Identity": bytes,
    "": bytes,
}


@given(st.lists(st.sampled_from(sorted(PACKERS)), max_size=4), st.integers(0, 3))
def test_every_list_of_packings_is_taken_off_in_its_order(names: list[str], blanks: int) -> None:
    body = BODY
    for name in names:
        body = PACKERS[name](body)
    assert unpacked(body, ("," + " " * blanks).join(names), 10_000) == BODY


def test_a_gzip_file_may_have_several_members() -> None:
    assert unpacked(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip", 1000) == BODY


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "ZSTD"])
def test_what_unpacks_to_more_than_the_cap_is_refused(name: str) -> None:
    bomb = PACKERS[name](b" " * 1_000_000)
    with pytest.raises(TooLarge):
        unpacked(bomb, name, 10_000)
    with pytest.raises(TooLarge):
        unpacked(gzip.compress(b" " * 9_000) * 3, "gzip", 10_000)


@pytest.mark.parametrize("name", ["gzip", "br", "ZSTD"])
def test_a_reply_that_breaks_off_says_so(name: str) -> None:
    with pytest.raises(Unreadable, match=r"broke off|cannot be unpacked"):
        unpacked(PACKERS[name](BODY)[:-3], name, 1000)


@given(st.binary(max_size=60), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, gzip"]))
def test_anything_else_is_unreadable_and_nothing_worse(body: bytes, name: str) -> None:
    try:
        unpacked(body, name, 1000)
    except (Unreadable, TooLarge):
        pass
    else:
        assert name in ("deflate", "br") or not body, "random bytes may be a stream without a head"


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16-le", "utf-32-be", "utf-8-sig"])
@pytest.mark.parametrize("declared", ["application/json", "application/json; charset=latin-1"])
def test_unicode_is_recognised_whatever_is_declared(charset: str, declared: str) -> None:
    body = as_utf8(BODY.decode().encode(charset), declared)
    assert read_json(body) == read_json(BODY)


@pytest.mark.parametrize("charset", ["ISO-8859-1", '"windows-1252"', "cp850"])
def test_another_character_set_is_read_where_it_is_declared(charset: str) -> None:
    body = BODY.decode().encode(charset.strip('"'))
    assert read_json(as_utf8(body, f"application/json; Charset={charset}")) == read_json(BODY)


@pytest.mark.parametrize("charset", ["zlib_codec", "rot13", "idna", "punycode", "unknown-8bit"])
def test_what_is_no_character_set_is_not_looked_up(charset: str) -> None:
    body = BODY.decode().encode("latin-1")
    assert as_utf8(body, f"application/json; charset={charset}") == body
