"""From settings to an engine: the one place that knows which class each kind means.

Engines are imported only when they are chosen, so a missing extra is an error of its own and the
client for an endpoint never loads a deep-learning library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from spct.config import EngineConfig
from spct.errors import ConfigError, ExtraMissing
from spct.protocols import Engine

if TYPE_CHECKING:
    from spct.engines.openai import OpenAIEngine

EMBEDDED = {"openvino": "openvino_genai", "llamacpp": "xllamacpp"}  # engine -> its package
NO_ADAPTER = "none"  # the setting that asks for the plain default model


def engine_kind(config: EngineConfig) -> str:
    """What `auto` resolves to: an endpoint if one is named, else the embedded engine installed."""
    if kind := kind_found(config):
        return kind
    raise ConfigError(
        "no engine to sample from: set OPENAI_BASE_URL for an endpoint, install the embedded "
        "engine with pip install 'spct[embedded]', or try the fake one with --engine scripted"
    )


def kind_found(config: EngineConfig) -> str | None:
    """The same; None where no engine is configured or installed."""
    if config.kind != "auto":
        return config.kind
    # The SDK's own variable, so that what works with its clients works here without a setting.
    if config.base_url or config.endpoints or os.environ.get("OPENAI_BASE_URL"):
        return "openai"
    return next((kind for kind, package in EMBEDDED.items() if find_spec(package)), None)


def embedded_kind(config: EngineConfig) -> Literal["openvino", "llamacpp"]:
    """The embedded engine that is set, or else the first one installed."""
    found = [kind for kind, package in EMBEDDED.items() if find_spec(package)]
    kind = config.kind if config.kind in EMBEDDED else next(iter(found), None)
    if kind is None:
        raise ConfigError("no embedded engine is installed: pip install 'spct[embedded]'")
    return "openvino" if kind == "openvino" else "llamacpp"


def build_engine(config: EngineConfig) -> Engine:
    """The engine that these settings name; nothing is loaded or connected to before it is used."""
    kind = engine_kind(config)
    try:
        return _ENGINES[kind](config)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spct"):
            raise  # a module of ours is missing: a bug, which no extra would cure
        extra = {"openvino": "embedded"}.get(kind, kind)
        raise ExtraMissing(error.name, extra) from error


def endpoint_engine(config: EngineConfig) -> tuple[EngineConfig, OpenAIEngine]:
    """The settings and the engine of a batch: a vendor's endpoint, which is not asked anything."""
    if config.model is None or config.kind not in ("auto", "openai"):
        raise ConfigError("a batch goes to a vendor's endpoint: name its model with --model")
    is_named = config.base_url or config.endpoints or os.environ.get("OPENAI_BASE_URL")
    named = {} if is_named else {"base_url": ("https://api.openai.com/v1",)}
    whole = config.model_copy(update={"kind": "openai", **named})
    return whole, _openai(whole)


def _scripted(config: EngineConfig) -> Engine:
    from spct.engines.scripted import ScriptedEngine

    return ScriptedEngine()


def _openai(config: EngineConfig) -> OpenAIEngine:
    from spct.engines.openai import from_env, places
    from spct.engines.retry import RetryPolicy

    _refuse_adapter(config, "an endpoint")
    return from_env(
        model=config.model,
        base_url=places(config.base_url, config.endpoints),
        api_key_env=config.api_key_env,
        max_concurrency=config.max_concurrency,
        rpm=config.rpm,
        tpm=config.tpm,
        attempt_timeout_s=config.timeout,
        deadline_s=config.deadline,
        grammar_field=config.grammar_field,
        extra_body=config.extra_body,
        retry=RetryPolicy(max_retries=config.max_retries),
        retry_budget=config.retry_budget,
    )


def _openvino(config: EngineConfig) -> Engine:
    from spct.engines.openvino import OpenVINOEngine

    return OpenVINOEngine(config.model, adapters=adapters_of(config))


def _llamacpp(config: EngineConfig) -> Engine:
    from spct.engines.llamacpp import LlamaCppEngine

    return LlamaCppEngine(config.model, adapters=adapters_of(config))


def _hf(config: EngineConfig) -> Engine:
    from spct.engines.hf import HFEngine

    if config.model is None:
        raise ConfigError("the hf engine needs --model: a transformers folder with safetensors")
    return HFEngine(config.model, adapters=adapters_of(config))


_ENGINES: dict[str, Callable[[EngineConfig], Engine]] = {
    "scripted": _scripted,
    "openai": _openai,
    "openvino": _openvino,
    "llamacpp": _llamacpp,
    "hf": _hf,
}


def adapters_of(config: EngineConfig) -> tuple[str, ...]:
    """The adapters that these settings name."""
    named = config.adapter is not None and config.adapter != NO_ADAPTER
    return (str(config.adapter),) if named else ()


def _refuse_adapter(config: EngineConfig, where: str) -> None:
    if adapters_of(config):
        raise ConfigError(
            f"--adapter {config.adapter!r} cannot be applied by {where}; serve the adapter there "
            "and name it with --model"
        )
