"""An Inspect AI evaluation whose scorer asks a gateway, and one whose gateway is not there."""

import json

import pytest

from tests.external.environments import ROOT, environment, gateway, run

pytestmark = pytest.mark.external

CODE = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.solver import solver
from spct.integrations.inspect_scorer import reward

@solver
def recite():
    async def solve(state, generate):
        state.output = ModelOutput.from_content("mockllm", "Red is a colour.")
        state.messages.append(state.output.message)
        return state
    return solve

task = Task(dataset=[Sample(input=f"Name a colour ({i}).") for i in range(2)], solver=recite(),
            scorer=reward(sys.argv[1]))
(log,) = eval(task, model="mockllm/model", log_dir=sys.argv[2], display="none")
scores = [sample.scores["reward"] for sample in log.samples]
print(json.dumps({"status": log.status, "unscored": log.results.scores[0].unscored_samples,
                  "values": [score.value for score in scores],
                  "said": scores[0].explanation}))
"""


def test_an_evaluation_is_scored_by_a_gateway_and_says_where_there_is_none(tmp_path):
    python = environment("inspect", "inspect-ai", "-e", str(ROOT))
    with gateway() as url:
        found = json.loads(run(python, CODE, url, str(tmp_path)).splitlines()[-1])
    assert found["status"] == "success" and found["unscored"] == 0
    assert all(1 <= value <= 10 for value in found["values"])
    lost = json.loads(run(python, CODE, "http://127.0.0.1:9", str(tmp_path)).splitlines()[-1])
    assert lost["unscored"] == 2 and "cannot reach the gateway" in lost["said"]
