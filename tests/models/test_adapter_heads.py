"""A head trained as an adapter: every setting of peft that changes its product is honoured."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spct.models.hf_scorer import load_scorer
from spct.types import Message
from tests.models.tiny import write_model

TALK = (Message("user", "what is one"), Message("assistant", "the answer is good two"))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft with transformers 5.23
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 64}},
        {"rank_pattern": {"layers.0.self_attn.v_proj": 1}},
    ],
    ids=str,
)
async def test_the_merged_adapter_scores_as_peft_does(
    tmp_path: Path, setting: dict[str, Any]
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = write_model(tmp_path / "base", head=True)
    lora = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS",
        modules_to_save=["score"], init_lora_weights=False, **setting,
    )  # fmt: skip
    torch.manual_seed(1)
    model: Any = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(str(base), num_labels=1), lora
    ).eval()
    model.save_pretrained(str(tmp_path / "adapter"))
    scorer = load_scorer(tmp_path / "adapter")
    ids = torch.tensor([scorer.encoder.ids(TALK)])
    with torch.no_grad():
        expected = float(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0])
        plain = float(load_scorer(base).model(input_ids=ids).logits[0, 0])
    (logit,) = await scorer.score([TALK])
    assert logit == pytest.approx(expected, abs=1e-4)
    assert abs(expected - plain) > 1e-3  # the adapter does something
