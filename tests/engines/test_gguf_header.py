"""A hostile GGUF file is refused at once, in words, whatever its lengths claim."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.engines.gguf_header import Header, read_header
from spct.errors import DataError

pytest.importorskip("gguf")
from tests.engines.tiny_models import CONTEXT, SPECIAL, write_gguf


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def text(value: bytes) -> bytes:
    return u64(len(value)) + value


ARCHITECTURE = text(b"general.architecture") + u32(8) + text(b"llama")


def array(kind: int, n: int, data: bytes = b"", key: bytes = b"a.b") -> bytes:
    return text(key) + u32(9) + u32(kind) + u64(n) + data


def gguf(
    *keys: bytes, n_keys: int | None = None, tensors: bytes = b"", n_tensors: int = 0
) -> bytes:
    count = len(keys) if n_keys is None else n_keys
    return b"GGUF" + u32(3) + u64(n_tensors) + u64(count) + b"".join(keys) + tensors


def tensor(*shape: int, kind: int = 0, offset: int = 0, name: bytes = b"w") -> bytes:
    return text(name) + u32(len(shape)) + b"".join(map(u64, shape)) + u32(kind) + u64(offset)


def setting(key: bytes, kind: int, data: bytes) -> bytes:
    return text(key) + u32(kind) + data


HOSTILE = {
    **{f"2^61 values of type {k}": gguf(array(k, 2**61)) for k in range(13) if k != 9},
    "2^64 - 1 texts": gguf(array(8, 2**64 - 1)),
    "texts that are not there": gguf(array(8, 10**6, bytes(8 * 10**6))),
    "half of an array": gguf(array(0, 10**9, bytes(1000))),
    "an array of arrays": gguf(array(9, 2, u32(4) + u64(1) + u32(7))),
    "a million arrays in arrays": gguf(array(9, 1, (u32(9) + u64(1)) * 10**6)),
    "many values where few can be": gguf(array(7, 2**20, bytes(2**20))),
    "more texts than any tokenizer": gguf(
        array(8, 2**21 + 1, bytes(8 * (2**21 + 1)), b"tokenizer.ggml.tokens")
    ),
    "a key of 2^63 letters": gguf(u64(2**63) + b"a"),
    "a text of 2^63 letters": gguf(setting(b"a", 8, u64(2**63))),
    "2^60 keys": gguf(ARCHITECTURE, n_keys=2**60),
    "2^60 tensors": gguf(ARCHITECTURE, n_tensors=2**60),
    "one key twice": gguf(ARCHITECTURE, ARCHITECTURE),
    "an unknown type": gguf(setting(b"a", 99, b"")),
    "version 1": b"GGUF" + u32(1) + bytes(16),
    "big-endian": b"GGUF" + struct.pack(">I", 3) + bytes(16),
    "a shape that overflows": gguf(tensors=tensor(2**32, 2**32), n_tensors=1),
    "a shape of nothing": gguf(tensors=tensor(0, 3), n_tensors=1),
    "2^31 dimensions": gguf(tensors=text(b"w") + u32(2**31), n_tensors=1),
    "a tensor beyond the end": gguf(tensors=tensor(8, 8), n_tensors=1),
    "a place beyond the end": gguf(tensors=tensor(1, offset=2**62), n_tensors=1),
    "a place between": gguf(tensors=tensor(1, offset=1) + bytes(99), n_tensors=1),
    "an unknown kind of weights": gguf(tensors=tensor(1, kind=999) + bytes(99), n_tensors=1),
    "half of a block": gguf(tensors=tensor(33, kind=8) + bytes(99), n_tensors=1),
    "one tensor twice": gguf(tensors=tensor(1) * 2 + bytes(99), n_tensors=2),
    **{
        f"alignment {a!r}": gguf(setting(b"general.alignment", 4, u32(a)))
        for a in (0, 3, 2**31)
    },
    "alignment is a word": gguf(setting(b"general.alignment", 8, text(b"wide"))),
    "the end after the magic": b"GGUF",
    "half a number": b"GGUF" + u32(3) + bytes(12),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(HOSTILE[name])
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"m\.gguf.*(damaged|fetch it again)"):
        read_header(path)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("kind", "data"),
    [(8, text(b"many")), (5, struct.pack("<i", -1)), (4, u32(0)), (6, struct.pack("<f", 9.0))],
)
def test_a_context_length_that_is_none_is_refused(kind: int, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(ARCHITECTURE, setting(b"llama.context_length", kind, data)))
    with pytest.raises(DataError, match="expected a number of tokens"):
        _ = read_header(path).context_length


def test_an_architecture_that_is_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(setting(b"general.architecture", 4, u32(7))))
    with pytest.raises(DataError, match="expected a name"):
        _ = read_header(path).architecture


@pytest.mark.parametrize("quantised", [True, False])
def test_a_good_file_says_what_it_is(quantised: bool, tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf", quantised=quantised))
    assert header.architecture == "llama" and header.context_length == CONTEXT
    assert header.special_tokens == SPECIAL
    assert header.tensor_types == ({0, 8} if quantised else {0, 1})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()


@settings(max_examples=300, deadline=2000)
@given(
    place=st.integers(0, 6000), wrong=st.binary(min_size=1, max_size=9), cut=st.integers(0, 9000)
)
def test_a_damaged_header_is_read_or_refused(
    good: bytes, place: int, wrong: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(good[: len(good) - cut] if cut < 1000 else good)
    data[place : place + len(wrong)] = wrong
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(data)
    try:
        header = read_header(path)
    except DataError as error:
        assert "fuzzed.gguf" in str(error)
    else:
        assert isinstance(header, Header)
