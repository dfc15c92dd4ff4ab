"""LiteLLM's rerankers: each provider that speaks to a server of one's own."""

import json

import pytest

from tests.external.environments import environment, gateway, run

pytestmark = pytest.mark.external

CODE = """
import json, sys
import litellm
litellm.suppress_debug_info = True
reply = litellm.rerank(
    model=sys.argv[2] + "/scripted", query="Name a colour.", api_base=sys.argv[1], api_key="x",
    documents=["The colour red is a colour to name.", "Four."], top_n=2,
)
print(json.dumps([[one["index"], one["relevance_score"]] for one in reply.results]))
"""


@pytest.mark.parametrize("provider", ["hosted_vllm", "infinity", "cohere", "huggingface"])
def test_every_reranker_of_litellm_reads_the_reply(provider):
    python = environment("litellm", "litellm")
    with gateway("--on-unscored", "error") as url:
        ranked = json.loads(run(python, CODE, url, provider, LITELLM_LOCAL_MODEL_COST_MAP="True"))
    assert ranked[0][0] == 0 and ranked[0][1] > ranked[1][1]
