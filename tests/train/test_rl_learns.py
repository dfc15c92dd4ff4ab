"""RL learns from many prompts, and TRL's first step is what the method says it is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from recipes.synthetic.world import CLASSES
from spct.engines.hf_load import load_tokenizer
from spct.train import rl, sft
from spct.train.config import RlConfig, SftConfig
from spct.train.fitting import Row
from spct.train.sampling import Formats
from spct.types import Example, Message

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
pytest.importorskip("trl")

QUICK: dict[str, Any] = {
    "use_cpu": True, "schedule": "constant", "max_length": 100, "save_steps": 5000, "log_steps": 5,
}  # fmt: skip
RIGHT, WRONG, UNREADABLE = "8, 3", "3, 8", None


def pair(i: int, rng: random.Random) -> Example:
    good, bad = rng.choice(CLASSES["animal"]), rng.choice(CLASSES["tool"])
    return Example(f"p{i}", (Message("user", "must start animal"),), (good, bad), (1.0, 0.0))


def said(scores: str | None) -> str:
    return "Scores: 8 3 8 3 8 3 8 3" if scores is None else f"Scores: \\boxed{{{scores}}}"


def half_right(examples: list[Example], formats: Formats) -> list[Row]:
    """Of six judgements of a prompt three are right, two wrong, and one is unreadable."""
    rows = []
    for example in examples:
        for order in ((0, 1), (1, 0)):
            right, wrong = (RIGHT, WRONG) if order == (0, 1) else (WRONG, RIGHT)
            prompt = formats.of(example).render(example, order).messages[0].content
            rows += [
                {
                    "prompt": [{"role": "user", "content": prompt}],
                    "completion": [{"role": "assistant", "content": said(scores)}],
                }
                for scores in (right, right, right, wrong, wrong, UNREADABLE)
            ]
    return rows


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, toy_formats: Formats) -> tuple[str, list[Any]]:
    """A policy that is right about half of the time over 48 prompts, and those prompts."""
    from recipes.synthetic.rows import vocabulary_texts
    from recipes.synthetic.tiny import save_new

    out, rng = tmp_path_factory.mktemp("policy"), random.Random(0)
    examples = [pair(i, rng) for i in range(48)]
    save_new(vocabulary_texts(), out / "new", layers=2)
    config = SftConfig(
        **QUICK, learning_rate=2e-3, batch_size=48, micro_batch_size=48, max_steps=60
    )
    sft.train(str(out / "new"), half_right(examples, toy_formats), out / "cold", config)
    rows, _ = rl.rl_rows(examples, toy_formats, seed=0, passes=2)
    return str(out / "cold"), rows


def settings(**changes: Any) -> RlConfig:
    return RlConfig(
        **{**QUICK, "learning_rate": 3e-4, "beta": 0.0, "batch_size": 96, "micro_batch_size": 96,
           "max_steps": 80, "max_completion_tokens": 16, "max_zero_variance": 1.0, **changes}
    )  # fmt: skip


def test_rl_makes_a_policy_that_guesses_right_and_readable_on_many_prompts(
    policy: tuple[str, list[Any]], tmp_path: Path, toy_formats: Formats
) -> None:
    rl.train(policy[0], policy[1], tmp_path, settings(), toy_formats)
    logs = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logs = [log for log in logs if "spct/correct" in log]
    assert 0.3 < logs[0]["spct/correct"] < 0.65
    assert logs[0]["spct/unscored"] > 0.04
    assert logs[-1]["spct/correct"] > 0.8
    assert logs[-1]["spct/unscored"] < logs[0]["spct/unscored"] / 2


def prepared(model: str, rows: list[Any], out: Path, formats: Formats, **changes: Any) -> Any:
    """A trainer as `rl.train` builds it, and its first batch of scored rollouts."""
    from datasets import Dataset

    from spct.train.rollouts import local_rollouts
    from spct.train.sorted_grpo import SortedGRPOTrainer

    config = settings(**{"beta": 0.08, **changes})
    tokenizer = load_tokenizer(model)
    trainer = SortedGRPOTrainer(
        model=model,
        reward_funcs=rl.make_rewards(formats, frozenset({tokenizer.eos_token_id}), config),
        args=rl.trl_config(config, out, 1),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=local_rollouts(tokenizer, config),
    )
    trainer.model.train()
    return trainer, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_first_step_is_on_policy_and_scores_each_rollout_to_its_end_token(
    policy: tuple[str, list[Any]], tmp_path: Path, toy_formats: Formats, temperature: float
) -> None:
    """Probabilities are the plain model's on the unpadded text; the ratio is one, the KL zero."""
    import torch
    from transformers import AutoModelForCausalLM

    trainer, batch = prepared(*policy, tmp_path, toy_formats, temperature=temperature)
    assert "old_per_token_logps" not in batch  # so the ratio is exp(logp - logp.detach()) = 1
    model = AutoModelForCausalLM.from_pretrained(policy[0])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        got, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].shape[1]
        )
    assert torch.allclose(
        (got - batch["ref_per_token_logps"]) * batch["completion_mask"], torch.zeros(()), atol=1e-4
    )
    eos = trainer.processing_class.eos_token_id
    for i in range(0, len(ids), 7):
        alone = ids[i][mask[i].bool()]
        n = int(batch["completion_mask"][i].sum())
        with torch.no_grad():
            logps = (model(alone[None]).logits[0] / temperature).log_softmax(-1)
        wanted = logps[:-1].gather(1, alone[1:, None])[-n:, 0]
        assert torch.allclose(got[i, :n], wanted, atol=1e-4)
        assert alone[-1] == eos or n == 16  # the end token itself is scored
        assert eos not in alone[-n:-1]


def test_each_group_is_one_prompt_in_one_order(
    policy: tuple[str, list[Any]], tmp_path: Path, toy_formats: Formats
) -> None:
    """Advantages of a group sum to zero, so a group that mixed prompts would show."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def spy(
        prompts: list[Any], order: list[Any], example_id: list[str], **_: Any
    ) -> list[float | None]:
        seen.extend((p[0]["content"] + i, tuple(o)) for p, i, o in
                    zip(prompts, example_id, order, strict=True))  # fmt: skip
        return [1.0] * len(prompts)

    config = settings(max_steps=1, group_size=8)
    rl.train(policy[0], policy[1], tmp_path, config, toy_formats, rewards=[spy])
    groups = [seen[i : i + 8] for i in range(0, 96, 8)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len({group[0] for group in groups}) == 12


def test_what_trl_would_default_to_is_overridden(tmp_path: Path) -> None:
    args = rl.trl_config(settings(), tmp_path, 1)
    assert args.gradient_checkpointing is False
    assert (args.loss_type, args.num_iterations, args.steps_per_generation) == ("grpo", 1, 1)
    assert (args.top_k, args.top_p, args.repetition_penalty, args.min_p) == (0, 1.0, 1.0, None)
    assert (args.scale_rewards, args.bf16, args.max_grad_norm) == ("group", False, 1.0)
