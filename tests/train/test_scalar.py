import json
import shutil
from pathlib import Path

import pytest

from spct.errors import ConfigError, DataError, TrainError
from spct.models.hf_scorer import load_scorer
from spct.models.model_card import read_card
from spct.models.scalar import PointwiseScalarRM
from spct.train import pairwise
from spct.train.config import PairwiseConfig, ScalarConfig
from spct.train.pairs import Pair, PairFunnel, pairs_of
from spct.train.scalar import conversation_pairs, train
from spct.train.sft import TrainReport
from spct.types import Example, Message
from tests.models.tiny import toy_example, write_model

QUICK = ScalarConfig(
    learning_rate=1e-2,
    schedule="constant",
    batch_size=8,
    micro_batch_size=8,
    max_steps=12,
    max_length=128,
    save_steps=6,
    log_steps=3,
    use_cpu=True,
)
EXAMPLES = [toy_example(i) for i in range(24)]


def toy_pairs(examples: list[Example] = EXAMPLES) -> list[Pair]:
    return pairs_of(examples, PairFunnel())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "lm", head=False)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bt") / "model"
    dev = [
        Example(f"dev-{i}", (Message("user", "who ."),), ("good", "bad"), (1.0, 0.0))
        for i in range(4)
    ]
    train(
        str(base),
        conversation_pairs(toy_pairs()),
        out,
        QUICK,
        dev=conversation_pairs(toy_pairs(dev)),
    )
    return out


async def accuracy(folder: Path) -> float:
    model = PointwiseScalarRM(load_scorer(folder))
    verdicts = {v.example_id: v async for v in model.judge_many(EXAMPLES)}
    return sum(verdicts[e.id].winner == e.gold.index(1.0) for e in EXAMPLES if e.gold) / len(
        EXAMPLES
    )


async def test_a_bradley_terry_head_overfits_a_toy_set(trained: Path) -> None:
    assert await accuracy(trained) == 1.0


async def test_a_saved_model_scores_as_its_copy_loaded_again(trained: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    first = await PointwiseScalarRM(load_scorer(trained)).judge(EXAMPLES[0])
    second = await PointwiseScalarRM(load_scorer(moved)).judge(EXAMPLES[0])
    assert first.rewards == pytest.approx(second.rewards, abs=1e-5)


def test_the_folder_says_what_it_is_and_holds_no_pickle(trained: Path) -> None:
    card = read_card(trained)
    assert card is not None
    assert (card.paradigm, card.steps, card.n_pairs, card.max_length) == (
        "bradley-terry",
        12,
        24,
        128,
    )
    names = {p.name for p in trained.iterdir()}
    assert {"model.safetensors", "spct.json", "metrics.jsonl", "curves.png", "curves.svg"} <= names
    assert not [p for p in trained.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_loss_and_accuracy_are_logged_for_training_and_dev(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert [row["step"] for row in losses] == [3, 6, 9, 12]
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert losses[-1]["accuracy"] == 1.0
    assert any("eval_accuracy" in row for row in rows)


@pytest.mark.slow
def test_a_killed_run_continues_from_its_checkpoint_and_ends_alike(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    import shutil

    out = tmp_path / "resumed"
    pairs = conversation_pairs(toy_pairs())
    train(str(base), pairs, out, QUICK)
    whole = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for path in out.iterdir():  # what a kill after the first checkpoint leaves behind
        if path.name not in ("checkpoints", "run.json"):
            path.unlink()
    shutil.rmtree(out / "checkpoints" / "checkpoint-12")
    report = train(str(base), pairs, out, QUICK)
    assert report.resumed_from is not None and report.resumed_from.endswith("checkpoint-6")
    again = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [[r["loss"] for r in rows if "loss" in r] for rows in (whole, again)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


def test_another_run_in_the_same_folder_is_refused_with_what_differs(
    base: Path, trained: Path
) -> None:
    other = QUICK.model_copy(update={"learning_rate": 1e-3})
    with pytest.raises(ConfigError, match=r"settings\.learning_rate: was 0\.01, now 0\.001"):
        train(str(base), conversation_pairs(toy_pairs()), trained, other)
    with pytest.raises(ConfigError, match="data"):
        train(str(base), conversation_pairs(toy_pairs()[:5]), trained, QUICK)


# peft 0.21 asks transformers 5.23 by a name that the latter has deprecated
PEFT_WARNS = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")


@pytest.mark.slow
@PEFT_WARNS
async def test_a_lora_adapter_is_trained_with_its_head_and_loads(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    train(
        str(base),
        conversation_pairs(toy_pairs()),
        out,
        QUICK.model_copy(update={"lora_rank": 4, "max_steps": 20, "learning_rate": 3e-2}),
    )
    assert (out / "adapter_model.safetensors").is_file()
    assert not (out / "model.safetensors").exists()
    assert await accuracy(out) == 1.0


@PEFT_WARNS
def test_an_adapter_without_head_weights_is_refused(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(base))
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(
        str(tmp_path)
    )
    with pytest.raises(ConfigError, match="the adapter holds no head weights"):
        load_scorer(tmp_path)


def test_an_untrained_card_is_refused(trained: Path, tmp_path: Path) -> None:
    card = read_card(trained)
    assert card is not None
    card.model_copy(update={"steps": 0}).write(tmp_path)
    with pytest.raises(ConfigError, match="0 training steps"):
        read_card(tmp_path)


@pytest.mark.slow
def test_margins_change_the_loss_by_the_equation(base: Path, tmp_path: Path) -> None:
    """At equal logits the loss is log(1 + e^margin): here log(1 + e^2) against log 2."""
    import math

    same = [Example("s", (Message("user", "who"),), ("good", "good "), (2.0, 0.0))] * 8
    pairs = conversation_pairs(toy_pairs(same))  # one token sequence twice: equal logits
    still = {"max_steps": 1, "log_steps": 1, "learning_rate": 1e-12}
    plain = train(str(base), pairs, tmp_path / "a", QUICK.model_copy(update=still))
    with_margin = QUICK.model_copy(update={**still, "use_margins": True})
    margin = train(str(base), pairs, tmp_path / "b", with_margin)
    assert plain.loss == pytest.approx(math.log(2), abs=1e-4)
    assert margin.loss == pytest.approx(math.log(1 + math.exp(2)), abs=1e-4)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")
@pytest.mark.parametrize("kind", ["bradley-terry", "pairwise", "frozen"])
def test_what_is_left_out_is_counted_by_its_reason_and_none_left_is_an_error(
    base: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(base, strict)
    template = strict / "chat_template.jinja"
    refusal = "{% if 'six' in m.content %}{{ raise_exception('no six here') }}{% endif %}"
    template.write_text(f"{{% for m in messages %}}{refusal}{{% endfor %}}{template.read_text()}")
    long = Example("l", (Message("user", "who"),), ("good " * 200, "bad"), (1.0, 0.0))
    bad = [Example(f"r{i}", (Message("user", f"six {i}"),), ("a", "b"), (1.0, 0.0))
           for i in range(2)]  # fmt: skip
    dev = Example("d", (Message("user", "six of dev"),), ("a", "b"), (1.0, 0.0))
    fine = [e for e in EXAMPLES if "six" not in str((e.query, e.responses))][:8]
    given, unseen = toy_pairs([*fine, long, *bad]), toy_pairs([dev])

    def run(pairs: list[Pair], out: Path, dev: list[Pair]) -> TrainReport:
        if kind == "pairwise":
            how = PairwiseConfig(**QUICK.model_dump(exclude={"use_margins", "margin_scale"}))
            how = how.model_copy(update={"max_steps": 1})
            return pairwise.train(str(strict), pairs, out, how, dev=dev)
        config = QUICK.model_copy(update={"max_steps": 1, "frozen": kind == "frozen"})
        return train(
            str(strict), conversation_pairs(pairs), out, config, dev=conversation_pairs(dev)
        )

    report = run(given, tmp_path / "a", unseen)
    assert (report.n_rows, report.n_too_long, report.n_refused) == (8, 1, 2)
    said = capsys.readouterr().err
    assert said.count("no six here") == 2  # one of training, one of dev
    assert "dev: of its pairs 0 are too long and 1 are refused" in said
    with pytest.raises(TrainError, match="1 have more than 128 tokens and 2 are refused"):
        run(given[8:], tmp_path / "b", [])


def test_a_dev_set_that_overlaps_the_training_queries_is_refused(
    base: Path, tmp_path: Path
) -> None:
    pairs = conversation_pairs(toy_pairs())
    with pytest.raises(DataError, match="also trained on"):
        train(str(base), pairs[:8], tmp_path, QUICK, dev=pairs[:1])
