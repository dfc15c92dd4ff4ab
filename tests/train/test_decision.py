import asyncio
import json

import pytest

from spct.data.prepare import split_by_prompt
from spct.engines.readouts.asking import Wording
from spct.engines.readouts.decision import YES_NO
from spct.errors import ConfigError, TrainError
from spct.models.decision import asking
from spct.models.load import load_reward_model
from spct.train.config import DecisionConfig
from spct.types import Example, Message
from tests.models.tiny import write_model

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")
WORDING = Wording("{{state}} {{instructions}}")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base") / "model", head=False)


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "q.toml").write_text('[yes_no]\ninstructions = "is the answer good"\n')
    (tmp_path / "state.txt").write_text("query {{conversation}} {{reference}} answer {{response}}")
    return asking("yes_no", tmp_path / "q.toml", tmp_path / "state.txt")


def examples(n=24):
    """The response with the word good is the better one; every third row is single."""
    found = []
    for i in range(n):
        words = ["one", "two", "three", "four", "five", "six"]
        query = (Message("user", f"what is {words[i % 6]} {words[i // 6 % 6]}"),)
        if i % 3 == 0:
            good = i % 2 == 0
            text = f"the answer is {'good' if good else 'bad'}"
            found.append(Example(f"s{i}", query, (text,), gold=(float(good),)))
        else:
            texts = ("the answer is good", "the answer is bad")
            gold = (1.0, 0.0)
            if i % 2:
                texts, gold = texts[::-1], gold[::-1]
            found.append(Example(f"p{i}", query, texts, gold=gold))
    return found


def settings(**changes):
    return DecisionConfig(
        **{
            "learning_rate": 5e-3, "max_steps": 30, "batch_size": 8, "micro_batch_size": 4,
            "lora_rank": 4, "use_cpu": True, "save_steps": 10, "log_steps": 10, "max_length": 200,
            "calibration": 0.2,
        }
        | changes
    )  # fmt: skip


def train(base, out, asked, config, rows=None):
    from spct.train.decision import train as run

    return run(str(base), rows or examples(), out, config, asked, WORDING)


def judge(model, example):
    return asyncio.run(model.judge(example))


@pytest.mark.slow
def test_a_readout_learns_and_the_folder_judges(base, tmp_path, asked):
    report = train(base, tmp_path / "out", asked, settings(max_steps=60))
    assert report.loss < 0.4 and report.n_too_long == 0
    model = load_reward_model(tmp_path / "out")
    pairs = [e for e in examples() if e.n == 2]
    right = [judge(model, e).winner == e.gold.index(1.0) for e in pairs]
    assert sum(right) >= 0.9 * len(pairs)
    card = json.loads((tmp_path / "out" / "spct.json").read_text())
    assert card["paradigm"] == "decision" and card["temperature"] > 0
    assert 0 <= card["calibration_error"] <= 1
    assert not (tmp_path / "out" / "model.safetensors").exists()  # the adapter alone


@pytest.mark.slow
def test_cached_states_train_to_the_same_losses(base, tmp_path, asked):
    config = settings(lora_skip_layers=1, max_steps=10, calibration=0.0)
    plain = train(base, tmp_path / "plain", asked, config)
    cached = train(
        base, tmp_path / "cached", asked, config.model_copy(update={"cache_states": True})
    )
    assert cached.loss == pytest.approx(plain.loss, abs=0.02)  # states are kept in bfloat16
    assert (tmp_path / "cached" / "states" / "states.bf16").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, which an error would break
def test_compiled_layers_train_to_the_same_losses(base, tmp_path, asked):
    config = settings(max_steps=10, calibration=0.0)
    plain = train(base, tmp_path / "plain", asked, config)
    compiled = train(
        base, tmp_path / "fast", asked, config.model_copy(update={"compile_layers": True})
    )
    assert compiled.loss == pytest.approx(plain.loss, abs=1e-3)
    assert judge(load_reward_model(tmp_path / "fast"), examples()[1]).winner is not None


def test_compiling_without_a_compiler_is_refused_in_words(base, tmp_path, asked, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler 'no-such-compiler'"):
        train(base, tmp_path / "out", asked, settings(compile_layers=True, use_cpu=True))


@pytest.mark.slow
def test_a_killed_training_goes_on_where_its_checkpoint_is(base, tmp_path, asked):
    # a schedule that does not depend on the number of steps
    config = settings(max_steps=20, schedule="constant")
    whole = train(base, tmp_path / "whole", asked, config)
    train(base, tmp_path / "parts", asked, config.model_copy(update={"max_steps": 10}))
    went_on = train(base, tmp_path / "parts", asked, config)
    assert went_on.resumed_from is not None and went_on.steps == whole.steps == 20
    # The checkpoint lies inside an epoch, whose rest is taken in the same order.
    assert went_on.loss == pytest.approx(whole.loss, rel=1e-3)


def test_another_run_in_the_folder_is_refused(base, tmp_path, asked):
    train(base, tmp_path / "out", asked, settings(max_steps=2))
    with pytest.raises(ConfigError, match="learning_rate"):
        train(base, tmp_path / "out", asked, settings(max_steps=2, learning_rate=1e-3))


def test_calibration_rows_are_not_trained_on(base, tmp_path, asked):
    report = train(base, tmp_path / "out", asked, settings(max_steps=1))
    share = {"train": 0.8, "dev": 0.2}
    kept = [e for e in examples() if split_by_prompt(e, share, "calibration") == "train"]
    assert report.n_rows == len({str(e.query) for e in kept}) < len(examples())


def test_nothing_to_learn_from_is_said(base, tmp_path, asked):
    lost = [Example("e", (Message("user", "what"),), ("a", "b"), gold=(1.0, 1.0))]
    with pytest.raises(TrainError):
        train(base, tmp_path / "out", asked, settings(), lost)


def test_cached_states_need_layers_below_the_adapters(base, tmp_path, asked):
    with pytest.raises(ConfigError, match="lora_skip_layers"):
        train(base, tmp_path / "out", asked, settings(cache_states=True))


def test_losses_by_hand():
    import math

    import torch

    from spct.train.decision import losses
    from spct.train.packing import Row, collate

    z = torch.tensor([1.0, -1.0, 0.5])
    row = Row((1,), ((2,), (3,), (4,)), (1.0, 0.0, 0.0), ((0, 1),))
    pairwise, score = losses(z, collate([row], 0))
    assert float(pairwise) == pytest.approx(math.log1p(math.exp(-2)))
    expected = (2 * math.log1p(math.exp(-1)) + math.log1p(math.exp(0.5))) / 3
    assert float(score) == pytest.approx(expected)
    alone, _ = losses(z[:1], collate([Row((1,), ((2,),), (1.0,), ())], 0))
    assert float(alone) == 0.0
    # a row's pairs weigh together as much as it has sides: 3 for one pair, and 2 for one
    two = Row((1,), ((2,), (3,)), (1.0, 0.0), ((0, 1),))
    both, _ = losses(torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0]), collate([row, two], 0))
    assert float(both) == pytest.approx((3 * math.log1p(math.exp(-2)) + 2 * math.log(2)) / 5)


def test_a_packed_response_is_read_as_if_it_stood_alone(base):
    import torch
    from transformers import AutoModelForCausalLM

    from spct.train.packing import Row, collate
    from spct.train.readout import Readout

    rests = ((5, 6), (7,), (8, 9, 10))
    packed = Row((1, 2, 3, 4), rests, (1.0, 0.0, 0.0), ((0, 1),))
    alone = [Row((1, 2, 3, 4), (rest,), (1.0,), ()) for rest in rests]
    for kernel in ("eager", "sdpa"):
        model = AutoModelForCausalLM.from_pretrained(str(base), attn_implementation=kernel)
        readout = Readout(model, [[5], [6]])
        with torch.inference_mode():
            together, apart = readout(collate([packed, alone[1]], 0)), readout(collate(alone, 0))
        assert together[:3].tolist() == pytest.approx(apart.tolist(), abs=1e-5)
        assert together[3] == pytest.approx(float(apart[1]), abs=1e-5)


def test_the_labels_are_those_that_readers_read(base):
    from spct.engines.hf_load import load_tokenizer
    from spct.train.decision import label_ids

    tokenizer = load_tokenizer(base)
    ids = label_ids(tokenizer)
    assert [tokenizer.decode(one[:1]).strip() for one in ids] == list(YES_NO)


def test_the_command_trains(run, base, tmp_path, asked):
    from spct.runs.codec import dump_example, to_line

    data = tmp_path / "rows.jsonl"
    data.write_text("".join(to_line(dump_example(e)) + "\n" for e in examples()))
    code, out, err = run(
        "train", "decision", "--model", base, "--data", data, "--out", tmp_path / "out",
        "--questions", tmp_path / "q.toml", "--state", tmp_path / "state.txt",
        "--set", "decision.max_steps=2", "--set", "decision.batch_size=4",
        "--set", "decision.micro_batch_size=4", "--set", "decision.use_cpu=true",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["steps"] == 2
