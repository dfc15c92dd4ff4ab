"""verl's own config code takes our launch files, and its own loader our reward."""

import json

import pytest

from spct.integrations import outcome
from tests.external.environments import ROOT, environment, run
from tests.external.test_verl import NEEDED

# making verl's environment takes minutes
pytestmark = [pytest.mark.external, pytest.mark.timeout(1800)]

CODE = """
import json, sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.config import validate_config

folder, reward = sys.argv[1:]
found = {}
for name in ("one_node", "four_nodes"):
    with initialize_config_dir(config_dir=folder, version_base=None):
        config = compose(name, overrides=[
            "data.train_files=rl.parquet", "data.val_files=rl.parquet",
            "actor_rollout_ref.model.path=/model",
            f"reward.custom_reward_function.path={reward}"])
    OmegaConf.resolve(config)
    validate_config(config, use_reference_policy=True, use_critic=False)
    truth = json.dumps({"gold": [0, 1], "order": [1, 0], "pattern": "pointwise"})
    score = get_custom_reward_fn(config)("s", "Scores: \\\\boxed{9, 2}", truth, None)
    found[name] = [config.trainer.nnodes, config.actor_rollout_ref.rollout.n, score]
print(json.dumps(found))
"""


def test_verl_composes_and_validates_both_launches_and_loads_the_reward():
    python = environment("verl", *NEEDED, no_deps=("verl==0.9.1",))
    printed = run(python, CODE, str(ROOT / "recipes" / "verl"), outcome.__file__)
    found = json.loads(printed.splitlines()[-1])
    score = {"score": 1.0, "correct": 1.0, "unscored": 0.0}
    assert found == {"one_node": [1, 4, score], "four_nodes": [4, 4, score]}
