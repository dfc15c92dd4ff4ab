"""A head trained as an adapter: every setting of peft that changes its product is honoured."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spct.engines.hf_load import load_merged
from spct.errors import ConfigError, DataError
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


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer as peft writes it: LoRA on the queries and a head of its own."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("adapters")
    base = write_model(folder / "base", head=False)
    lora = LoraConfig(
        r=2, target_modules=["q_proj"], task_type="SEQ_CLS", modules_to_save=["score"]
    )
    model: Any = AutoModelForSequenceClassification.from_pretrained(str(base), num_labels=1)
    get_peft_model(model, lora).save_pretrained(str(folder / "adapter"))
    return folder / "adapter"


def changed(
    adapter: Path, folder: Path, change: Callable[[dict[str, Any]], object], **settings: Any
) -> Path:
    """A copy with other tensors and other settings."""
    shutil.copytree(adapter, folder)
    file, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    config.write_text(json.dumps(json.loads(config.read_text()) | settings))
    return folder


QUERY = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
SCORE = "base_model.model.score.{}weight"


def deeper(tensors: dict[str, Any]) -> None:
    for part in "AB":
        tensors[QUERY.format(9, part)] = tensors[QUERY.format(0, part)].clone()


def shallower(tensors: dict[str, Any]) -> None:
    for part in "AB":
        del tensors[QUERY.format(1, part)]


def lora_on_the_head(tensors: dict[str, Any]) -> None:
    """What LoRA adds to a head, without the head."""
    width = tensors.pop(SCORE.format("")).shape[1]
    tensors[SCORE.format("lora_A.")] = torch.ones(2, width)
    tensors[SCORE.format("lora_B.")] = torch.ones(1, 2)


def second_head(tensors: dict[str, Any]) -> None:
    tensors[SCORE.format("").replace("score", "v_head")] = tensors[SCORE.format("")].clone()


def two_logits(tensors: dict[str, Any]) -> None:
    tensors[SCORE.format("")] = tensors[SCORE.format("")].repeat(2, 1)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (deeper, {}, "belongs to another base"),
        (shallower, {}, "belongs to another base"),
        (lora_on_the_head, {"modules_to_save": None}, "no trained head"),
        (second_head, {}, "2 heads"),
        (two_logits, {}, "2 logits"),
        (len, {"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        (len, {"init_lora_weights": "loftq"}, "loftq"),
        (len, {"revision": "v2", "base_model_name_or_path": "some/base"}, "revision 'v2'"),
        (len, {"auto_map": {"AutoModel": "x.Y"}}, "code of its own"),
        (len, {"peft_type": "NO_SUCH_KIND"}, "loading the adapter"),
        (len, {"r": 10**9}, "r = 1000000000"),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_an_adapter_that_would_score_by_something_else_is_refused_by_name(
    adapter: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    settings: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        load_scorer(changed(adapter, tmp_path / "changed", change, **settings))


def test_whole_weights_beside_an_adapter_and_a_scorer_as_a_writer_are_refused(
    adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds a head"):
        load_merged(adapter)
    both = changed(adapter, tmp_path / "both", len)
    for name in ("model.safetensors", "config.json"):
        shutil.copy(adapter.parent / "base" / name, both)
    for load in (load_scorer, load_merged):
        with pytest.raises(ConfigError, match="only one can be the model"):
            load(both)


@pytest.mark.parametrize("extra", ["score.bias", "regression_layer.weight"])
def test_a_part_of_a_head_that_has_no_place_is_refused(tmp_path: Path, extra: str) -> None:
    folder = write_model(tmp_path / "head", head=True)
    file = folder / "model.safetensors"
    shape = (1,) if extra.endswith("bias") else (1, 32)
    save_file({**load_file(file), extra: torch.ones(shape)}, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=extra):
        load_scorer(folder)
