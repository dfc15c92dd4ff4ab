"""The `openai` engine: any OpenAI-compatible chat endpoint.

`openai_wire` says what bytes mean, `logprobs` what log probabilities mean and `openai_errors` what
a status means (all pure); `engine` makes completions of them, `replicas` spreads its calls over
several `endpoints`, and `openai_probe` finds out what an endpoint can do.
"""

from spct.engines.openai.endpoints import places
from spct.engines.openai.engine import OpenAIEngine
from spct.engines.openai.env import from_env

__all__ = ["OpenAIEngine", "from_env", "places"]
