"""TRL's GRPOTrainer, some steps on a tiny policy, paid in process and over a gateway."""

import json

import pytest

from tests.external.environments import ROOT, environment, gateway, run
from tests.models.tiny import write_model

pytestmark = pytest.mark.external

CODE = """
import json, sys
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from spct.integrations.trl import make_reward_func

rows = [{"prompt": [{"role": "user", "content": f"what is {word}"}]} for word in "abcdefgh"]
config = GRPOConfig(
    output_dir=sys.argv[2], num_generations=4, per_device_train_batch_size=8,
    max_completion_length=12, max_steps=4, logging_steps=1, learning_rate=1e-3, report_to=[],
    save_strategy="no", use_cpu=True, bf16=False, seed=1,
)
trainer = GRPOTrainer(sys.argv[1], reward_funcs=make_reward_func(sys.argv[3]), args=config,
                      train_dataset=Dataset.from_list(rows))
trainer.train()
log = [row for row in trainer.state.log_history if "reward" in row]
print(json.dumps([[row["reward"], row["spct/unscored"], row["grad_norm"]] for row in log]))
"""


def test_a_run_is_paid_alike_in_process_and_over_the_gateway(tmp_path):
    python = environment("trl", "trl==1.16.0", "torch==2.13.0", "-e", str(ROOT))
    policy = str(write_model(tmp_path / "policy", head=False))
    with gateway() as url:
        there = json.loads(run(python, CODE, policy, str(tmp_path / "a"), url).splitlines()[-1])
    here = json.loads(run(python, CODE, policy, str(tmp_path / "b"), "scripted").splitlines()[-1])
    assert len(here) == 4 and here == there
    assert all(1 <= reward <= 10 and unscored == 0 for reward, unscored, _ in here)
