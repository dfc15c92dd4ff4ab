"""verl's own loader and reward managers around our functions, in process and over a gateway."""

import json

import pytest

from tests.external.environments import ROOT, environment, gateway, run

pytestmark = pytest.mark.external
# What its loader and managers import; all of verl would bring vLLM, for GPUs.
NEEDED = ("torch==2.13.0", "tensordict", "omegaconf", "hydra-core", "ray", "transformers",
          "datasets", "codetiming", "pandas", "pylatexenc", "torchdata", "aiohttp", "orjson",
          "-e", str(ROOT))  # fmt: skip

CODE = """
import asyncio, inspect, json, os, sys
import numpy as np, torch
import spct.integrations.verl as ours
from omegaconf import OmegaConf
from tensordict import TensorDict
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.reward import get_custom_reward_fn

words = {"<pad>": 0, "Red": 1, "is": 2, "a": 3, "colour.": 4}
inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")
kwargs = {"on_unscored": -1.0, **json.loads(sys.argv[3])}
config = OmegaConf.create({"reward": {"custom_reward_function": {
    "path": ours.__file__, "name": sys.argv[2], "reward_kwargs": kwargs}},
    "reward_model": {}, "data": {"reward_fn_key": "data_source"}})
score = get_custom_reward_fn(config)
Manager = get_reward_manager_cls(sys.argv[1])
Manager._class_initialized = False
batch = TensorDict({"responses": torch.tensor([[1, 2, 3, 4]]), "prompts": torch.tensor([[1]]),
                    "attention_mask": torch.ones(1, 5, dtype=torch.long)}, batch_size=[1])
extra = {"question": "Name a colour.", "index": 0}
non_tensor = {"data_source": np.array(["x"], dtype=object),
              "reward_model": np.array([{"ground_truth": "Red"}], dtype=object),
              "extra_info": np.array([extra], dtype=object),
              "__num_turns__": np.array([2], dtype=object)}
data = DataProto(batch=batch, non_tensor_batch=non_tensor)

async def twice():
    manager = Manager(config, tokenizer, score)
    first = await manager.run_single(data)
    return first, await manager.run_single(data)
print(json.dumps([one for one in asyncio.run(twice())], default=float))
"""


@pytest.mark.parametrize("manager", ["naive", "rate_limited"])
@pytest.mark.parametrize("where", ["gateway", "process"])
def test_its_reward_managers_pay_what_the_judge_said(manager, where):
    python = environment("verl", *NEEDED, no_deps=("verl==0.9.1",))
    with gateway("--on-unscored", "error") as url:
        model = url if where == "gateway" else "scripted"
        said = run(python, CODE, manager, "compute_score", "{}", SPCT_REWARD_MODEL=model)
    first, second = json.loads(said.splitlines()[-1])
    assert 1 <= first["reward_score"] <= 10 and first == second
    assert first["reward_extra_info"]["unscored"] == 0.0
