import json
from pathlib import Path

import pytest

from spct.models.hf_scorer import load_scorer
from spct.models.model_card import read_card
from spct.models.pairwise import PairwiseScalarRM
from spct.train.config import PairwiseConfig
from spct.train.pairs import PairFunnel, pairs_of
from spct.train.pairwise import train
from spct.types import Example, Message
from tests.models.tiny import toy_example, write_model

QUICK = PairwiseConfig(
    learning_rate=1e-2,
    schedule="constant",
    batch_size=16,
    micro_batch_size=16,
    max_steps=30,
    max_length=200,
    save_steps=10,
    log_steps=5,
    use_cpu=True,
)
EXAMPLES = [toy_example(i, n=2 + i % 2) for i in range(24)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "lm", head=False)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pair") / "model"
    dev = [Example("dev", (Message("user", "who ."),), ("good", "bad"), (1.0, 0.0))]
    train(
        str(base),
        pairs_of(EXAMPLES, PairFunnel()),
        out,
        QUICK,
        dev=pairs_of(dev, PairFunnel()),
    )
    return out


async def test_a_pairwise_head_overfits_a_toy_set_of_two_and_three_responses(trained: Path) -> None:
    model = PairwiseScalarRM(load_scorer(trained))
    verdicts = {v.example_id: v async for v in model.judge_many(EXAMPLES)}
    assert all(verdicts[e.id].winner == e.gold.index(1.0) for e in EXAMPLES if e.gold)


async def test_swapping_the_responses_swaps_the_rewards_exactly(trained: Path) -> None:
    from dataclasses import replace

    model = PairwiseScalarRM(load_scorer(trained))
    example = EXAMPLES[0]
    straight = (await model.judge(example)).rewards
    swapped = (await model.judge(replace(example, responses=example.responses[::-1]))).rewards
    assert straight is not None and swapped is not None
    assert swapped[::-1] == pytest.approx(straight, abs=1e-5)
    assert straight[0] == -straight[1] != 0


def test_the_card_keeps_the_wording_that_the_head_was_trained_on(trained: Path) -> None:
    card = read_card(trained)
    assert card is not None and card.template is not None
    assert card.paradigm == "pairwise"
    assert "{{responses}}" in card.template.text
    assert not list(trained.glob("*.bin"))


def test_each_pair_enters_in_both_orders_with_opposite_labels(trained: Path, base: Path) -> None:
    from spct.models.encode import Encoder, load_tokenizer
    from spct.models.formats import PAIR
    from spct.train.pairwise import _labelled, _rows

    encoder = Encoder(load_tokenizer(str(base)), 200)
    rows = _labelled(_rows(encoder, pairs_of(EXAMPLES[:1], PairFunnel()), 200, PAIR).kept)
    assert [row["labels"] for row in rows] == [1.0, 0.0]
    assert sorted(rows[0]["input_ids"]) == sorted(rows[1]["input_ids"])
    assert rows[0]["input_ids"] != rows[1]["input_ids"]
    short = _rows(encoder, pairs_of(EXAMPLES[:1], PairFunnel()), 20, PAIR)
    assert short.kept == [] and short.n_too_long == 1


def test_loss_and_accuracy_are_logged_for_training_and_dev(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert 0 <= losses[0]["accuracy"] < 0.9 < losses[-1]["accuracy"] <= 1
    assert any("eval_accuracy" in row for row in rows)
    assert (trained / "curves.svg").is_file()


def test_the_loss_is_binary_cross_entropy_by_hand() -> None:
    """Logits 2 (label 1) and -1 (label 1): log(1 + e^-2) and log(1 + e^1), averaged."""
    import math

    import torch

    from spct.train.pairwise import _Meter

    meter = _Meter()
    outputs = {"logits": torch.tensor([[2.0], [-1.0]])}
    loss = meter.loss(outputs, torch.tensor([1.0, 1.0]))
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(loss) == pytest.approx(by_hand, abs=1e-6)
    assert meter.read() == 0.5
    assert meter.read() == 0.0  # counts anew
