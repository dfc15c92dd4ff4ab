"""The settings of engine and judge, which every command that judges reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from spct.errors import SUMS_ARE_GONE
from spct.settings import Settings


class EngineConfig(Settings):
    """Which engine samples, from which model."""

    kind: Literal["auto", "openvino", "llamacpp", "hf", "openai", "scripted"] = Field(
        "auto",
        description="auto: an endpoint if a base URL is set, else the embedded engine installed.",
    )
    model: str | None = Field(
        None,
        description="A model file or folder, owner/name on the hub, or its name at the endpoint; "
        "the default is ours.",
    )
    adapter: str | None = Field(
        None,
        description="A LoRA adapter (safetensors) on the model; without --model ours, where there "
        "is one, and `none` is the plain default model.",
    )
    base_url: tuple[str, ...] = Field(
        (),
        description="Of an OpenAI-compatible endpoint; OPENAI_BASE_URL is read too. Repeat it for "
        "replicas of one model.",
    )
    endpoints: str | None = Field(
        None, description="A file of replicas in place of that: an address a line, and its weight."
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the endpoint's key."
    )
    # In flight at the endpoint; `judge.concurrency` counts examples, each of them many requests.
    max_concurrency: int | None = Field(
        None,
        gt=0,
        description="Requests in flight at most, at each endpoint; adapts between 10 and 100 by "
        "default.",
    )
    price: str | None = Field(
        None,
        description="Dollars per million tokens, such as input=0.25,cached=0.03,output=2, or a "
        "TOML file with a table for each model.",
    )
    rpm: float | None = Field(None, gt=0, description="Requests per minute at most.")
    tpm: float | None = Field(None, gt=0, description="Tokens per minute at most.")
    timeout: float = Field(300.0, gt=0, description="Seconds for one attempt of a request.")
    deadline: float = Field(900.0, gt=0, description="Seconds for a request with all its retries.")
    max_retries: int = Field(5, ge=0, description="Attempts after the first, for one request.")
    retry_budget: float = Field(
        0.2, ge=0, description="Retries allowed as a share of all requests; stops retry storms."
    )
    # Servers ignore a field that they do not know, so a wrong name here is a grammar that is not
    # followed and no error: `spct doctor` tries it.
    grammar_field: Literal["structured_outputs", "ebnf", "grammar"] = Field(
        "structured_outputs",
        description="Where the endpoint takes a grammar: vLLM, SGLang (ebnf), llama.cpp (grammar).",
    )
    extra_body: dict[str, Any] | None = Field(
        None, description="Fields for every request, in a config file; null drops one of ours."
    )
    force_format: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Force the output format by a grammar; auto: where the default model needs it.",
    )

    @field_validator("base_url", mode="before")
    @classmethod
    def _read_none(cls, value: object) -> object:
        return () if value is None else value  # of runs before there could be several


class JudgeConfig(Settings):
    """What is asked of the engine and how its judgements are voted."""

    format: Literal[
        "pointwise",
        "pointwise_no_principles",
        "single",
        "pairwise",
        "pointwise_criteria",
        "met",
        "met_one",
    ] = Field(
        "pointwise",
        description="What the verdict holds: scores, 0/1, or the best one's number; the last three "
        "hold each response to given criteria (docs/criteria.md).",
    )
    criteria: str = Field(
        "given",
        description="given: those of the examples; a file: one list for all, or one per query; "
        "swapped:FILE: another query's list, as a control; write: the judge's model writes one.",
    )
    general_criteria: str | None = Field(
        None, description="A file of criteria that are added to every example's."
    )
    criteria_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of an example's criteria left out, the same for its whole group; "
        "against a policy that learns the list. General ones and gates stay.",
    )
    negative: Literal["occurs-is-bad", "met-is-good"] | None = Field(
        None, description="What negative weights or points in criteria mean; never guessed."
    )
    aggregate: Literal["weighted", "overall"] = Field(
        "weighted",
        description="How checked criteria become a reward: their weighted sum, or the overall "
        "score of the same reply.",
    )
    chunk: int = Field(10, ge=1, description="Criteria shown in one call of the format met.")
    template: str | None = Field(None, description="A file with other wording for the format.")
    k: int = Field(
        8, ge=1, le=65_536, description="Judgements per example; more cost more and decide better."
    )
    vote: Literal[
        "mean",
        "majority",
        "davidson",
        "expected",
        "meta_top",
        "meta_weighted",
        "meta_log_odds",
        "meta_log_odds_wins",
    ] = Field("mean", description="How judgements become rewards, on the judge's scale.")

    @model_validator(mode="before")
    @classmethod
    def _read_lenient(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("lenient"), bool):  # of older runs
            parse = "lenient" if data["lenient"] else "strict"
            return {"parse": parse, **{key: v for key, v in data.items() if key != "lenient"}}
        return data

    @field_validator("vote", mode="before")
    @classmethod
    def _refuse_sums(cls, vote: object) -> object:
        if vote == "sum":  # the default of stored settings and configs until means came
            raise ValueError(SUMS_ARE_GONE)
        return vote

    k_meta: int | None = Field(
        None,
        ge=1,
        description="Judgements that meta_top keeps; half of those drawn by default.",
    )
    meta: str | None = Field(None, description="Folder of a meta RM, for the meta-guided votes.")
    meta_file: str | None = Field(
        None,
        description="The meta RM's calibration (spct fit-meta); votes are plain where it is blind.",
    )
    orders: Literal["balanced", "cyclic", "random", "fixed"] = Field(
        "balanced", description="How the orders in which responses are shown are chosen."
    )
    stop: Literal["never", "predictive", "exact", "sign_flip"] = Field(
        "never", description="Draw in waves and stop early when the vote is decided."
    )
    stop_error: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Error level of predictive and sign_flip; higher stops earlier.",
    )
    stop_file: str | None = Field(
        None, description="Noise and spread measured on stored runs, for --stop predictive."
    )
    # The paper samples at 0.5 for voting and greedily for a single judgement.
    temperature: float = Field(
        0.5, ge=0, description="0 is greedy; the paper samples at 0.5 when it votes."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Share of probability that is sampled from.")
    max_tokens: int = Field(
        1024,
        gt=0,
        description="Limit of one judgement; a cut one is unscored. Ours has a lower default.",
    )
    top_logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Alternatives to ask for a token; the vote expected needs 10.",
    )
    seed: int = Field(0, description="Seed of the run: of orders and of every sample.")
    parse: Literal["strict", "lenient", "released"] = Field(
        "strict",
        description="strict: verdicts that differ are none; lenient: the last one counts; "
        "released: as the sample code of the released checkpoints reads, to compare with it.",
    )
    concurrency: int = Field(64, gt=0, description="Examples in flight at once.")


class RayConfig(Settings):
    """Judging on a Ray cluster instead of in this process."""

    address: str | None = Field(
        None, description="Judge on Ray: local, auto or the address of a cluster."
    )
    actors: int = Field(2, ge=1, description="Judges on Ray, a CPU each.")
    gpus: float = Field(0.0, ge=0, description="Of each judge on Ray: a number or a share of one.")


class Config(Settings):
    """All that `spct judge` and `spct sample` need."""

    engine: EngineConfig = EngineConfig()
    judge: JudgeConfig = JudgeConfig()
