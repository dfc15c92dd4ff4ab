"""A judge written for a server says what the embedded engine says."""

from __future__ import annotations

from pathlib import Path

import pytest

from spct.errors import ConfigError
from spct.types import Message, Prompt, SamplingParams

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from spct.engines.export import export_model  # noqa: E402
from spct.engines.hf import HFEngine  # noqa: E402
from tests.engines.tiny_models import copy_weights, write_folder, write_gguf  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
PROMPT = Prompt("one", (Message("user", "hello"),), (0,))
GREEDY = SamplingParams(max_tokens=12, temperature=0.0, top_logprobs=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model as GGUF and as a folder, and an adapter on it."""
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("export")
    folder = copy_weights(write_folder(root / "tiny"), root / "same")
    base = AutoModelForCausalLM.from_pretrained(folder)
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(root / "lora")
    return {
        "gguf": write_gguf(root / "tiny.gguf", quantised=False),
        "folder": folder,
        "lora": root / "lora",
    }


def logprobs(model: Path, adapters: tuple[Path, ...] = ()) -> list[float]:
    (reply,) = HFEngine(model, adapters=adapters, device="cpu", dtype="float32").complete(
        [PROMPT], GREEDY
    )
    assert reply.logprobs
    return [token.logprob for token in reply.logprobs]


@pytest.mark.parametrize("kind", ["gguf", "folder"])
def test_a_merged_model_is_the_base_with_its_adapter(
    kind: str, made: dict[str, Path], tmp_path: Path
) -> None:
    expected = logprobs(made["folder"], (made["lora"],))
    assert expected[0] != pytest.approx(logprobs(made["folder"])[0], abs=0.05)
    out = export_model(tmp_path / "judge", made[kind], [made["lora"]], dtype="float32")
    found = logprobs(out)[: len(expected)]
    assert found == pytest.approx(expected[: len(found)], abs=0.02)
    assert not list(tmp_path.glob("*.part"))


def test_an_adapter_may_lie_beside_its_base(made: dict[str, Path], tmp_path: Path) -> None:
    out = export_model(tmp_path / "judge", made["folder"], [made["lora"]], merge=False)
    expected = logprobs(made["folder"], (made["lora"],))
    assert logprobs(out / "adapter") == pytest.approx(expected, abs=0.02)
    assert logprobs(out) == pytest.approx(logprobs(made["folder"]), abs=0.02)


def test_what_cannot_be_written_is_refused_before_anything_is(
    made: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="it exists"):
        export_model(tmp_path, made["folder"])
    with pytest.raises(ConfigError, match="got 0 adapters"):
        export_model(tmp_path / "judge", made["folder"], merge=False)
    assert not list(tmp_path.iterdir())
