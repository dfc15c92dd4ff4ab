"""load_reward_model: one function from whatever names a reward model to something that judges.

| what is given | what judges |
|---|---|
| `default` | the judge that `spct judge` uses without settings |
| `readout` | the shipped decision model: a probability for each response, no text |
| `scripted` | the fake judge |
| `length`, `first`, `random` | a baseline that knows nothing |
| `http://...` | the model behind a gateway (`spct serve`) |
| a .toml file | [engine] and [judge]; [scorer]: scalar; [decision], [cascade]: by their names |
| a folder that `spct train` wrote | its spct.json names the paradigm |
| a folder with a sequence classifier of one logit | a pointwise scalar model |
| a folder with a language model, or with a LoRA adapter of one | a generative judge |
| `owner/name` | what the hub has under this name, as a folder |

A new paradigm is one file beside this one and one line here. Nobody else asks for a class.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spct.config import Config, EngineConfig, JudgeConfig
from spct.engines.hub import hub_folder, hub_model, is_hub_name
from spct.errors import ConfigError, did_you_mean
from spct.models.base import ScorerModel
from spct.models.baselines import BASELINES, Baseline
from spct.models.cascade import CascadeFit, CascadeRM, CascadeSettings
from spct.models.contents import Contents, contents_of
from spct.models.critique import CritiqueScalarRM
from spct.models.decision import DecisionRM
from spct.models.engines import build_engine, embedded_kind
from spct.models.formats import CRITIQUE, PAIR
from spct.models.judges import build_judge
from spct.models.model_card import ModelCard, Paradigm, read_card
from spct.models.pairwise import PairwiseScalarRM
from spct.models.readers import DecisionSettings, decision_from_card, decision_model
from spct.models.remote import RemoteRM
from spct.models.scalar import PointwiseScalarRM
from spct.models.shipped import READOUT, shipped_readout
from spct.protocols import Engine, RewardModel, Scorer
from spct.settings import Settings, read_toml, validated
from spct.text.format import Format, load_format
from spct.types import SamplingParams

if TYPE_CHECKING:
    from spct.models.hf_scorer import HFScorer

GATEWAY_KEY = "SPCT_GATEWAY_KEY"  # the variable that holds the key of a gateway named by address
_PLAIN = EngineConfig()


class ScorerConfig(Settings):
    """A head on a backbone: in a folder here, or behind a server."""

    paradigm: Paradigm = Field("bradley-terry", description="How its logits become rewards.")
    folder: str | None = Field(None, description="The folder of a scalar model.")
    base_url: str | None = Field(None, description="Of a server, before the route.")
    shape: Literal["vllm-classify", "vllm-pooling", "sglang-classify"] = Field(
        "vllm-classify", description="The server's route and fields."
    )
    model: str | None = Field(None, description="The model's name at the server.")
    tokenizer: str | None = Field(
        None, description="A folder to write conversations with; vLLM can do without."
    )
    max_length: int | None = Field(None, gt=0, description="Tokens of the longest conversation.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Variable that holds the server's key.")
    template: str | None = Field(None, description="A file with the wording of pairs or critiques.")
    device: str = Field("auto", description="Where a folder's model runs: auto, cpu, cuda.")


class RewardConfig(Config):
    """A config file of a reward model; with [scorer] it is a scalar one."""

    scorer: ScorerConfig = ScorerConfig()
    decision: DecisionSettings = DecisionSettings()
    cascade: CascadeSettings | None = None


def load_reward_model(
    spec: str | Path | Config,
    *,
    k: int | None = None,
    seed: int | None = None,
    engine: Engine | None = None,
    environ: Mapping[str, str] = os.environ,
) -> RewardModel:
    """Load whatever `spec` names.

    `k` and `seed` replace those of a model that has them, `engine` its engine.
    """
    model = _loaded(spec, engine, environ)
    wished = {"k": k, "seed": seed}
    known = model.traits.settings  # a scalar model has no k: more samples would repeat its logits
    return model.with_(**{n: v for n, v in wished.items() if v is not None and n in known})


def scorer_of(model: RewardModel, where: str) -> Scorer:
    """The head of a scalar model, so that it can be checked."""
    if isinstance(model, ScorerModel | CritiqueScalarRM):
        return model.scorer
    raise ConfigError(f"checking {where!r}: it is not a scalar model, so it has no head to check")


def local_scorer(scorer: Scorer) -> HFScorer | None:
    """The scorer, if it is a model in memory that can be looked into."""
    from spct.models.hf_scorer import HFScorer

    return scorer if isinstance(scorer, HFScorer) else None


def _loaded(
    spec: str | Path | Config, engine: Engine | None, environ: Mapping[str, str]
) -> RewardModel:
    if isinstance(spec, Config):
        return _from_config(spec, "settings", engine)
    name = str(spec)
    if name in BASELINES:
        return Baseline(name)
    if name == "default":
        return build_judge(Config(), engine)
    if name == READOUT:
        return load_readout()
    if name == "scripted":
        return build_judge(Config(engine=EngineConfig(kind="scripted")), engine)
    if name.startswith(("http://", "https://")):
        return RemoteRM(name, api_key=environ.get(GATEWAY_KEY, "EMPTY"))
    path = Path(spec).expanduser()
    if path.suffix == ".toml":
        return _from_config(validated(RewardConfig, read_toml(path), name), name, engine)
    if path.is_dir():
        return _from_folder(path, engine)
    if is_hub_name(name):
        found = hub_model(name)
        if found.is_dir():
            return _from_folder(found, engine)
        return build_judge(Config(engine=EngineConfig(model=str(found))), engine)
    raise _unknown(name)


def load_readout(config: EngineConfig = _PLAIN) -> DecisionRM:
    """The shipped readout in this process: on the embedded engine that is set or installed."""
    folder = shipped_readout()
    card = None if folder is None else read_card(folder)
    if folder is None or card is None:
        raise ConfigError(
            "loading the readout: this package holds none; train one with "
            "python -m recipes.smollm2_135m.readout and name its folder"
        )
    kind = embedded_kind(config)
    return decision_from_card(folder, card, EngineConfig(kind=kind, adapter=str(folder)))


def _unknown(name: str) -> ConfigError:
    words = [*BASELINES, "default", READOUT, "scripted"]
    meant = did_you_mean(name, words)
    found = "a file, not a folder" if Path(name).is_file() else "no such folder"
    return ConfigError(
        f"loading the reward model {name!r}: {found}; expected the folder of a trained "
        f"model, a .toml file, a gateway's address, owner/name on the hub, or one of "
        f"{', '.join(words)}{meant}"
    )


def _from_folder(folder: Path, engine: Engine | None) -> RewardModel:
    if card := read_card(folder):
        return _from_card(folder, card, engine)
    contents = contents_of(folder)
    if contents.kind == "head":
        return PointwiseScalarRM(load_scorer(folder))
    return build_judge(Config(engine=_engine_config(folder, contents)), engine)


def _engine_config(folder: Path, contents: Contents) -> EngineConfig:
    """A language model in a folder, or an adapter on the one that it names."""
    if contents.base is None:
        return EngineConfig(kind="hf", model=str(folder))
    base = contents.base if Path(contents.base).is_dir() else str(hub_folder(contents.base))
    return EngineConfig(kind="hf", model=base, adapter=str(folder))


def load_scorer(
    folder: str | Path, *, device: str = "auto", max_length: int | None = None
) -> Scorer:
    """The scorer in a folder: a head of ours (a meta RM too), or any classifier of one logit."""
    from spct.models.hf_scorer import load_scorer as load

    return load(folder, device=device, max_length=max_length)


def _from_card(folder: Path, card: ModelCard, engine: Engine | None) -> RewardModel:
    if card.paradigm == "decision":
        return decision_from_card(folder, card, _engine_config(folder, contents_of(folder)))
    scorer = load_scorer(card.inside(folder, "head"))
    fmt = _format(card)
    match card.paradigm:
        case "bradley-terry":
            return PointwiseScalarRM(scorer)
        case "pairwise":
            return PairwiseScalarRM(scorer, fmt)
        case "cloud":
            params = SamplingParams(
                temperature=card.temperature, max_tokens=card.max_critique_tokens
            )
            engine = engine or _critic(folder, card)
            return CritiqueScalarRM(engine, scorer, fmt, params=params)
        case "decision":
            raise AssertionError("returned above")


def _format(card: ModelCard) -> Format:
    like = PAIR if card.paradigm == "pairwise" else CRITIQUE
    if card.template is None:
        return like
    return Format(card.template.name, card.template.text, like.pattern)


def _critic(folder: Path, card: ModelCard) -> Engine:
    if card.critic is None:
        raise ConfigError(
            f"loading {str(folder)!r}: its card names no critic; pass an engine that writes the "
            "critiques, or set `critic` in spct.json to the critic's folder"
        )
    return build_engine(EngineConfig(kind="hf", model=str(card.inside(folder, "critic"))))


def _from_config(config: Config, where: str, engine: Engine | None) -> RewardModel:
    if isinstance(config, RewardConfig) and config.cascade is not None:
        named = config.cascade
        fit = CascadeFit(named.threshold, named.slope_first, named.slope_second, named.slopes_both)
        return CascadeRM(load_reward_model(named.first), load_reward_model(named.second), fit)
    if isinstance(config, RewardConfig) and "decision" in config.model_fields_set:
        return decision_model(config.decision, config.engine, engine)
    if not isinstance(config, RewardConfig) or "scorer" not in config.model_fields_set:
        return build_judge(config, engine)
    scorer, template = _scorer(config.scorer, where), config.scorer.template
    match config.scorer.paradigm:
        case "bradley-terry":
            if template is not None:
                raise ConfigError(f"{where}: scorer.template goes with pairwise and cloud only")
            return PointwiseScalarRM(scorer, concurrency=config.judge.concurrency)
        case "pairwise":
            fmt = PAIR if template is None else load_format(Path(template), PAIR)
            return PairwiseScalarRM(scorer, fmt, concurrency=config.judge.concurrency)
        case "cloud":
            fmt = CRITIQUE if template is None else load_format(Path(template), CRITIQUE)
            return _cloud(config, scorer, fmt, engine)
        case "decision":
            raise ConfigError(f"{where}: a decision model is a [decision] section, not a scorer")


def _cloud(
    config: RewardConfig, scorer: Scorer, fmt: Format, engine: Engine | None
) -> CritiqueScalarRM:
    judge: JudgeConfig = config.judge
    params = SamplingParams(
        temperature=judge.temperature, top_p=judge.top_p, max_tokens=judge.max_tokens
    )
    return CritiqueScalarRM(
        engine or build_engine(config.engine),
        scorer,
        fmt,
        k=judge.k,
        params=params,
        seed=judge.seed,
        concurrency=judge.concurrency,
    )


def _scorer(config: ScorerConfig, where: str) -> Scorer:
    if (config.folder is None) == (config.base_url is None):
        raise ConfigError(
            f"{where}: [scorer] needs either folder (a model here) or base_url (a server); got "
            f"folder = {config.folder!r}, base_url = {config.base_url!r}"
        )
    if config.folder is not None:
        for key in ("tokenizer", "model"):
            if key in config.model_fields_set:
                raise ConfigError(f"{where}: [scorer] {key} goes with base_url, not with folder")
        return load_scorer(config.folder, device=config.device, max_length=config.max_length)
    if config.model is None:
        raise ConfigError(f"{where}: [scorer] base_url needs model, its name at the server")
    from spct.models.encode import Encoder, load_tokenizer
    from spct.models.http_scorer import HTTPScorer

    encoder = None
    if config.tokenizer is not None:
        tokenizer = load_tokenizer(config.tokenizer)
        length = config.max_length or min(int(tokenizer.model_max_length), 2**31 - 1)
        encoder = Encoder(tokenizer, length)
    return HTTPScorer(
        base_url=str(config.base_url),
        model=config.model,
        shape=config.shape,
        encoder=encoder,
        api_key=os.environ.get(config.api_key_env),
    )
