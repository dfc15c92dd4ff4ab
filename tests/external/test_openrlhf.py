"""OpenRLHF's own single-turn executor, which asks a remote reward model."""

import json

import pytest

from tests.external.environments import environment, gateway, run

pytestmark = pytest.mark.external
# What its agents import; all of OpenRLHF would bring vLLM, DeepSpeed and flash-attn, for GPUs.
NEEDED = ("torch==2.13.0", "ray", "requests", "aiohttp", "transformers", "datasets", "pylatexenc")

CODE = """
import asyncio, json, sys, types
from openrlhf.utils.agent import SingleTurnAgentExecutor

PROMPT = "<|im_start|>user\\nName a colour.<|im_end|>\\n<|im_start|>assistant\\n"
SAID = "Red is a colour.<|im_end|>"

class Tokens:
    def __call__(self, text, **_):
        import torch
        return {"input_ids": torch.tensor([[ord(c) for c in text]])}
    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens is False
        return "".join(map(chr, ids))

class Engine:
    async def generate(self, ids, params, multi_modal_data=None):
        out = types.SimpleNamespace(token_ids=[ord(c) for c in SAID], finish_reason="stop",
                                    logprobs=None)
        return types.SimpleNamespace(outputs=[out])

params = types.SimpleNamespace(max_tokens=200, logprobs=None)
executor = SingleTurnAgentExecutor(sys.argv[1])
done = asyncio.run(executor.execute(PROMPT, "Red", params, 4000, Tokens(), Engine()))
print(json.dumps({key: done[key][0] for key in ("reward", "scores")}))
"""


def test_its_remote_client_is_paid_by_the_gateway():
    python = environment("openrlhf", *NEEDED, no_deps=("openrlhf==0.11.2",))
    with gateway("--template", "chatml", "--on-unscored", "error") as url:
        found = json.loads(run(python, CODE, f"{url}/get_reward").splitlines()[-1])
    assert 1 <= found["reward"] <= 10 and found["scores"] == found["reward"]
