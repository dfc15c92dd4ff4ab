"""What a model folder may be and may name: heads, adapters, cards, the hub."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from spct.core.generative import GenerativeRM
from spct.errors import ConfigError
from spct.models.hf_scorer import HFScorer, load_scorer
from spct.models.load import load_reward_model
from spct.models.model_card import ModelCard, read_card
from spct.types import Message
from tests.models.tiny import write_model

CARD = ModelCard(paradigm="bradley-terry", base="b", steps=3, n_pairs=2, max_length=200)
TALK = (Message("user", "what is one"), Message("assistant", "the answer is good two"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", head=True)


def edited(folder: Path, name: str, **values: Any) -> None:
    """Set (or with None remove) keys of a JSON file."""
    data = json.loads((folder / name).read_text())
    kept = {key: value for key, value in (data | values).items() if value is not None}
    (folder / name).write_text(json.dumps(kept))


def with_tensors(folder: Path, **shapes: tuple[int, ...]) -> None:
    """Add tensors to a folder's weights; a dot is written as two underscores."""
    held = load_file(folder / "model.safetensors")
    added = {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}
    save_file(held | added, folder / "model.safetensors", {"format": "pt"})


# --- where the reward is read ---------------------------------------------------------------------


def as_its_card_says(folder: Path) -> float:
    """One unpadded forward under the model's own config."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    turns = [{"role": m.role, "content": m.content} for m in TALK]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        return float(model(ids).logits[0, 0])


@pytest.mark.parametrize("pad", [None, "<pad>", "<|end|>", "<bos>", "<unk>"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("configured", [None, 0, 1])
async def test_the_reward_is_read_at_the_last_token_whatever_pads(
    folder: Path, pad: str | None, side: str, configured: int | None
) -> None:
    edited(folder, "tokenizer_config.json", pad_token=pad, padding_side=side)
    edited(folder, "config.json", pad_token_id=configured)
    expected = as_its_card_says(folder)
    scorer = load_scorer(folder)
    longer = (TALK[0], Message("assistant", "the answer is good two " * 9))
    together = await scorer.score([TALK, longer])
    assert await scorer.score([TALK]) == pytest.approx([expected], abs=1e-5)
    assert together[0] == pytest.approx(expected, abs=1e-5)
    await scorer.aclose()


def test_training_and_scoring_pad_with_a_token_that_ends_no_conversation(folder: Path) -> None:
    edited(folder, "tokenizer_config.json", pad_token="<|end|>")
    tokenizer = load_scorer(folder).encoder.tokenizer
    assert tokenizer.pad_token not in (None, "<|end|>")


# --- which heads are taken ------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["score__weight", "v_head__summary__weight", "rm_head__weight"])
def test_a_head_under_a_language_models_name_is_refused_by_name(tmp_path: Path, head: str) -> None:
    folder = write_model(tmp_path / "lm", head=False)
    assert isinstance(load_reward_model(folder), GenerativeRM)
    with_tensors(folder, **{head: (1, 32)})
    with pytest.raises(ConfigError, match=head.partition("__")[0] + r".*language model"):
        load_reward_model(folder)


def test_two_heads_are_refused_by_name(folder: Path) -> None:
    with_tensors(folder, v_head__summary__weight=(1, 32))
    with pytest.raises(ConfigError, match="2 heads \\(score, v_head\\)"):
        load_reward_model(folder)


def test_a_head_of_several_logits_is_refused_whatever_the_config_says(folder: Path) -> None:
    with_tensors(folder, score__weight=(3, 32))
    with pytest.raises(ConfigError, match="3 logits, expected 1"):
        load_reward_model(folder)


# --- what a card may name -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", ["../away", "sub/../../away", "/", "link", "sub/link", "..", "../critic/../away"]
)
def test_a_card_names_nothing_outside_its_folder(folder: Path, head: str) -> None:
    away = write_model(folder.parent / "away", head=True, seed=1)
    (folder / "sub").mkdir()
    for link in (folder / "link", folder / "sub" / "link"):
        link.symlink_to(away)
    CARD.model_copy(update={"head": head}).write(folder)
    with pytest.raises(ConfigError, match="leads out of the folder"):
        load_reward_model(folder)


@pytest.mark.parametrize("head", [None, ".", "sub", "sub/../sub", "../model", "../critic"])
def test_a_card_may_name_what_lies_in_its_folder_or_the_critic_beside_it(
    folder: Path, head: str | None
) -> None:
    shutil.copytree(folder, folder.parent / "critic")
    shutil.copytree(folder.parent / "critic", folder / "sub")
    CARD.model_copy(update={"head": head}).write(folder)
    assert load_reward_model(folder).traits.min_responses == 1


def test_a_card_of_a_million_levels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spct.json").write_text("[" * 1_000_000)
    with pytest.raises(ConfigError, match=r"spct\.json"):
        read_card(tmp_path)


# --- other names ----------------------------------------------------------------------------------


def test_a_path_with_a_typing_error_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(ConfigError, match="no such folder"):
        load_reward_model("runs/bt")


def test_a_hub_that_cannot_be_reached_is_said_in_words(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="there is no such folder here, and the hub did not"):
        load_reward_model("nobody/nothing")


@pytest.mark.parametrize(("word", "meant"), [("defualt", "default"), ("lenght", "length")])
def test_a_near_miss_is_answered_with_the_right_word(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        load_reward_model(word)


def test_a_gateway_is_named_by_its_address() -> None:
    model = load_reward_model("http://127.0.0.1:9", environ={"SPCT_GATEWAY_KEY": "k"})
    assert model.fingerprint == "gateway:http://127.0.0.1:9" and model.traits.joins_groups
    asyncio.run(model.aclose())


def test_k_and_seed_go_to_models_that_have_them(folder: Path) -> None:
    assert load_reward_model("scripted", k=3, seed=5).identity().items() >= {("k", 3), ("seed", 5)}
    assert load_reward_model("random", k=3, seed=5).fingerprint == "baseline:random:5"
    assert isinstance(load_reward_model(folder, k=3).scorer, HFScorer)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft with transformers 5.23
def test_an_adapter_of_a_language_model_is_a_judge(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = write_model(tmp_path / "base", head=False)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), lora)
    model.save_pretrained(str(tmp_path / "adapter"))
    judge = load_reward_model(tmp_path / "adapter")
    assert isinstance(judge, GenerativeRM) and "hf" in judge.fingerprint
