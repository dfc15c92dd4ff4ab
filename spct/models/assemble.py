"""From settings to a judge: the one place that knows which class each setting means.

Engines are imported only when they are chosen, so a missing extra is an error of its own and the
client for an endpoint never loads a deep-learning library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from spct.config import Config, EngineConfig, JudgeConfig
from spct.core.format import FORMATS, Format, load_format
from spct.core.generative import GenerativeRM
from spct.core.stopping import Stopping, exact, sign_flip
from spct.core.vote import vote_named
from spct.errors import ConfigError, ExtraMissing
from spct.models.shipped import Shipped, shipped
from spct.types import Engine, SamplingParams, Scorer

EMBEDDED = {"openvino": "openvino_genai", "llamacpp": "xllamacpp"}  # engine -> its package
NO_ADAPTER = "none"  # the setting that asks for the plain default model


def engine_kind(config: EngineConfig) -> str:
    """What `auto` comes to: an endpoint if one is named, else the embedded engine installed."""
    if kind := _kind_found(config):
        return kind
    raise ConfigError(
        "no engine to sample from: set OPENAI_BASE_URL for an endpoint, install the embedded "
        "engine with pip install 'spct[embedded]', or try the fake one with --engine scripted"
    )


def _kind_found(config: EngineConfig) -> str | None:
    if config.kind != "auto":
        return config.kind
    if config.base_url or os.environ.get("OPENAI_BASE_URL"):
        return "openai"
    return next((kind for kind, package in EMBEDDED.items() if find_spec(package)), None)


def with_defaults(config: Config) -> Config:
    """Fill in what is left to us: which engine runs, and the judge that comes with the package.

    That judge runs in an embedded engine, in the formats that it was trained on, while neither
    model nor adapter is named. Its adapter and its wording go together, so both are settled here;
    what a person has set stays. Settling twice changes nothing.
    """
    kind = _kind_found(config.engine)
    if kind is None:
        return config
    engine = config.engine.model_copy(update={"kind": kind})
    judge, ours = config.judge, shipped()
    is_named = engine.model is not None or engine.adapter is not None
    if ours is not None and judge.format in ours.templates and kind in EMBEDDED and not is_named:
        engine = engine.model_copy(update={"adapter": str(ours.adapter)})
        wording = judge.template or str(ours.templates[judge.format])
        limit = judge.max_tokens if "max_tokens" in judge.model_fields_set else ours.max_tokens
        judge = judge.model_copy(update={"template": wording, "max_tokens": limit})
    return config.model_copy(update={"engine": engine, "judge": judge})


def build_engine(config: EngineConfig) -> Engine:
    """The engine that these settings name; nothing is loaded or connected to before it is used."""
    kind = engine_kind(config)
    try:
        return _ENGINES[kind](config)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spct"):
            raise
        extra = {"openvino": "embedded"}.get(kind, kind)
        raise ExtraMissing(error.name, extra) from error


def _scripted(config: EngineConfig) -> Engine:
    from spct.engines.scripted import ScriptedEngine

    return ScriptedEngine()


def _openai(config: EngineConfig) -> Engine:
    from spct.engines.openai import from_env
    from spct.engines.retry import RetryPolicy

    _refuse_adapter(config, "an endpoint")
    return from_env(
        model=config.model,
        base_url=config.base_url,
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

    return OpenVINOEngine(config.model, adapters=_adapters(config))


def _llamacpp(config: EngineConfig) -> Engine:
    from spct.engines.llamacpp import LlamaCppEngine

    return LlamaCppEngine(config.model, adapters=_adapters(config))


def _hf(config: EngineConfig) -> Engine:
    from spct.engines.hf import HFEngine

    if config.model is None:
        raise ConfigError("the hf engine needs --model: a transformers folder with safetensors")
    return HFEngine(config.model, adapters=_adapters(config))


_ENGINES: dict[str, Callable[[EngineConfig], Engine]] = {
    "scripted": _scripted,
    "openai": _openai,
    "openvino": _openvino,
    "llamacpp": _llamacpp,
    "hf": _hf,
}


def _adapters(config: EngineConfig) -> tuple[str, ...]:
    named = config.adapter is not None and config.adapter != NO_ADAPTER
    return (str(config.adapter),) if named else ()


def _refuse_adapter(config: EngineConfig, where: str) -> None:
    if _adapters(config):
        raise ConfigError(
            f"--adapter {config.adapter!r} cannot be applied by {where}; serve the adapter there "
            "and name it with --model"
        )


def build_format(config: JudgeConfig) -> Format:
    """The format by name, with the user's wording where a template file is given."""
    fmt = FORMATS[config.format]
    return fmt if config.template is None else load_format(Path(config.template), fmt)


def _stopping(config: JudgeConfig) -> Stopping | None:
    match config.stop:
        case "never":
            return None
        case "exact":
            return exact
        case "sign_flip":
            return sign_flip(config.stop_error)


def is_untrained(config: EngineConfig) -> bool:
    """Whether these settings come to the plain default model, which was not trained to judge."""
    return config.kind in EMBEDDED and config.model is None and not _adapters(config)


def _ours(config: EngineConfig) -> Shipped | None:
    """The shipped judge, if these settings come to it."""
    ours = shipped()
    is_ours = config.model is None and ours is not None and config.adapter == str(ours.adapter)
    return ours if is_ours else None


def adapter_told(config: EngineConfig) -> str:
    """Which adapter judges under these settings, for people; those of `with_defaults`."""
    if is_untrained(config):
        return "none: the plain default model, which was not trained to judge"
    if ours := _ours(config):
        return f"{ours.name}, the shipped judge"
    return ", ".join(_adapters(config)) or "none"


def _grammar(config: Config, fmt: Format) -> Callable[[int], str | None] | None:
    """The output grammar where it is wanted.

    By default for the plain default model, and for the shipped judge where it is shown a number of
    responses that it was not trained on.
    """
    force, ours = config.engine.force_format, _ours(config.engine)
    is_trained = ours is None and not is_untrained(config.engine)
    if force == "never" or (force == "auto" and is_trained):
        return None
    from spct.engines.grammar import judge_grammar, trained_grammar

    known = ours.trained_on.get(config.judge.format, ()) if ours and force == "auto" else ()

    def grammar(n: int) -> str | None:
        scale, n_scores = fmt.verdict_scale(n), fmt.n_scores(n)
        low, high = int(scale.low), int(scale.high)
        if n in known:
            return None
        if ours is None:
            return judge_grammar(n_scores, low, high, n_responses=n)
        single = config.judge.format == "single"
        subjects = ["The response"] if single else [f"Response {i}" for i in range(1, n + 1)]
        return trained_grammar(n_scores, low, high, subjects=subjects)

    return grammar


def build_judge(
    config: Config, engine: Engine | None = None, meta: Scorer | None = None
) -> GenerativeRM:
    """A judge from settings, completed by `with_defaults`.

    `engine` replaces the configured one and is none of the defaults' business: whoever made it
    from settings has settled them before.
    """
    if engine is None:
        config = with_defaults(config)
    judge, fmt = config.judge, build_format(config.judge)
    if judge.meta is not None and meta is None:
        from spct.models.hf_scorer import load_scorer

        meta = load_scorer(judge.meta)
    return GenerativeRM(
        engine or build_engine(config.engine),
        fmt,
        k=judge.k,
        vote=vote_named(judge.vote, judge.k_meta),
        orders=judge.orders,
        params=SamplingParams(
            temperature=judge.temperature,
            top_p=judge.top_p,
            max_tokens=judge.max_tokens,
            top_logprobs=judge.top_logprobs,
        ),
        seed=judge.seed,
        lenient=judge.lenient,
        stopping=_stopping(judge),
        meta=meta,
        grammar=_grammar(config, fmt),
        concurrency=judge.concurrency,
    )
