"""The OpenAI SDK, as people point it at vLLM and SGLang."""

import json

import pytest

from tests.external.environments import environment, gateway, run

pytestmark = pytest.mark.external

CODE = """
import json, sys
from openai import NotFoundError, OpenAI
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="x")
names = [model.id for model in client.models.list()]
text = "<|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant\\nhello<|im_end|>"
reply = client.embeddings.create(model=names[0], input=[text, text], encoding_format="float")
try:
    client.embeddings.create(model="other", input=text)
except NotFoundError as error:
    said = str(error)
print(json.dumps({"names": names, "rewards": [one.embedding for one in reply.data], "said": said}))
"""


def test_models_are_listed_rewards_are_embeddings_and_errors_are_shown():
    python = environment("openai", "openai>=2.0")
    with gateway("--on-unscored", "error", "--template", "chatml") as url:
        found = json.loads(run(python, CODE, url))
    assert found["names"] == ["scripted"] and "serves 'scripted'" in found["said"]
    assert len(found["rewards"]) == 2 and found["rewards"][0] == found["rewards"][1]
    assert len(found["rewards"][0]) == 1 and 1 <= found["rewards"][0][0] <= 10
