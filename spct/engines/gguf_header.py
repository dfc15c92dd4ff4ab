"""The header of a GGUF file, read in bounded time and memory before a library believes it.

Every length in the file is held against the bytes that are left before anything is looped over or
reserved: the readers that load a model do not, and a file of a hundred bytes that claims 2^61
values keeps them busy for ever. Big-endian files and arrays of arrays, which no model here needs,
are refused too.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from spct.errors import DataError, ExtraMissing

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS, MAX_TENSORS = 2**12, 2**17
MAX_ITEMS = 2**21  # of all arrays together; Gemma 3 has 1.3 million in its tokenizer
MAX_OTHER_ITEMS = 2**16  # of an array that is not the tokenizer's
MAX_DIMS, MAX_ELEMENTS = 4, 2**48
_STRING, _ARRAY, _BOOL = 8, 9, 7
# GGUF's number for a type of value, to its format for `struct`.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_FORMATS[_BOOL] = "B"
_KEPT = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
_CONTROL = 3  # a token type: it stands for no text


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says of itself: its values (of arrays only the tokenizer's are kept)."""

    path: Path
    values: Mapping[str, Any]
    tensor_types: frozenset[int]

    @property
    def architecture(self) -> str:
        """Such as "llama"."""
        name = self.values.get("general.architecture")
        if not isinstance(name, str):
            raise damaged(self.path, f"general.architecture is {name!r:.60}, expected a name")
        return name

    @property
    def context_length(self) -> int:
        """How many tokens the model can attend to."""
        key = f"{self.architecture}.context_length"
        length = self.values.get(key)
        if type(length) is not int or not 0 < length < 2**31:
            raise damaged(self.path, f"{key} is {length!r:.60}, expected a number of tokens")
        return length

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The tokens that are structure and not text, such as the end of a turn."""
        tokens, types = (self.values.get(key, ()) for key in _KEPT)
        pairs = zip(tokens, types, strict=False)
        return tuple(str(token) for token, kind in pairs if kind == _CONTROL)


def damaged(path: Path, why: str) -> DataError:
    """The error for a file that cannot be a model."""
    return DataError(
        f"reading the model {str(path)!r}: {why}; the file is damaged or its download broke off: "
        "fetch it again"
    )


def check_magic(path: Path) -> None:
    """Raise `DataError` unless the file begins as a GGUF file does."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise damaged(path, str(error)) from error
    if head != MAGIC:
        raise DataError(
            f"reading the model {str(path)!r}: the file begins with {head!r}, expected {MAGIC!r}; "
            "give a .gguf file, or the folder of an exported model"
        )


def read_header(path: Path) -> Header:
    """Check a file's header from end to end, its tensors' places included; `DataError` if not."""
    check_magic(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(path, data).header()
    except OSError as error:
        raise damaged(path, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor's name and type, and the place and bytes of its data."""

    name: str
    kind: int
    offset: int
    size: int


class _Walk:
    """Goes through the bytes once; nothing is taken that is not there."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at, self.items = path, data, 0, 0

    def header(self) -> Header:
        self.at = len(MAGIC)
        version = self.number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            why = "big-endian" if swapped else f"version {version}"
            raise damaged(self.path, f"it is GGUF of {why}, expected one of {VERSIONS}")
        n_tensors, n_keys = self.number("Q"), self.number("Q")
        if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
            raise damaged(self.path, f"it claims {n_tensors:,} tensors and {n_keys:,} keys")
        values: dict[str, Any] = {}
        for _ in range(n_keys):
            key = self.text("a key")
            if key in values:
                raise damaged(self.path, f"the key {key[:60]!r} occurs twice")
            values[key] = self.value(key, self.number("I"))
        kinds = self.tensors(n_tensors, values.get("general.alignment", 32))
        return Header(self.path, values, frozenset(kinds))

    def number(self, kind: str) -> Any:
        size = struct.calcsize(kind)
        self.need(size, "a number")
        (found,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += size
        return found

    def need(self, size: int, what: str) -> None:
        left = len(self.data) - self.at
        if size > left:
            raise damaged(self.path, f"{what} takes {size:,} bytes where {left:,} are left")

    def text(self, what: str) -> str:
        length = self.number("Q")
        self.need(length, what)
        self.at += length
        try:
            return self.data[self.at - length : self.at].decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged(self.path, f"{what} is not UTF-8: {error.reason}") from error

    def value(self, key: str, kind: int) -> Any:
        if kind == _STRING:
            return self.text(f"the value of {key[:60]!r}")
        if kind == _ARRAY:
            return self.array(key, self.number("I"), self.number("Q"))
        if kind not in _FORMATS:
            raise damaged(self.path, f"the value of {key[:60]!r} is of the unknown type {kind}")
        return self.number(_FORMATS[kind])

    def array(self, key: str, kind: int, n: int) -> Any:
        if kind != _STRING and kind not in _FORMATS:
            raise damaged(self.path, f"{key[:60]!r} is an array of values of the type {kind}")
        size = 8 if kind == _STRING else struct.calcsize(_FORMATS[kind])  # a text has its length
        self.need(n * size, f"the array {key[:60]!r} of {n:,} values")
        self.items += n
        if self.items > MAX_ITEMS or (n > MAX_OTHER_ITEMS and not key.startswith("tokenizer.")):
            raise damaged(self.path, f"the array {key[:60]!r} of {n:,} values is too long")
        if kind == _STRING:
            texts = [self.text(f"a text of {key[:60]!r}") for _ in range(n)]
            return texts if key in _KEPT else None
        start, self.at = self.at, self.at + n * size
        return (
            struct.unpack_from(f"<{n}{_FORMATS[kind]}", self.data, start) if key in _KEPT else None
        )

    def tensors(self, n: int, alignment: object) -> set[int]:
        """Check that every tensor lies inside the file, and return their types."""
        if type(alignment) is not int or not 0 < alignment <= 2**16 or alignment & (alignment - 1):
            raise damaged(self.path, f"general.alignment is {alignment!r:.60}")
        found = [self.tensor() for _ in range(n)]
        start = -(-self.at // alignment) * alignment
        if len({tensor.name for tensor in found}) < n:
            raise damaged(self.path, "two tensors have one name")
        for tensor in found:
            if tensor.offset % alignment or start + tensor.offset + tensor.size > len(self.data):
                where = f"at {tensor.offset:,} with {tensor.size:,} bytes is not in the file"
                raise damaged(self.path, f"the tensor {tensor.name[:60]!r} {where}")
        return {tensor.kind for tensor in found}

    def tensor(self) -> _Tensor:
        name = self.text("a tensor's name")
        n_dims = self.number("I")
        if n_dims > MAX_DIMS:
            raise damaged(self.path, f"the tensor {name[:60]!r} has {n_dims:,} dimensions")
        shape = [self.number("Q") for _ in range(n_dims)]
        kind, offset = self.number("I"), self.number("Q")
        n_elements, blocks = math.prod(shape), _blocks()
        if not 0 < n_elements <= MAX_ELEMENTS or kind not in blocks:
            raise damaged(self.path, f"the tensor {name[:60]!r} is {shape} of the type {kind}")
        block, size = blocks[kind]
        if shape and shape[0] % block:
            raise damaged(self.path, f"the rows of the tensor {name[:60]!r} are not whole blocks")
        return _Tensor(name, kind, offset, n_elements // block * size)


@cache
def _blocks() -> dict[int, tuple[int, int]]:
    """GGML's types: how many weights stand in a block, and its bytes."""
    try:
        from gguf import GGML_QUANT_SIZES
    except ImportError as error:
        raise ExtraMissing("gguf", "embedded") from error
    return {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
