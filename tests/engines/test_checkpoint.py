"""A model folder is a stranger's: what is read of it before a library loads it."""

import json
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.engines.checkpoint import read_adapter, read_checkpoint, shapes_of
from spct.errors import ConfigError

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "hidden_size": 4}
CONFIG |= {"vocab_size": 8, "intermediate_size": 8}


def weights(tensors: dict[str, tuple[int, ...]], *, spare: int = 0) -> bytes:
    """A safetensors file of zeros; `spare` is added to (or cut from) its end."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + bytes(end + max(spare, 0))
    return whole[: len(whole) + min(spare, 0)]


def folder(tmp_path: Path, config: dict[str, object] = CONFIG, data: bytes | None = None) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    sound = weights({"model.embed_tokens.weight": (8, 4), "model.norm.weight": (4,)})
    (tmp_path / "model.safetensors").write_bytes(sound if data is None else data)
    return tmp_path


def test_a_sound_folder_is_read(tmp_path: Path) -> None:
    found = read_checkpoint(folder(tmp_path))
    assert found.architecture == "LlamaForCausalLM" and found.n_elements == 36
    assert found.shapes["model.norm.weight"] == (4,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}" * 100,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}" + b"left over",
        struct.pack("<Q", 9) + b'{"a": 1e9',
        weights({"a": (2,)}, spare=-3),  # a download that broke off
        weights({"a": (2,)}, spare=5),
        weights({"a": (2,)}).replace(b'"shape": [2]', b'"shape": [9]'),
        weights({"a": (2,)}).replace(b"[0, 8]", b"[8, 0]"),
        weights({"a": (2,)}).replace(b"[0, 8]", b"[0,-8]"),
        weights({"a": (2,)}).replace(b'"shape": [2]', b'"shape": "2"'),
        struct.pack("<Q", 200_002) + b"[" * 100_000 + b"]" * 100_000 + b"{}",
    ],
)
def test_damaged_weights_are_refused_by_name_at_once(tmp_path: Path, data: bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"model\.safetensors.*fetch it again"):
        read_checkpoint(folder(tmp_path, data=data))
    assert time.monotonic() - begun < 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_are_a_traceback(tmp_path_factory: pytest.TempPathFactory, data, length) -> None:
    path = tmp_path_factory.mktemp("w") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + data)
    try:
        assert isinstance(shapes_of(path), dict)
    except ConfigError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**6),
        ("vocab_size", 10**12),
        ("hidden_size", 10**9),
        ("intermediate_size", 10**12),
        ("num_local_experts", 10**7),
        ("vocab_size", 10**6),
    ],
)
def test_a_config_that_asks_for_more_than_the_weights_hold_is_refused(
    tmp_path: Path, key: str, value: int
) -> None:
    with pytest.raises(ConfigError, match=f"{key} = {value}"):
        read_checkpoint(folder(tmp_path, CONFIG | {key: value}))
    assert read_checkpoint(folder(tmp_path, CONFIG | {"max_position_embeddings": 10**7})).shapes
    with pytest.raises(ConfigError, match=f"{key} = {value}"):
        read_checkpoint(folder(tmp_path, {"text_config": CONFIG | {key: value}}))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_with_code_of_its_own_is_refused(tmp_path: Path, file: str) -> None:
    made = folder(tmp_path)
    (made / file).write_text(json.dumps(CONFIG | {"auto_map": {"AutoConfig": "code.C"}}))
    with pytest.raises(ConfigError, match="code of its own"):
        read_checkpoint(made)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "not-there", ""])
def test_an_index_names_files_of_its_own_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    made = folder(tmp_path / "model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(weights({"a": (2,)}))
    index = {"weight_map": {"model.norm.weight": name}}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="not a file of this folder"):
        read_checkpoint(made)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "\ud800", "[" * 10_000])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    made = folder(tmp_path)
    (made / "config.json").write_text(text, "utf-8", errors="surrogatepass")
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_checkpoint(made)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "model.safetensors").rename(made / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights are refused"):
        read_checkpoint(made)


def test_an_adapter_is_held_to_its_weights(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 1000000000}')
    with pytest.raises(ConfigError, match="pickled adapters are refused"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(weights({"a": (2,)}))
    with pytest.raises(ConfigError, match="r = 1000000000"):
        read_adapter(tmp_path)
