"""load_reward_model: one function from a folder, a config file or a word to something that judges.

- a folder that `spct train` wrote: its spct.json names the paradigm
- any other folder with a sequence classifier of one logit: a pointwise scalar model
- a folder with a language model: a generative judge on the transformers engine
- a TOML file with the sections [engine], [judge] and, for scalar models, [scorer]
- the word `default`: the judge that `spct judge` uses without settings
- the word `scripted`: the fake judge
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from spct.config import Config, EngineConfig, JudgeConfig, Settings, read_toml, validated
from spct.core.format import Format, load_format
from spct.core.generative import GenerativeRM
from spct.errors import ConfigError
from spct.models.card import ModelCard, Paradigm, read_card
from spct.models.critique import CritiqueScalarRM
from spct.models.formats import CRITIQUE, PAIR
from spct.models.pairwise import PairwiseScalarRM
from spct.models.scalar import PointwiseScalarRM
from spct.types import Engine, RewardModel, SamplingParams, Scorer


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


def load_reward_model(
    spec: str | Path, *, k: int | None = None, engine: Engine | None = None
) -> RewardModel:
    """Load whatever `spec` names; `k` replaces its number of samples, `engine` its engine."""
    path = Path(spec).expanduser()
    if str(spec) == "default":
        return _generative(Config(), k, engine)
    if str(spec) == "scripted":
        return _generative(Config(engine=EngineConfig(kind="scripted")), k, engine)
    if path.suffix == ".toml":
        return _from_file(path, k, engine)
    if not path.is_dir():
        raise ConfigError(
            f"loading the reward model {str(spec)!r}: no such folder; expected the folder of a "
            "trained model, a .toml file, or the word default or scripted"
        )
    if card := read_card(path):
        return _from_card(path, card, k, engine)
    if _architecture(path).endswith("ForCausalLM"):
        config = EngineConfig(kind="hf", model=str(path))
        return _generative(Config(engine=config), k, engine)
    return PointwiseScalarRM(load_scorer(path))


def load_scorer(
    folder: str | Path, *, device: str = "auto", max_length: int | None = None
) -> Scorer:
    """The scorer in a folder: a head of ours (a meta RM too), or any classifier of one logit."""
    from spct.models.hf_scorer import load_scorer as load

    return load(folder, device=device, max_length=max_length)


def _architecture(folder: Path) -> str:
    from spct.models.head import ADAPTER, read_json

    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        return "Adapter"
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"loading the reward model {str(folder)!r}: it holds no spct.json and no config.json; "
            "expected the folder of a trained model"
        )
    names = read_json(folder / "config.json").get("architectures") or ["an unnamed model"]
    return str(names[0])


def _from_card(folder: Path, card: ModelCard, k: int | None, engine: Engine | None) -> RewardModel:
    scorer = load_scorer(folder / (card.head or "."))
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
            return CritiqueScalarRM(engine, scorer, fmt, k=k or 1, params=params)


def _format(card: ModelCard) -> Format:
    like = PAIR if card.paradigm == "pairwise" else CRITIQUE
    if card.template is None:
        return like
    return Format(card.template.name, card.template.text, like.pattern)


def _critic(folder: Path, card: ModelCard) -> Engine:
    from spct.models.assemble import build_engine

    if card.critic is None:
        raise ConfigError(
            f"loading {str(folder)!r}: its card names no critic; pass an engine that writes the "
            "critiques, or set `critic` in spct.json to the critic's folder"
        )
    critic = (folder / card.critic).resolve()
    return build_engine(EngineConfig(kind="hf", model=str(critic)))


def _from_file(path: Path, k: int | None, engine: Engine | None) -> RewardModel:
    config = validated(RewardConfig, read_toml(path), str(path))
    if "scorer" not in config.model_fields_set:
        return _generative(config, k, engine)
    scorer, template = _scorer(config.scorer, str(path)), config.scorer.template
    match config.scorer.paradigm:
        case "bradley-terry":
            if template is not None:
                raise ConfigError(f"{path}: scorer.template goes with pairwise and cloud only")
            return PointwiseScalarRM(scorer, concurrency=config.judge.concurrency)
        case "pairwise":
            fmt = PAIR if template is None else load_format(Path(template), PAIR)
            return PairwiseScalarRM(scorer, fmt, concurrency=config.judge.concurrency)
        case "cloud":
            fmt = CRITIQUE if template is None else load_format(Path(template), CRITIQUE)
            return _cloud(config, scorer, fmt, k, engine)


def _cloud(
    config: RewardConfig, scorer: Scorer, fmt: Format, k: int | None, engine: Engine | None
) -> CritiqueScalarRM:
    from spct.models.assemble import build_engine

    judge: JudgeConfig = config.judge
    params = SamplingParams(
        temperature=judge.temperature, top_p=judge.top_p, max_tokens=judge.max_tokens
    )
    return CritiqueScalarRM(
        engine or build_engine(config.engine),
        scorer,
        fmt,
        k=k or judge.k,
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
            if getattr(config, key) is not None:
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


def _generative(config: Config, k: int | None, engine: Engine | None) -> GenerativeRM:
    from spct.models.assemble import build_judge

    if k is not None:
        config = config.model_copy(update={"judge": config.judge.model_copy(update={"k": k})})
    return build_judge(config, engine)
