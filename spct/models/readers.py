"""From settings or a card to a decision model: which reader, which wording, which temperature.

`reader` auto is the endpoint's own wire where one is named, else the model in this process: logits
at one position by OpenVINO or transformers, or the first token of the llama.cpp engine's reply.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spct.config import EngineConfig
from spct.engines.readouts.asking import Wording, load_wording
from spct.engines.readouts.decision import MIN_MASS, Kind, Question, Reader
from spct.errors import ConfigError, SpctError
from spct.models.decided_criteria import STATE, DecidedCriteriaRM
from spct.models.decision import ONE_STATE, Asking, DecisionRM, asking
from spct.models.engines import adapters_of, build_engine, engine_kind
from spct.models.model_card import ModelCard
from spct.protocols import Engine
from spct.settings import Settings
from spct.text.format import Format
from spct.types import Unscored

_LLAMACPP_TOP = 1000  # alternatives of one token: labels that are rarer do not matter
_TRY_S = 30.0
_TRIED = Question("true", "yes_no", "Is that right?")

if TYPE_CHECKING:
    from spct.engines.readouts.hf import HFBackend


How = Literal["auto", "tokens", "systemone", "decisions", "logits"]


class DecisionSettings(Settings):
    """`[decision]` of a model's TOML file."""

    ask: Literal["score", "yes_no", "choice", "yes_no_each", "criteria"] = Field(
        "score",
        description="What is asked: levels, or yes or no, of each response; the best of them; or "
        "each of an example's criteria, of each response.",
    )
    reader: How = Field(
        "auto",
        description="tokens: one token with top_logprobs; systemone, decisions: the endpoint's "
        "own route; logits: a model in this process.",
    )
    questions: str | None = Field(None, description="A TOML file with other questions.")
    state: str | None = Field(None, description="A template that shows query and responses.")
    wording: str | None = Field(None, description="A template that puts a question.")
    orders: int = Field(2, ge=1, description="Orders in which a choice shows the responses.")
    rotations: int = Field(1, ge=1, description="Orders of the options of one question, averaged.")
    min_mass: float = Field(
        MIN_MASS, ge=0, le=1, description="Least probability on the options; below: unscored."
    )
    temperature: float = Field(1.0, gt=0, description="Of the log odds; above 1 is less sure.")


def decision_model(
    settings: DecisionSettings, config: EngineConfig, engine: Engine | None = None
) -> DecisionRM | DecidedCriteriaRM:
    """The decision model that these settings name."""

    def path(name: str | None) -> Path | None:
        return None if name is None else Path(name)

    reader = build_reader(settings, config, load_wording(path(settings.wording)), engine)
    if settings.ask == "criteria":
        if settings.questions is not None:
            raise ConfigError(
                f"[decision] questions = {settings.questions!r}: with ask = 'criteria' the "
                "questions are the criteria"
            )
        shown = path(settings.state)
        state = STATE if shown is None else asking("yes_no", None, shown).state
        by_kind: dict[Kind, float] = {"yes_no": settings.temperature, "score": settings.temperature}
        return DecidedCriteriaRM(reader, state, temperatures=by_kind)
    asked = asking(settings.ask, path(settings.questions), path(settings.state))
    temperatures = {asked.question.kind: settings.temperature}
    return DecisionRM(reader, asked, temperatures=temperatures, n_orders=settings.orders)


def build_reader(
    settings: DecisionSettings,
    config: EngineConfig,
    wording: Wording,
    engine: Engine | None = None,
    kind: str | None = None,
) -> Reader:
    """The reader; an engine that is given, of no known `kind`, is read by its tokens."""
    from spct.engines.readouts.tokens import TOP, TokenReader

    kind = kind or ("given" if engine is not None else engine_kind(config))
    how = settings.reader
    if how == "auto":
        how = "logits" if kind in ("openvino", "hf") else "tokens"
    if how == "logits":
        return _local(kind, config, settings, wording)
    source = engine or build_engine(config)
    if how == "tokens":
        is_llamacpp = kind == "llamacpp"  # its slots share no prefix
        return TokenReader(
            source,
            wording,
            n_rotations=settings.rotations,
            min_mass=settings.min_mass,
            n_top=_LLAMACPP_TOP if is_llamacpp else TOP,
            in_turn=is_llamacpp,
        )
    from spct.engines.openai.engine import OpenAIEngine
    from spct.engines.readouts.endpoint import WireReader

    if not isinstance(source, OpenAIEngine):
        raise ConfigError(
            f"reading decisions by {how!r} needs an endpoint: set base_url or OPENAI_BASE_URL; got"
            f" the engine {kind!r}"
        )
    return WireReader(source, how, n_rotations=settings.rotations)


def _local(kind: str, config: EngineConfig, settings: DecisionSettings, wording: Wording) -> Reader:
    from spct.engines.readouts.local import Backend, LocalReader

    backend: Backend
    if kind == "openvino":
        from spct.engines.readouts.openvino import OpenVINOBackend

        backend = OpenVINOBackend(config.model, adapters=adapters_of(config))
    elif kind == "hf" and config.model is not None:
        backend = _hf_backend(config.model, adapters_of(config))
    else:
        raise ConfigError(
            f"reading logits needs a model in this process: the openvino engine, or hf with"
            f" --model FOLDER; got {kind!r}"
        )
    return LocalReader(backend, wording, n_rotations=settings.rotations, min_mass=settings.min_mass)


def _hf_backend(model: str, adapters: tuple[str, ...]) -> HFBackend:
    import torch

    from spct.engines.hf_load import base_of, load_merged, load_tokenizer
    from spct.engines.readouts.hf import HFBackend
    from spct.engines.weights import content_key

    loaded = load_merged(model, torch.float32, adapters)
    key = "+".join(content_key(Path(one)) for one in (base_of(model), *adapters))
    return HFBackend(loaded, load_tokenizer(base_of(model)), f"{Path(model).name}@{key}")


async def try_readers(config: EngineConfig, engine: Engine) -> dict[str, str]:
    """What the readers of decisions can do with an engine: the options' mass, or why not.

    One question each; the engine stays open. In this process `logits` needs no trial.
    """
    kind = engine_kind(config)
    if kind in ("openvino", "hf"):
        return {"logits": "yes, in this process"}
    wires: tuple[How, ...] = ("systemone", "decisions") if kind == "openai" else ()
    found: dict[str, str] = {}
    for how in (*wires, "tokens"):
        settings = DecisionSettings(reader=how, min_mass=0.0)
        reader = build_reader(settings, config, load_wording(), engine, kind)
        try:
            async with asyncio.timeout(_TRY_S):
                (answer,) = (await reader.answer("Two and two are four.", [_TRIED])).answers
        except (SpctError, TimeoutError) as error:
            found[how] = f"no: {str(error) or 'no reply in time'}"
            continue
        if isinstance(answer, Unscored):
            found[how] = f"no: {answer.detail or answer.reason}"
        elif answer.option_mass is None:
            found[how] = "yes"
        else:
            found[how] = f"yes, {answer.option_mass:.3f} of the probability on the options"
            if answer.option_mass < MIN_MASS:
                found[how] += f": below min_mass ({MIN_MASS:g}), so answers are unscored"
    return found


def decision_from_card(folder: Path, card: ModelCard, config: EngineConfig) -> DecisionRM:
    """The model that `spct train decision` wrote: its base, adapter, wording and temperature."""
    if card.template is None or card.wording is None or card.question is None:
        raise ConfigError(f"loading {str(folder)!r}: its card lacks the wording it was trained on")
    shown = Format(card.template.name, card.template.text, ONE_STATE.pattern)
    question = Question("yes_no", "yes_no", card.question)
    settings = DecisionSettings(ask="yes_no", min_mass=0.0, temperature=card.temperature)
    reader = build_reader(settings, config, Wording(card.wording))
    asked = Asking("yes_no", question, shown)
    return DecisionRM(reader, asked, temperatures={"yes_no": card.temperature})
