"""A training stage as one process of several runs it, on CPUs; tests/train/test_two_processes.py.

    torchrun --nproc-per-node 2 -m tests.train.two_processes MODEL FOLDER rft=4 rl=4 [--die-at STEP]

Each stage goes to its own folder there, and on with what it holds.
RL's rollouts are scripted: the i-th of a prompt says the same in every run, so runs of one and of
two processes differ in their sums alone. Under `accelerate launch --use_fsdp` the device type is
set to CPU here, which accelerate shards on accelerators only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from recipes.synthetic.rows import study_formats
from recipes.synthetic.teacher import Teacher, judgement_text
from recipes.synthetic.world import draw_examples
from spct.train import rl, sft
from spct.train.config import RlConfig, SftConfig
from spct.train.rollouts import Rollout
from tests.train.conftest import templated_rows

SAME: dict[str, Any] = {
    "use_cpu": True, "schedule": "constant", "learning_rate": 1e-3, "max_length": 640,
    "save_steps": 2, "log_steps": 1, "batch_size": 8, "micro_batch_size": 4,
}  # fmt: skip


def shard_on_cpu() -> None:
    """Let accelerate's FSDP take gloo's processes for those of an accelerator.

    It shards for accelerators only, and would fall back to copies of the model without a word.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)


def scripted(rows: list[dict[str, Any]], model: str, die_at: int | None) -> Rollout:
    """Judgements of a careless teacher, a function of the prompt and of the place in its group."""
    from spct.engines.hf_load import load_tokenizer
    from spct.train.fitting import encode

    tokenizer = load_tokenizer(model)
    examples = {e.id: e for e in draw_examples(3, 16, "toy")}
    of = {str(row["prompt"]): row for row in rows}

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, list[Any] | None]:
        if trainer.state.global_step == die_at and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        seen: Counter[str] = Counter()
        asked, said = [], []
        for prompt in prompts:
            row, place = of[str(prompt)], seen[str(prompt)]
            seen[str(prompt)] += 1
            rng = random.Random(f"{row['example_id']} {place}")
            example = examples[row["example_id"]]
            text = judgement_text(example, row["order"], rng, Teacher(misread=0.2))
            asked.append(encode(tokenizer, prompt, add_generation_prompt=True)["input_ids"])
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            said.append([*ids, tokenizer.eos_token_id])
        return {"prompt_ids": asked, "completion_ids": said, "logprobs": None}

    return rollout


def train(stage: str, model: str, out: Path, steps: int, die_at: int | None = None) -> None:
    """Train a stage ("rft", "lora" or "rl") on sixteen examples of the synthetic world."""
    examples, formats = draw_examples(3, 16, "toy"), study_formats()
    how = {**SAME, "max_steps": steps}
    if stage == "rl":
        config = RlConfig(**how, max_completion_tokens=300, max_zero_variance=1.0)
        rows, _ = rl.rl_rows(examples, formats, seed=0)
        answer = scripted(rows, model, die_at)
        rl.train(model, rows, out, config, formats, rollouts=answer)
    else:
        tuning = SftConfig(**how, lora_rank=4 if stage == "lora" else 0)
        sft.train(model, templated_rows(examples, formats), out, tuning)


def main() -> None:
    """Train the stages in a row; the same command goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("stages", nargs="+", metavar="STAGE=STEPS")
    parser.add_argument("--die-at", type=int, help="Step of RL at which the second process dies.")
    given = parser.parse_args()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        shard_on_cpu()
    for stage, steps in (text.split("=") for text in given.stages):
        train(stage, given.model, given.folder / stage, int(steps), given.die_at)


if __name__ == "__main__":
    main()
