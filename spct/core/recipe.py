"""The settings of a frozen reward model: their names, a changed copy, and their identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any, TypeVar

from spct.errors import ConfigError
from spct.types import JSON, SamplingParams

M = TypeVar("M")
DEFAULT_PARAMS = SamplingParams()
_PARAMS = {field.name for field in fields(SamplingParams)}


def params_identity(params: SamplingParams) -> dict[str, JSON]:
    """The sampling parameters that a reply depends on; seeds and grammar have their own names."""
    return {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_tokens,
        "top_logprobs": params.top_logprobs,
    }


def settings_of(model: Any) -> frozenset[str]:
    """The names that `changed` takes for a model: its fields and those of its `params`."""
    own = {field.name for field in fields(model) if not field.name.startswith("_")}
    return frozenset(own | (_PARAMS if "params" in own else set()))


def changed(model: M, changes: Mapping[str, Any]) -> M:
    """A copy of a frozen model with other settings, checked as a new one is."""
    if unknown := sorted(changes.keys() - settings_of(model)):
        raise ConfigError(
            f"{type(model).__name__} has no setting {', '.join(unknown)}; it has "
            f"{', '.join(sorted(settings_of(model)))}"
        )
    # `temperature` and its like may be named directly: callers need not know of `params`
    own = {name: value for name, value in changes.items() if name not in _PARAMS}
    if sampling := {name: value for name, value in changes.items() if name in _PARAMS}:
        params: SamplingParams = own.get("params") or vars(model)["params"]
        own["params"] = replace(params, **sampling)
    copied: M = replace(model, **own)  # type: ignore[type-var]
    return copied


def grammar_digest(grammar: Callable[[int], str | None] | None) -> str | None:
    """Names what a grammar forces; None where nothing is forced."""
    if grammar is None:
        return None
    texts = [grammar(n) or "" for n in (1, 2, 9)]  # it may force some numbers of responses only
    return sha256("\n".join(texts).encode()).hexdigest()[:12]
