"""Five hundred damaged or hostile model files: each is loaded or refused in words, in seconds."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spct.errors import SpctError

pytest.importorskip("gguf")
pytest.importorskip("torch")

from spct.engines.hf_load import load_causal, load_tokenizer
from spct.engines.lora import find_lora, gguf_deltas
from spct.engines.weights import as_f16, context_length, open_gguf
from tests.engines.tiny_models import LAYERS, WIDTH, write_folder, write_gguf

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
LONGEST_S = 5.0
NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**61, 2**63, 2**64 - 1)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut, overwritten, doubled, or with a length that claims too much."""
    found = bytearray(data)
    place = rng.randrange(min(len(found), 8000))
    match rng.randrange(5):
        case 0:
            return bytes(found[:place])
        case 1:
            found[place : place + 8] = rng.choice(NUMBERS).to_bytes(8, "little")
        case 2:
            found[place : place + 4] = (rng.choice(NUMBERS) % 2**32).to_bytes(4, "little")
        case 3:
            found[place:place] = rng.randbytes(rng.randrange(1, 40))
        case _:
            found[place] ^= 1 << rng.randrange(8)
    return bytes(found)


def outcome(load: Callable[[], object]) -> str:
    start = time.perf_counter()
    try:
        load()
        said = "loaded"
    except SpctError as error:
        assert str(error)
        said = "refused"
    assert time.perf_counter() - start < LONGEST_S
    return said


def test_250_gguf_files(tmp_path: Path) -> None:
    good = write_gguf(tmp_path / "good.gguf").read_bytes()
    rng, path = random.Random(0), tmp_path / "m.gguf"

    def load() -> None:
        context_length(as_f16(path, tmp_path / "cache"))

    seen = []
    for _ in range(250):
        path.write_bytes(damaged(good, rng))
        seen.append(outcome(load))
    assert seen.count("refused") > 100


def test_150_model_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "good")
    names = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    rng, folder = random.Random(1), tmp_path / "m"

    def load() -> None:
        load_causal(folder)
        load_tokenizer(folder)

    seen = []
    for i in range(150):
        shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
        path = folder / names[i % len(names)]
        if path.name == "config.json" and i % 8 == 1:
            config = json.loads(path.read_text())
            config[rng.choice([k for k, v in config.items() if type(v) is int])] = rng.choice(
                NUMBERS
            )
            path.write_text(json.dumps(config))
        else:
            path.write_bytes(damaged(path.read_bytes(), rng))
        seen.append(outcome(load))
    assert seen.count("refused") > 75


def test_100_adapters(tmp_path: Path) -> None:
    np, save_file = pytest.importorskip("numpy"), pytest.importorskip("safetensors.numpy").save_file
    folder = tmp_path / "lora"
    folder.mkdir()
    reader = open_gguf(write_gguf(tmp_path / "base.gguf"))
    stems = [f"base_model.model.model.layers.{i}.self_attn.v_proj.lora_" for i in range(LAYERS)]
    shapes = {"A.weight": (2, WIDTH), "B.weight": (WIDTH, 2)}
    tensors = {s + part: np.ones(shape, "f") for s in stems for part, shape in shapes.items()}
    rng, settings = random.Random(2), json.dumps({"r": 2, "lora_alpha": 4, "use_rslora": False})
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"

    def load() -> None:
        gguf_deltas(find_lora(folder), reader)

    seen = []
    for i in range(100):
        save_file(tensors, weights)
        config.write_text(settings)
        path = weights if i % 2 else config
        path.write_bytes(damaged(path.read_bytes(), rng))
        seen.append(outcome(load))
    assert seen.count("refused") > 50
