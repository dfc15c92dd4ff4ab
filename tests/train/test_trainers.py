"""Each trainer on a tiny model: two steps, a toy set overfitted, resume, and TRL's arithmetic."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from spct.engines.hf import HFEngine
from spct.engines.hf_decode import Row, decode
from spct.engines.hf_load import load_tokenizer
from spct.errors import ConfigError, EngineError, TrainError
from spct.train import meta_rm, rl, sft
from spct.train.adapters import saved_ends
from spct.train.config import MetaConfig, RlConfig, SftConfig
from spct.train.dev import DevSet
from spct.train.fitting import encode
from spct.train.sampling import Formats
from spct.types import Example, Message, Prompt, SamplingParams
from spct.view.keys import key_of
from spct.view.run import RunView
from tests.train.conftest import PAIR, judged, templated_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
pytest.importorskip("trl")
GenerationConfig = pytest.importorskip("transformers").GenerationConfig

SMALL: dict[str, Any] = {
    "use_cpu": True, "schedule": "constant", "max_length": 320, "save_steps": 2, "log_steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tiny_model: str, tmp_path_factory: pytest.TempPathFactory, toy_formats: Formats,
          toy_examples: list[Example]) -> tuple[str, sft.TrainReport]:  # fmt: skip
    """The tiny judge, overfitted on sixteen templated judgements."""
    out = tmp_path_factory.mktemp("tuned")
    config = SftConfig(
        **{**SMALL, "save_steps": 500, "log_steps": 20},
        learning_rate=5e-3, batch_size=16, micro_batch_size=16, max_steps=160,
    )  # fmt: skip
    return str(out), sft.train(tiny_model, templated_rows(toy_examples, toy_formats), out, config)


def test_sft_overfits_a_toy_set_and_then_writes_readable_judgements(
    tuned: tuple[str, sft.TrainReport], toy_formats: Formats, toy_examples: list[Example]
) -> None:
    folder, report = tuned
    assert report.loss is not None
    assert report.loss < 0.2
    engine = HFEngine(folder)
    prompts = [toy_formats.of(e).render(e, tuple(range(e.n))) for e in toy_examples]
    replies = engine.complete(prompts, SamplingParams(temperature=0, max_tokens=160))
    outcomes = [
        toy_formats.of(e).read(reply, tuple(range(e.n)))
        for e, reply in zip(toy_examples, replies, strict=True)
    ]
    assert sum(hasattr(o, "scores") for o in outcomes) >= 14


def test_sft_runs_two_steps_skips_long_rows_and_resumes(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**SMALL, batch_size=4, micro_batch_size=2, max_steps=2)
    longest = max(len(str(r["prompt"])) for r in rows)
    long = {
        "prompt": [{"role": "user", "content": "fox " * 400}],
        "completion": rows[0]["completion"],
    }
    first = sft.train(tiny_model, [*rows, long], tmp_path, config)
    assert (first.steps, first.n_rows, first.n_too_long) == (2, 16, 1)
    assert longest < 4000
    more = config.model_copy(update={"max_steps": 4})
    second = sft.train(tiny_model, rows, tmp_path, more)
    assert second.steps == 4
    assert second.resumed_from is not None
    assert second.resumed_from.endswith("checkpoint-2")
    assert (tmp_path / "metrics.jsonl").is_file()


def test_a_finished_run_started_again_takes_no_step(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    """16 rows in steps of 6: the last step lies within a pass, where transformers goes on."""
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**SMALL, batch_size=6, micro_batch_size=2, max_steps=4)
    sft.train(tiny_model, rows, tmp_path, config)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    again = sft.train(tiny_model, rows, tmp_path, config)
    assert again.steps == 4
    assert again.resumed_from is not None and again.resumed_from.endswith("checkpoint-4")
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_a_disk_that_fills_at_a_checkpoint_is_said_and_costs_that_checkpoint_alone(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**SMALL, batch_size=4, micro_batch_size=4, max_steps=2)
    sft.train(tiny_model, rows, tmp_path, config)
    more = config.model_copy(update={"max_steps": 4})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may grow larger
    try:
        with pytest.raises(TrainError, match=r"GiB free\); make room"):
            sft.train(tiny_model, rows, tmp_path, more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "checkpoint-4").is_dir()
    again = sft.train(tiny_model, rows, tmp_path, more)
    assert again.resumed_from is not None and again.resumed_from.endswith("checkpoint-2")
    assert again.steps == 4
    assert "checkpoint-4 was not written to its end" in capsys.readouterr().err


def test_other_rows_or_settings_are_refused_in_the_folder_of_a_run(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**SMALL, batch_size=4, micro_batch_size=2, max_steps=2)
    sft.train(tiny_model, rows, tmp_path, config)
    with pytest.raises(ConfigError, match=r"settings\.learning_rate"):
        sft.train(tiny_model, rows, tmp_path, config.model_copy(update={"learning_rate": 0.1}))
    with pytest.raises(ConfigError, match="data"):
        sft.train(tiny_model, rows[1:], tmp_path, config)


def test_sft_trains_lora_adapters(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**SMALL, batch_size=4, micro_batch_size=4, max_steps=2, lora_rank=4)
    sft.train(tiny_model, rows, tmp_path, config)
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_the_loss_covers_the_completion_alone(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    """Contract: changing the words of the completion moves the first loss, as its mean NLL says."""
    import torch
    from transformers import AutoModelForCausalLM

    rows = templated_rows(toy_examples[:1], toy_formats)
    config = SftConfig(**SMALL, learning_rate=1e-9, batch_size=1, micro_batch_size=1, max_steps=1)
    report = sft.train(tiny_model, rows, tmp_path, config)
    tokenizer = load_tokenizer(tiny_model)
    ids = encode(tokenizer, rows[0]["prompt"] + rows[0]["completion"])["input_ids"]  # type: ignore[operator]
    n_prompt = len(
        tokenizer.apply_chat_template(
            rows[0]["prompt"], add_generation_prompt=True, return_dict=True
        )["input_ids"]
    )
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
    nll = [-logps[t - 1, ids[t]].item() for t in range(n_prompt, len(ids))]
    assert report.loss == pytest.approx(sum(nll) / len(nll), rel=1e-3)


def test_a_base_without_a_chat_template_is_refused(tiny_model: str, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "bare")
    for name in ("chat_template.jinja", "chat_template.json"):
        (tmp_path / "bare" / name).unlink(missing_ok=True)
    config = json.loads((tmp_path / "bare/tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "bare/tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no chat template"):
        load_tokenizer(str(tmp_path / "bare"))


def test_rows_that_all_exceed_the_length_are_an_error(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    rows = templated_rows(toy_examples, toy_formats)
    config = SftConfig(**{**SMALL, "max_length": 8}, batch_size=1, micro_batch_size=1, max_steps=1)
    with pytest.raises(TrainError, match="16 have more than 8 tokens and 0 are refused"):
        sft.train(tiny_model, rows, tmp_path, config)
    uneven = SftConfig(**SMALL, batch_size=5, micro_batch_size=2, max_steps=1)
    with pytest.raises(ConfigError, match="does not divide"):
        sft.train(tiny_model, rows, tmp_path, uneven)


def rl_config(**changes: Any) -> RlConfig:
    return RlConfig(
        **{**SMALL, "batch_size": 8, "micro_batch_size": 8, "max_steps": 2,
           "max_completion_tokens": 130, **changes}
    )  # fmt: skip


def test_rl_runs_two_steps_logs_its_metrics_and_resumes(
    tuned: tuple[str, sft.TrainReport], tmp_path: Path, toy_formats: Formats,
    toy_examples: list[Example],
) -> None:  # fmt: skip
    rows, funnel = rl.rl_rows(toy_examples, toy_formats, seed=0)
    assert funnel.prompts == 16
    dev = DevSet(tuple(toy_examples[:4]))
    config = rl_config(dev_steps=2, max_zero_variance=1.0)
    report = rl.train(tuned[0], rows, tmp_path, config, toy_formats, dev)
    assert report.steps == 2
    logs = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    seen = set().union(*logs)
    assert {
        "spct/correct", "spct/unscored", "spct/tie", "frac_reward_zero_std", "kl",
        "completions/mean_length", "dev/accuracy_forward", "dev/accuracy_reversed",
        "dev/accuracy_both",
    } <= seen  # fmt: skip
    kept = RunView(tmp_path / "evaluations" / "step-000002", "dev")
    kept.index.follow()
    assert [row["id"] for row in kept.page({}, offset=0, limit=9)["rows"]] == [
        e.id for e in toy_examples[:4]
    ]
    several = next(e for e in toy_examples[:4] if e.n > 1)
    orders = [p["order"] for p in kept.example(key_of(several.id))["prompts"]]
    assert orders == [[*range(several.n)], [*range(several.n)][::-1]]
    kept.close()
    again = rl.train(
        tuned[0], rows, tmp_path, rl_config(max_steps=3, max_zero_variance=1.0), toy_formats
    )
    assert again.steps == 3
    assert again.resumed_from is not None


def test_rl_overfits_a_toy_set(tiny_model: str, tmp_path: Path, toy_formats: Formats) -> None:
    """Cold-started to say either verdict, RL ends up saying the right one."""
    pair = Example("p", (Message("user", "must start animal"),), ("fox axe", "axe fox"), (1.0, 0.0))
    prompt = toy_formats.several.render(pair, (0, 1))
    rows = [
        {
            "prompt": [{"role": "user", "content": prompt.messages[0].content}],
            "completion": [
                {"role": "assistant", "content": f"Analysis:\nx\nScores: \\boxed{{{s}}}"}
            ],
        }
        for s in ("8, 3", "3, 8")
    ]
    base = {**SMALL, "save_steps": 500}
    cold = SftConfig(**base, learning_rate=5e-3, batch_size=2, micro_batch_size=2, max_steps=60)
    sft.train(tiny_model, rows, tmp_path / "cold", cold)
    prompts, _ = rl.rl_rows([pair], toy_formats, seed=1)
    prompts[0]["order"] = [0, 1]
    prompts[0]["prompt"] = rows[0]["prompt"]
    config = rl_config(
        learning_rate=2e-3, beta=0.0, max_steps=15, batch_size=16, micro_batch_size=16,
        max_completion_tokens=20, max_zero_variance=1.0, save_steps=500,
    )  # fmt: skip
    rl.train(str(tmp_path / "cold"), prompts * 8, tmp_path / "rl", config, toy_formats)
    logs = [json.loads(x) for x in (tmp_path / "rl/metrics.jsonl").read_text().splitlines()]
    shares = [log["spct/correct"] for log in logs if "spct/correct" in log]
    assert shares[0] < 0.9
    assert shares[-1] > 0.9


def test_a_run_whose_groups_all_tie_stops_and_says_why(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    rows, _ = rl.rl_rows(toy_examples, toy_formats, seed=0)
    with pytest.raises(TrainError, match=r"100% of the groups tie .* tune \(RFT\) first"):
        rl.train(
            tiny_model, rows, tmp_path, rl_config(max_steps=6, max_completion_tokens=8), toy_formats
        )


@pytest.mark.parametrize(
    ("rewards", "advantages"),
    [  # mean m, sample deviation s (n - 1): (r - m) / (s + 1e-4)
        ([1, -1, -1, -1], [1.5, -0.5, -0.5, -0.5]),  # m = -0.5, s = 1
        ([1, 1, -1, -1], [0.866, 0.866, -0.866, -0.866]),  # m = 0, s = sqrt(4/3)
        ([1, 1, 1, -1], [0.5, 0.5, 0.5, -1.5]),
        ([1, 1, 1, 1], [0, 0, 0, 0]),
        ([-1, -1, -1, -1], [0, 0, 0, 0]),
    ],
)
def test_advantages_as_trl_computes_them_on_a_hand_made_group(
    tuned: tuple[str, sft.TrainReport], tmp_path: Path, toy_formats: Formats,
    toy_examples: list[Example], rewards: list[float], advantages: list[float],
) -> None:  # fmt: skip
    from datasets import Dataset
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = rl_config(batch_size=4, micro_batch_size=4, max_completion_tokens=8, beta=0.0)
    rows, _ = rl.rl_rows(toy_examples, toy_formats, seed=0)
    trainer = GRPOTrainer(
        model=tuned[0],
        reward_funcs=[lambda **_: list(map(float, rewards))],
        args=rl.trl_config(config, tmp_path, 1),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(tuned[0]),
    )
    group = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    scored = trainer._prepare_inputs(group)
    got = sorted(scored["advantages"].tolist(), reverse=True)
    assert got == pytest.approx(sorted(advantages, reverse=True), abs=2e-4)


def test_truncated_and_unreadable_rollouts_earn_minus_one(toy_formats: Formats) -> None:
    config = rl_config(max_completion_tokens=4, format_reward=0.25)
    outcome, readable = rl.make_rewards(toy_formats, frozenset({1}), config)
    right = "Scores: \\boxed{9, 2}"
    texts = [right, right, "nonsense", "Scores: \\boxed{2, 9}", "Scores: \\boxed{9, 2}"]
    ids = [[5, 1], [5, 6, 7, 8], [5, 1], [5, 1], [5, 6, 7, 1]]  # the second ran into the limit
    logged: dict[str, float] = {}
    batch: dict[str, Any] = {
        "completions": [[{"role": "assistant", "content": t}] for t in texts],
        "completion_ids": ids,
        "order": [[0, 1]] * 5,
        "log_metric": logged.__setitem__,
    }
    gold = [[1.0, 0.0]] * 5
    assert outcome(gold=gold, **batch) == [1.0, -1.0, -1.0, -1.0, 1.0]
    assert readable(gold=gold, **batch) == [0.25, 0.0, 0.0, 0.25, 0.25]
    assert logged == {"spct/correct": 0.4, "spct/unscored": 0.4, "spct/tie": 0.0}


def test_the_rewards_undo_the_order_shown(toy_formats: Formats) -> None:
    (outcome,) = rl.make_rewards(toy_formats, frozenset({1}), rl_config())
    batch: dict[str, Any] = {
        "completions": [[{"role": "assistant", "content": "Scores: \\boxed{2, 9}"}]],
        "completion_ids": [[5, 1]],
        "log_metric": lambda *_: None,
    }
    assert outcome(gold=[[1.0, 0.0]], order=[[1, 0]], **batch) == [1.0]
    assert outcome(gold=[[1.0, 0.0]], order=[[0, 1]], **batch) == [-1.0]


def test_meta_rm_overfits_a_toy_set_and_resumes(
    tuned: tuple[str, sft.TrainReport], tmp_path: Path, toy_formats: Formats
) -> None:
    several = toy_formats.several
    pairs = [
        (PAIR, judged(PAIR, scores, index=i, fmt=several, text=f"Analysis:\nResponse 1: {word}"))
        for i, (scores, word) in enumerate(
            [
                ((8.0, 3.0), "yes"),
                ((3.0, 8.0), "no"),
                ((9.0, 3.0), "yes yes"),
                ((2.0, 8.0), "no no"),
            ]
        )
    ]
    rows = meta_rm.meta_rows(pairs, "toy", meta_rm.MetaFunnel())
    assert [row["label"] for row in rows] == [1, 0, 1, 0]
    config = MetaConfig(
        **{**SMALL, "save_steps": 20},
        learning_rate=2e-3,
        batch_size=4,
        micro_batch_size=2,
        max_steps=40,
    )
    report = meta_rm.train(tuned[0], rows, tmp_path, config)
    assert report.steps == 40
    assert report.loss is not None
    assert report.loss < 0.1
    again = meta_rm.train(tuned[0], rows, tmp_path, config.model_copy(update={"max_steps": 42}))
    assert again.steps == 42
    assert again.resumed_from is not None


def test_rows_that_have_ended_leave_the_batch_for_good() -> None:
    """A row ends, goes on with anything, and must not be counted as alive again."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes, **heads)).eval()
    batches: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    params = SamplingParams(temperature=1.0, max_tokens=400)
    rows = [Row.of((1, 2, 3), params, seed) for seed in range(64)]
    decode(model, rows, frozenset({0}))
    lengths = [len(row.ids) for row in rows]
    assert all(row.ids.index(0) == len(row.ids) - 1 for row in rows)
    assert batches[0] == 1, "the prompt that they share is computed once"
    assert len(batches) == max(lengths) < 400
    assert sum(batches[1:]) < 1.5 * (sum(lengths) - 64)  # compacted when a fifth has ended


async def test_a_turn_may_end_with_another_token_than_the_tokenizers(
    tiny_model: str, tmp_path: Path, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    """Every token but one ends a turn here, so nearly all samples end at once."""
    shutil.copytree(tiny_model, tmp_path / "m")
    vocabulary = HFEngine(tmp_path / "m").network.config.vocab_size
    GenerationConfig(eos_token_id=list(range(vocabulary - 1))).save_pretrained(tmp_path / "m")
    engine = HFEngine(tmp_path / "m")
    assert saved_ends(str(tmp_path / "m"), engine.tokenizer) == engine.ends
    prompt = toy_formats.several.render(toy_examples[0], tuple(range(toy_examples[0].n)))
    found = await engine.sample(prompt, 8, SamplingParams(max_tokens=20))
    assert [reply.finish_reason for reply in found] == ["stop"] * 8
    assert max(len(reply.token_ids or ()) for reply in found) < 20
    (greedy,) = engine.complete([prompt], SamplingParams(temperature=0, max_tokens=20))
    assert greedy.finish_reason == "stop"


async def test_a_batch_that_fails_does_not_hang_the_others(
    tiny_model: str, toy_formats: Formats, toy_examples: list[Example]
) -> None:
    engine = HFEngine(tiny_model)
    prompt = toy_formats.several.render(toy_examples[0], tuple(range(toy_examples[0].n)))
    refuse = engine.network.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        await asyncio.wait_for(engine.sample(prompt, 2, SamplingParams(max_tokens=2)), 30)
    refuse.remove()
    good = await asyncio.wait_for(engine.sample(prompt, 1, SamplingParams(max_tokens=2)), 30)
    assert len(good) == 1
    waiting = asyncio.create_task(engine.sample(prompt, 1, SamplingParams(max_tokens=200)))
    await asyncio.sleep(0)
    await engine.aclose()
    with pytest.raises(EngineError, match="closed"):
        await asyncio.wait_for(waiting, 30)


def test_bce_weighs_positives_and_averages_over_the_batch() -> None:
    """Logit 0: the loss is ln 2 for a negative and w ln 2 for a positive."""
    import torch

    value = meta_rm.bce(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor(3.0))
    assert value.item() == pytest.approx((3 + 1) / 2 * 0.6931472)
    whole = meta_rm.bce(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor(3.0), 4)
    assert whole.item() == pytest.approx((3 + 1) / 4 * 0.6931472)


async def test_the_decoder_samples_the_same_in_any_batch(
    tuned: tuple[str, sft.TrainReport], toy_formats: Formats, toy_examples: list[Example]
) -> None:
    import asyncio

    prompts = [toy_formats.of(e).render(e, tuple(range(e.n))) for e in toy_examples[:6]]
    params = SamplingParams(temperature=1.0, max_tokens=60, seeds=(11, 12))
    together = HFEngine(tuned[0], batch_size=64)
    one_by_one = HFEngine(tuned[0], batch_size=1)
    a = await asyncio.gather(*(together.sample(p, 2, params) for p in prompts))
    b = [await one_by_one.sample(p, 2, params) for p in prompts]
    texts_a = [[c.text for c in replies] for replies in a]
    texts_b = [[c.text for c in replies] for replies in b]
    assert texts_a == texts_b
    assert all(replies[0].text != "" for replies in a)
    assert together.fingerprint == one_by_one.fingerprint
    greedy = await together.sample(prompts[0], 1, SamplingParams(temperature=0, max_tokens=160))
    assert greedy[0].text == greedy_text(together, prompts[0], 160)


def greedy_text(engine: HFEngine, prompt: Prompt, max_tokens: int) -> str:
    """What transformers' own `generate` writes."""
    import torch

    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    inputs = engine.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = engine.network.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
    return engine.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
