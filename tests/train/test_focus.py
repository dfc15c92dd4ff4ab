"""A loss on the characters that decide, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spct.engines.hf_load import load_tokenizer
from spct.errors import DataError
from spct.train import sft
from spct.train.config import SftConfig
from spct.train.fitting import encode
from spct.train.focus import focused
from spct.train.sampling import Formats
from spct.types import Example
from tests.train.conftest import templated_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
pytest.importorskip("trl")


@pytest.fixture
def row(toy_examples: list[Example], toy_formats: Formats) -> dict[str, Any]:
    return dict(templated_rows(toy_examples[:1], toy_formats)[0])


def test_the_mask_covers_the_focus_and_a_row_without_one_is_learned_whole(
    tiny_model: str, row: dict[str, Any]
) -> None:
    tokenizer = load_tokenizer(tiny_model)
    text = row["completion"][0]["content"]
    start = text.index("Scores:")
    narrow, whole = focused([{**row, "focus": [[start, len(text)]]}, row], tokenizer)
    learned = [i for i, m in zip(narrow["input_ids"], narrow["completion_mask"], strict=True) if m]
    read = tokenizer.decode(learned).replace(" ", "").strip()  # a token may begin before the span
    written = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    end_mark = str(written).rpartition(text)[2]
    assert end_mark.strip()  # a judgement has to end
    assert read == (text[start:] + end_mark).replace(" ", "").strip()
    assert narrow["input_ids"] == whole["input_ids"]
    assert sum(whole["completion_mask"]) > sum(narrow["completion_mask"])
    prompt = encode(tokenizer, row["prompt"], add_generation_prompt=True)
    n_prompt = len(prompt["input_ids"])
    assert whole["completion_mask"] == [int(i >= n_prompt) for i in range(len(whole["input_ids"]))]


@pytest.mark.parametrize("focus", [[], [[5, 5]], [[0, 10_000]], [[-1, 3]], [[1, 2, 3]]])
def test_a_focus_outside_the_completion_is_refused(
    tiny_model: str, row: dict[str, Any], focus: list[list[int]]
) -> None:
    with pytest.raises(DataError, match="expected \\[start, end\\) spans"):
        focused([{**row, "focus": focus}], load_tokenizer(tiny_model))


def test_the_first_loss_is_the_mean_over_the_focus(
    tiny_model: str, tmp_path: Path, row: dict[str, Any]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    text = row["completion"][0]["content"]
    focus = [[text.index("Scores:"), len(text)]]
    config = SftConfig(
        use_cpu=True, learning_rate=1e-9, batch_size=1, micro_batch_size=1, max_steps=1,
        max_length=320, log_steps=1,
    )  # fmt: skip
    report = sft.train(tiny_model, [{**row, "focus": focus}], tmp_path, config)
    (expected,) = focused([{**row, "focus": focus}], load_tokenizer(tiny_model))
    ids, mask = expected["input_ids"], expected["completion_mask"]
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
    nll = [-logps[t - 1, ids[t]].item() for t in range(1, len(ids)) if mask[t]]
    assert report.loss == pytest.approx(sum(nll) / len(nll), rel=1e-3)
