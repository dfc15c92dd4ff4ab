"""A LoRA adapter goes through the stages: trained, continued, merged to sample from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spct.engines.hf import HFEngine
from spct.engines.hf_load import base_of, is_adapter
from spct.errors import ConfigError, DataError
from spct.protocols import Engine
from spct.train import rl, sft
from spct.train.adapters import merged_folder, starting_model
from spct.train.config import RlConfig, SftConfig
from spct.train.fitting import encode
from spct.train.sampling import Formats
from spct.types import Example, SamplingParams
from tests.models.tiny import write_model
from tests.train.conftest import templated_rows

slow = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
SMALL: dict[str, Any] = {
    "use_cpu": True, "schedule": "constant", "max_length": 320, "save_steps": 2, "log_steps": 1,
    "lora_rank": 4, "max_steps": 2,
}  # fmt: skip


def test_a_model_folder_is_its_own_base_and_starts_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not is_adapter(tmp_path)
    assert base_of(tmp_path) == starting_model(str(tmp_path)) == str(tmp_path)


def test_an_adapter_without_a_base_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    with pytest.raises(ConfigError, match="names no base model"):
        base_of(tmp_path)
    gone = {"r": 4, "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(gone))
    with pytest.raises(ConfigError, match=r"its base '.*gone' is no folder here; set base_model"):
        base_of(tmp_path)


@pytest.fixture(scope="module")
def adapter(
    tiny_model: str, tmp_path_factory: pytest.TempPathFactory, toy_formats: Formats,
    toy_examples: list[Example],
) -> Path:  # fmt: skip
    """An adapter that two steps have moved."""
    pytest.importorskip("trl")
    out = tmp_path_factory.mktemp("adapter")
    config = SftConfig(**SMALL, learning_rate=1e-2, batch_size=4, micro_batch_size=4)
    sft.train(tiny_model, templated_rows(toy_examples, toy_formats), out, config)
    return out


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_lowest_layers_can_go_without_an_adapter(
    tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    pytest.importorskip("trl")
    from recipes.synthetic.rows import vocabulary_texts
    from recipes.synthetic.tiny import save_new

    save_new(vocabulary_texts(), tmp_path / "base", layers=2)
    config = SftConfig(**SMALL, lora_skip_layers=1, batch_size=4, micro_batch_size=4)
    rows, out = templated_rows(toy_examples, toy_formats), tmp_path / "adapter"
    sft.train(str(tmp_path / "base"), rows, out, config)
    layers = {name.partition(".layers.")[2].partition(".")[0] for name in weights(out)}
    assert layers == {"1"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_next_stage_goes_on_with_the_same_adapter(
    adapter: Path, tiny_model: str, tmp_path: Path, toy_formats: Formats,
    toy_examples: list[Example],
) -> None:  # fmt: skip
    still = SftConfig(**SMALL, learning_rate=1e-12, batch_size=4, micro_batch_size=4)
    sft.train(str(adapter), templated_rows(toy_examples, toy_formats), tmp_path / "sft", still)
    before, after = weights(adapter), weights(tmp_path / "sft")
    assert before.keys() == after.keys()
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in before)
    assert base_of(tmp_path / "sft") == tiny_model
    rows, _ = rl.rl_rows(toy_examples, toy_formats, seed=0)
    config = RlConfig(
        **SMALL, learning_rate=1e-2, batch_size=8, micro_batch_size=8, beta=0.02,
        max_completion_tokens=40, max_zero_variance=1.0,
    )  # fmt: skip
    rl.train(str(tmp_path / "sft"), rows, tmp_path / "rl", config, toy_formats)
    assert before.keys() == weights(tmp_path / "rl").keys()
    assert base_of(tmp_path / "rl") == tiny_model


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
async def test_the_local_engine_merges_an_adapter(
    adapter: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    import torch

    engine = HFEngine(adapter)
    assert not any("lora" in name for name, _ in engine.network.named_parameters())
    whole = starting_model(str(adapter))
    assert not isinstance(whole, str)
    example = toy_examples[0]
    prompt = toy_formats.of(example).render(example, tuple(range(example.n)))
    text = [{"role": m.role, "content": m.content} for m in prompt.messages]
    ids = torch.tensor([encode(engine.tokenizer, text)["input_ids"]])
    with torch.inference_mode():
        assert torch.allclose(engine.network(ids).logits, whole(ids).logits, atol=1e-4)
    replies = await engine.sample(prompt, 2, SamplingParams(max_tokens=8))
    assert len(replies) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_precision_is_part_of_the_fingerprint(tiny_model: str) -> None:
    import torch

    half = HFEngine(tiny_model, dtype="bfloat16")
    assert half.network.dtype == torch.bfloat16
    assert half.fingerprint != HFEngine(tiny_model).fingerprint


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_head_starts_from_the_merged_model_which_is_written_once(
    adapter: Path, tiny_model: str, tmp_path: Path
) -> None:
    assert merged_folder(tiny_model, tmp_path / "unused") == tiny_model
    assert not (tmp_path / "unused").exists()
    first = merged_folder(str(adapter), tmp_path / "whole")
    written = (tmp_path / "whole" / "model.safetensors").stat().st_mtime_ns
    assert merged_folder(str(adapter), tmp_path / "whole") == first == str(tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
async def test_an_adapter_of_a_deeper_or_wider_base_is_refused(tmp_path: Path) -> None:
    """peft would drop half of its tensors and judge on."""
    pytest.importorskip("peft")
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from recipes.synthetic.rows import vocabulary_texts
    from recipes.synthetic.tiny import save_new
    from spct.config import EngineConfig
    from spct.models.engines import build_engine

    for n in (1, 2):
        save_new(vocabulary_texts(), tmp_path / str(n), layers=n)
    write_model(tmp_path / "3", head=False)  # of two layers too, and narrower
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "2")
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(
        str(tmp_path / "lora")
    )

    def started(n: int) -> Engine:
        return build_engine(
            EngineConfig(kind="hf", model=str(tmp_path / str(n)), adapter=str(tmp_path / "lora"))
        )

    await started(2).aclose()
    with pytest.raises(DataError, match="belongs to another base model"):
        started(1)
    with pytest.raises(DataError, match=r"belongs to another base model than .*size mismatch") as e:
        started(3)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_merged_folder_is_whole_and_of_one_adapter(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "whole.part").mkdir()  # what a kill in the middle of it leaves
    (tmp_path / "whole.part" / "config.json").write_text("{}")
    merged_folder(str(adapter), tmp_path / "whole", use_cpu=True)
    assert (tmp_path / "whole" / "model.safetensors").is_file()
    assert not (tmp_path / "whole.part").exists()
    other = shutil.copytree(adapter, tmp_path / "other")
    weights_file = other / "adapter_model.safetensors"
    content = bytearray(weights_file.read_bytes())
    content[-8:] = bytes(8)
    weights_file.write_bytes(content)
    with pytest.raises(ConfigError, match="holds another one"):
        merged_folder(str(other), tmp_path / "whole", use_cpu=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("stage", ["bradley-terry", "pairwise", "decision"])
def test_heads_and_readouts_begin_on_an_adapter_merged(
    stage: str, adapter: Path, run: Any, tmp_path: Path
) -> None:
    """A second adapter on the first one would be saved without it."""
    data = tmp_path / "pairs.jsonl"
    rows = [{"query": f"q{i}", "responses": ["a b", "c"], "gold": [1, 0]} for i in range(4)]
    data.write_text("\n".join(map(json.dumps, rows)))
    sets = [f"--set={k}={v}".replace("True", "true") for k, v in {
        "use_cpu": True, "max_steps": 1, "batch_size": 2, "micro_batch_size": 2, "lora_rank": 2,
        "max_length": 640,
    }.items()]  # fmt: skip
    out = tmp_path / "out"
    code, _, said = run("train", stage, "--data", data, "--model", adapter, "--out", out, *sets)
    assert code == 0, said
    assert base_of(out) == str(out / "base")
