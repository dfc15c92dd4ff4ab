"""The `openai` engine: any OpenAI-compatible chat endpoint.

`wire` says what bytes mean, `logprobs` what its log probabilities mean and `errors` what a status
means (all pure); `engine` makes completions of them, and `probe` finds out what an endpoint can do.
"""

from spct.engines.openai.engine import OpenAIEngine, from_env

__all__ = ["OpenAIEngine", "from_env"]
