"""Models of mostly linear attention (Qwen3.5): rows decode in a batch as each does alone."""

import pytest

from spct.types import SamplingParams

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_rows_of_different_lengths_decode_as_each_does_alone() -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    from spct.engines.hf_decode import Row, decode

    set_seed(0)
    config = AutoConfig.for_model(
        "qwen3_5_text", vocab_size=64, head_dim=8, hidden_size=32, intermediate_size=64,
        num_attention_heads=4, num_hidden_layers=4, num_key_value_heads=2, linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    greedy = SamplingParams(temperature=0.0, max_tokens=8)
    prompts = [[5, 6, 7], [9] * 40, [1, 2, 3, 4, 5], [5, 6, 7]]

    def decoded(prompts: list[list[int]]) -> list[list[int]]:
        rows = [Row.of(prompt, greedy, 0) for prompt in prompts]
        decode(model, rows, frozenset({3}))
        return [row.ids for row in rows]

    together = decoded(prompts)
    assert together == [ids for prompt in prompts for ids in decoded([prompt])]
    with torch.no_grad():  # and as the plain model reads prompt and reply at once
        logits = model(input_ids=torch.tensor([prompts[0] + together[0][:-1]])).logits
    assert logits[0, 2:].argmax(-1).tolist() == together[0]
