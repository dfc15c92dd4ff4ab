"""An engine for the endpoint that the environment names, in the variables of OpenAI's SDK."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from spct.engines.openai.endpoints import Endpoint
from spct.engines.openai.engine import OpenAIEngine
from spct.errors import ConfigError

DEFAULT_BASE_URL = "https://api.openai.com/v1"


def from_env(
    *,
    model: str | None = None,
    base_url: str | Sequence[Endpoint] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    environ: Mapping[str, str] = os.environ,
    **settings: Any,
) -> OpenAIEngine:
    """An engine from OPENAI_BASE_URL and OPENAI_API_KEY; arguments win over the environment.

    With a key alone the base URL is OpenAI's own, as in its SDK.
    """
    key = environ.get(api_key_env, "").strip() or None
    base_url = base_url or environ.get("OPENAI_BASE_URL") or (DEFAULT_BASE_URL if key else None)
    if base_url is None:
        raise ConfigError(
            f"looking for an endpoint: neither OPENAI_BASE_URL nor {api_key_env} is set; expected "
            "at least one; set OPENAI_BASE_URL, for example to http://127.0.0.1:8000/v1"
        )
    return OpenAIEngine(base_url=base_url, model=model, api_key=key, **settings)
