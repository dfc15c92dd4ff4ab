"""From settings to a generative judge, and the defaults that make one without any settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from spct.config import Config, EngineConfig, JudgeConfig
from spct.core.generative import GenerativeRM
from spct.errors import ConfigError
from spct.models.criteria import build_source
from spct.models.engines import EMBEDDED, adapters_of, build_engine, kind_found
from spct.models.shipped import Shipped, shipped
from spct.protocols import Engine, Scorer
from spct.text.format import FORMATS, Format, load_format
from spct.types import SamplingParams
from spct.votes.calibration import read_meta_fit
from spct.votes.criteria import AGGREGATES
from spct.votes.predictive import predictive, read_fit
from spct.votes.stopping import Stopping, exact, sign_flip
from spct.votes.vote import Vote, vote_named


def with_defaults(config: Config) -> Config:
    """Fill in what the user left open: which engine runs, and the judge that is shipped.

    That judge runs in an embedded engine, in the formats that it was trained on, while neither
    model nor adapter is named. Its adapter and its wording go together, so both are set here;
    what a person has set stays. A second call changes nothing.
    """
    kind = kind_found(config.engine)
    if kind is None:
        return config
    engine = config.engine.model_copy(update={"kind": kind})
    is_named = engine.model is not None or engine.adapter is not None
    judge, ours = config.judge, shipped() if kind in EMBEDDED and not is_named else None
    if ours is not None and judge.format in ours.templates:
        engine = engine.model_copy(update={"adapter": str(ours.adapter)})
        wording = judge.template or str(ours.templates[judge.format])
        # A limit that was typed stays, also where it equals the default.
        limit = judge.max_tokens if "max_tokens" in judge.model_fields_set else ours.max_tokens
        judge = judge.model_copy(update={"template": wording, "max_tokens": limit})
    if judge.format == "met_one" and "k" not in judge.model_fields_set:
        judge = judge.model_copy(update={"k": 1})  # more samples would repeat its probabilities
    return config.model_copy(update={"engine": engine, "judge": judge})


def build_format(config: JudgeConfig) -> Format:
    """The format by name, with the user's wording where a template file is given."""
    fmt = FORMATS[config.format]
    if fmt.pattern == "met" and not fmt.asks_one:
        fmt = replace(fmt, chunk=config.chunk)
    return fmt if config.template is None else load_format(Path(config.template), fmt)


def build_vote(config: JudgeConfig) -> Vote:
    """The vote by name, calibrated by a meta file; of checked criteria how they are added up.

    A meta RM that told nothing on dev leaves the plain vote, and a warning says so.
    """
    if FORMATS[config.format].pattern == "met":
        if config.vote != "mean":
            raise ConfigError(
                f"--vote {config.vote} is for judgements that score; checked criteria are added "
                "up: --aggregate weighted or overall"
            )
        return AGGREGATES[config.aggregate]
    if config.meta_file is None:
        return vote_named(config.vote, config.k_meta)
    fit = read_meta_fit(Path(config.meta_file))
    vote = vote_named(config.vote, config.k_meta, fit.calibration)
    if vote.needs != "meta":
        warnings.warn(
            f"the meta RM's AUC within an example is {fit.auc_within:.2f} on dev, not above a half "
            f"({config.meta_file}): the vote is {vote.name!r}, not guided",
            stacklevel=2,
        )
    return vote


def check_meta(config: JudgeConfig, meta: Scorer) -> None:
    """Raise `ConfigError` for a meta file of another meta RM."""
    if config.meta_file is not None:
        measured = read_meta_fit(Path(config.meta_file)).meta
        if measured != meta.fingerprint:
            raise ConfigError(
                f"the meta file {config.meta_file!r} was measured for the meta RM {measured}, this "
                f"one is {meta.fingerprint}; measure it again (spct fit-meta), or leave it out"
            )


def _stopping(config: JudgeConfig) -> Stopping | None:
    if config.stop_file is not None and config.stop != "predictive":
        raise ConfigError(
            f"--stop-file {config.stop_file} is read by --stop predictive; got --stop {config.stop}"
        )
    match config.stop:
        case "never":
            return None
        case "exact":
            return exact
        case "sign_flip":
            return sign_flip(config.stop_error)
        case "predictive" if config.stop_file is None:
            return predictive(config.stop_error)
        case "predictive":
            vote = build_vote(config)
            fit = read_fit(Path(config.stop_file), vote, build_format(config).score_scale)
            return predictive(config.stop_error, fit)


def is_untrained(config: EngineConfig) -> bool:
    """Whether these settings select the plain default model, which was not trained to judge."""
    return config.kind in EMBEDDED and config.model is None and not adapters_of(config)


def is_shipped(config: EngineConfig) -> bool:
    """Whether these settings, with defaults filled in, select the shipped judge."""
    return config.kind in EMBEDDED and _ours(config) is not None


def _ours(config: EngineConfig) -> Shipped | None:
    """The shipped judge, if these settings select it."""
    if config.model is not None or config.adapter is None:
        return None
    ours = shipped()
    is_ours = ours is not None and config.adapter == str(ours.adapter)
    return ours if is_ours else None


def adapter_shown(config: EngineConfig) -> str:
    """Which adapter judges under settings that `with_defaults` has completed, for people."""
    if is_untrained(config):
        return "none: the plain default model, which was not trained to judge"
    if ours := _ours(config):
        return f"{ours.name}, the shipped judge"
    return ", ".join(adapters_of(config)) or "none"


def _grammar(config: Config, fmt: Format) -> Callable[[int], str | None] | None:
    """The output grammar where it is wanted.

    By default for the plain default model, and for the shipped judge where it is shown a number of
    responses that it was not trained on.
    """
    force, ours = config.engine.force_format, _ours(config.engine)
    is_trained = ours is None and not is_untrained(config.engine)
    if force == "never" or (force == "auto" and is_trained) or fmt.pattern == "met":
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


_ALTERNATIVES = 20  # what OpenAI and vLLM give at most; ten scores want more than ten


def build_judge(
    config: Config, engine: Engine | None = None, meta: Scorer | None = None
) -> GenerativeRM:
    """A judge from settings, completed by `with_defaults`.

    `engine` replaces the configured one; then nothing is completed, because whoever made it from
    settings has completed those before.
    """
    if engine is None:
        config = with_defaults(config)
    judge, fmt = config.judge, build_format(config.judge)
    vote, top_logprobs = build_vote(judge), judge.top_logprobs
    is_plain = judge.meta_file is not None and vote.needs != "meta"
    if judge.meta is not None and meta is None and not is_plain:
        from spct.models.hf_scorer import load_scorer

        meta = load_scorer(judge.meta)
    if meta is not None:
        check_meta(judge, meta)
    if (vote.needs == "logprobs" or fmt.asks_one) and top_logprobs is None:
        top_logprobs = _ALTERNATIVES  # the vote cannot do without, so nobody has to ask for them
    return GenerativeRM(
        engine or build_engine(config.engine),
        fmt,
        k=judge.k,
        vote=vote,
        orders=judge.orders,
        params=SamplingParams(
            temperature=judge.temperature,
            top_p=judge.top_p,
            max_tokens=judge.max_tokens,
            top_logprobs=top_logprobs,
        ),
        seed=judge.seed,
        parse=judge.parse,
        stopping=_stopping(judge),
        meta=meta,
        grammar=_grammar(config, fmt),
        source=build_source(judge),
        concurrency=judge.concurrency,
    )
