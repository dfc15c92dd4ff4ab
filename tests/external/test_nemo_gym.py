"""NeMo Gym's own request and response classes, in the order of its simple agent."""

import json
import shutil
import subprocess

import pytest

from tests.external.environments import environment, gateway, run

pytestmark = pytest.mark.external
PYTHON = shutil.which("python3.12")
if PYTHON and subprocess.run([PYTHON, "--version"], capture_output=True).returncode:
    PYTHON = None  # a shim without its version

CODE = """
import json, sys, urllib.request
from nemo_gym.base_resources_server import BaseVerifyRequest, BaseVerifyResponse
from nemo_gym.config_types import AggregateMetrics

def post(path, body):
    request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))

run = {"responses_create_params": {"input": [{"role": "user", "content": "Name a colour."}]}}
post("/seed_session", run)
said = {"type": "output_text", "text": "Red is a colour.", "annotations": []}
message = {"id": "m", "type": "message", "role": "assistant", "status": "completed",
           "content": [said]}
response = {"id": "r", "created_at": 0.0, "model": "policy", "object": "response",
            "output": [message], "parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
request = BaseVerifyRequest.model_validate({**run, "response": response})
verified = BaseVerifyResponse.model_validate(post("/verify", request.model_dump(mode="json")))
metrics = AggregateMetrics.model_validate(
    post("/aggregate_metrics", {"verify_responses": [{"reward": verified.reward}]})
)
print(json.dumps({"reward": verified.reward, "key": metrics.key_metrics}))
"""


@pytest.mark.skipif(PYTHON is None, reason="NeMo Gym needs Python 3.12, and there is none here")
def test_the_simple_agents_flow_ends_with_a_reward():
    python = environment("nemo_gym", "nemo-gym", python=str(PYTHON))
    with gateway("--on-unscored", "0.0") as url:
        found = json.loads(run(python, CODE, url).splitlines()[-1])
    assert 1 <= found["reward"] <= 10 and found["key"] == {"mean/reward": found["reward"]}
