"""Our own wire: /v1/judge with everything on request, /v1/rewards with the numbers alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spct.runs.criteria_rows import criteria_rows
from spct.serve.config import ServeConfig
from spct.serve.errors import invalid
from spct.serve.samples import Outcome, Sample, SampleOutcome, criteria_of, example
from spct.serve.wires.chat import QUERY, Query, Texts, messages
from spct.types import Example, Trajectory, Usage, Verdict

Include = Literal["principles", "critiques", "votes"]
K = Annotated[int | None, Field(ge=1, description="Judgements to draw; default: the operator's.")]


CRITERIA: Any = Field(
    None, description="Items with text, name, weight, kind, required (docs/criteria.md)."
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JudgeExample(_Strict):
    """One query with the responses to judge against each other."""

    id: str | None = Field(None, max_length=200, description="Comes back with the result.")
    query: Query = QUERY
    responses: Texts = Field(min_length=1, description="The candidate answers.")
    reference: str | None = Field(None, description="A known good answer; the judge sees it.")
    criteria: list[JsonValue] | None = CRITERIA


class Group(_Strict):
    """The group that these responses belong to; its members may come in other requests."""

    id: str = Field(min_length=1, max_length=200, description="The same for every member.")
    size: int | None = Field(None, ge=1, description="How many members there are in all.")


class JudgeRequest(_Strict):
    """`examples`, or the `query` and `responses` of a single one; the same for both routes."""

    model: str | None = Field(None, description="Must be a served name, if it is given.")
    examples: Annotated[list[JudgeExample], Field(fail_fast=True)] | None = Field(
        None, min_length=1, description="What to judge."
    )
    id: str | None = Field(None, max_length=200, description="Comes back with the result.")
    query: Query | None = Field(None, description=QUERY.description)
    responses: Texts | None = Field(None, min_length=1, description="The candidate answers.")
    reference: str | None = Field(None, description="A known good answer; the judge sees it.")
    criteria: list[JsonValue] | None = CRITERIA
    k: K = None
    include: list[Include] = Field(
        [],
        description="What /v1/judge adds for each judgement: `votes` (scores and orders), "
        "`principles`, `critiques`.",
    )
    group: Group | None = Field(
        None, description="/v1/rewards holds these responses until their group is complete."
    )


class TokenUsage(BaseModel):
    """Tokens and calls of the judge model."""

    prompt_tokens: int
    completion_tokens: int
    calls: int


class JudgementOut(BaseModel):
    """One of the k judgements; scores are in the order of the request's responses."""

    scores: list[float] | None = Field(description="One a response; null if unscored.")
    unscored: str | None = Field(description="Why it does not count.")
    order: list[int] = Field(description="order[shown] = index of the response.")
    principles: list[dict[str, str | None]] | None = None
    critique: str | None = None


class Result(BaseModel):
    """The verdict on one example; a failed judgement has null rewards and says why."""

    id: str
    rewards: list[float] | None = Field(description="One a response, higher is better.")
    winner: int | None = Field(description="The best response; null for a tie or a failure.")
    best: list[int] = Field(description="Every response with the highest reward.")
    k_asked: int
    k_drawn: int
    k_counted: int
    agreement: float | None = Field(description="Share of counted judgements with this best.")
    unscored: dict[str, int] = Field(description="Judgements left out, by reason.")
    error: str | None = Field(description="Why there is no verdict at all.")
    usage: TokenUsage
    judgements: list[JudgementOut] | None = Field(None, description="As asked by `include`.")
    criteria: list[dict[str, JsonValue]] | None = Field(
        None, description="One entry per response and criterion: p, gate, total; by criteria only."
    )


class JudgeReply(BaseModel):
    """The results in the order of the request's examples."""

    model: str
    fingerprint: dict[str, str] = Field(description="Where the scores come from.")
    results: list[Result]
    usage: TokenUsage


class RewardsReply(BaseModel):
    """One reward per response, null where the judgement failed; a list of lists for `examples`."""

    model: str
    fingerprint: dict[str, str] = Field(description="Where the rewards come from.")
    rewards: list[float | None] | list[list[float | None]]
    errors: list[str | None] | list[list[str | None]] = Field(description="Why a reward is null.")


def _examples(request: JudgeRequest) -> list[JudgeExample]:
    """The request's examples, in whichever of the two forms they came."""
    single: dict[str, object] = {"query": request.query, "responses": request.responses}
    if request.examples is None:
        missing = [name for name, value in single.items() if value is None]
        if missing:
            raise invalid("send `query` and `responses`, or `examples`", missing[0])
        assert request.query is not None and request.responses is not None
        return [
            JudgeExample(
                id=request.id,
                query=request.query,
                responses=request.responses,
                reference=request.reference,
                criteria=request.criteria,
            )
        ]
    single |= {"id": request.id, "reference": request.reference, "group": request.group}
    single |= {"criteria": request.criteria}
    for name, value in single.items():
        if value is not None:
            raise invalid(f"`examples` came too; put `{name}` into an example", name)
    return request.examples


def read_examples(request: JudgeRequest, config: ServeConfig) -> list[Example]:
    """The examples of a request."""
    asked = _examples(request)
    if len(asked) > config.max_examples:
        raise invalid(f"{len(asked)} examples; the limit is {config.max_examples}", "examples")
    several = request.examples is not None
    return [
        example(
            messages(one.query, f"examples[{i}].query" if several else "query"),
            one.responses,
            config,
            reference=one.reference,
            criteria=criteria_of(
                one.criteria, f"examples[{i}].criteria" if several else "criteria"
            ),
        )
        for i, one in enumerate(asked)
    ]


def write_judge(
    request: JudgeRequest,
    outcomes: list[Outcome],
    examples: list[Example],
    name: str,
    fingerprint: dict[str, str],
) -> JudgeReply:
    """The reply to a judge request."""
    include = frozenset(request.include)
    results = [
        _result(one.id or asked.id, outcome, include)
        for one, asked, outcome in zip(_examples(request), examples, outcomes, strict=True)
    ]
    usage = sum((o.verdict.usage for o in outcomes if o.verdict), Usage())
    return JudgeReply(model=name, fingerprint=fingerprint, results=results, usage=_usage(usage))


def read_members(request: JudgeRequest) -> list[Sample]:
    """The members of a group that a rewards request holds."""
    (one,), group = _examples(request), request.group
    assert group is not None
    if request.k is not None:
        raise invalid("k cannot be chosen by one member of a group; leave it out", "k")
    if group.size is not None and group.size < len(one.responses):
        raise invalid(f"{len(one.responses)} responses of a group of size {group.size}", "group")
    query = messages(one.query)
    criteria = criteria_of(one.criteria, "criteria")
    return [
        Sample(query, response, one.reference, group.id, group.size, criteria)
        for response in one.responses
    ]


def write_rewards(
    judged: list[list[SampleOutcome]], name: str, fingerprint: dict[str, str], *, several: bool
) -> RewardsReply:
    """The reply to a rewards request: nested where several examples could have come."""
    rewards = [[one.reward for one in some] for some in judged]
    errors = [[one.error for one in some] for some in judged]
    return RewardsReply(
        model=name,
        fingerprint=fingerprint,
        rewards=rewards if several else rewards[0],
        errors=errors if several else errors[0],
    )


def write_members(
    judged: list[SampleOutcome], name: str, fingerprint: dict[str, str]
) -> RewardsReply:
    """The reply to some members of a group."""
    return write_rewards([judged], name, fingerprint, several=False)


def _usage(usage: Usage) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        calls=usage.calls,
    )


SHOWN = ("response", "criterion", "kind", "weight", "p", "gate", "total", "clipped")


def _result(id: str, outcome: Outcome, include: frozenset[Include]) -> Result:
    verdict = outcome.verdict
    if verdict is None:
        verdict = Verdict(id, None, (), (), 0, 0, 0, None)
    cells = [] if outcome.verdict is None else list(criteria_rows(verdict))
    return Result(
        id=id,
        criteria=[{name: row[name] for name in SHOWN} for row in cells] or None,
        rewards=None if verdict.rewards is None else list(verdict.rewards),
        winner=verdict.winner,
        best=list(verdict.best),
        k_asked=verdict.k_asked,
        k_drawn=verdict.k_drawn,
        k_counted=verdict.k_counted,
        agreement=verdict.agreement,
        unscored={str(reason): times for reason, times in verdict.unscored.items()},
        error=None if verdict.rewards is not None else outcome.why,
        usage=_usage(verdict.usage),
        judgements=[_judgement(t, include) for t in verdict.trajectories] if include else None,
    )


def _judgement(trajectory: Trajectory, include: frozenset[Include]) -> JudgementOut:
    said = trajectory.judgement
    reason = None if said else getattr(trajectory.outcome, "reason", "failed")
    out = JudgementOut(
        scores=list(said.scores) if said else None,
        unscored=reason,
        order=list(trajectory.prompt.order),
    )
    if said and "principles" in include:
        out.principles = [
            {"name": p.name, "weight": p.weight, "text": p.text} for p in said.principles
        ]
    if said and "critiques" in include:
        out.critique = said.critique
    return out
