"""The nouns: what flows along data -> plan -> sample -> parse -> vote -> verdict.

Everything here is frozen and is in the *original* order of the responses, except inside a
`Prompt`, whose `order` says how that prompt shows them. Nothing here does any work.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

JSON: TypeAlias = "str | int | float | bool | list[JSON] | Mapping[str, JSON] | None"

Reason = Literal[
    "truncated",  # the engine stopped at the token limit
    "refused",  # a content filter stopped the reply
    "empty",  # no text
    "failed",  # the call itself failed after its retries
    "no_verdict",  # no boxed group, or none after the reasoning
    "wrong_count",  # a group with another number of entries than responses
    "not_a_number",  # an entry that is not a plain decimal number
    "out_of_range",  # a number outside the format's scale
    "conflict",  # two valid groups that differ
    "no_criteria",  # no list to judge by: none for this query, or the writer's is no list
    "no_probability",  # the vote needs the verdict's token probabilities, and they do not cover it
]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Kind = Literal["met", "pitfall", "graded"]
LEVELS = ("not at all", "partly", "fully")  # of a graded criterion that names none


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric: a statement that is true of a response or not.

    A "met" one earns its weight where it holds, a "pitfall" costs it; a "graded" one earns the
    share that its level stands for, of `choices` from worst to best. `required` makes it a gate.
    `weight` is positive, and the judge never sees it.
    """

    name: str
    text: str
    weight: float = 1.0
    kind: Kind = "met"
    required: bool = False
    choices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """What a judge may say of a graded criterion, worst first; empty for a yes or no."""
        return (self.choices or LEVELS) if self.kind == "graded" else ()

    @property
    def top(self) -> int:
        """The highest number that a judge may write for it."""
        return max(1, len(self.levels) - 1) if self.kind == "graded" else 1


@dataclass(frozen=True, slots=True)
class Criteria:
    """A frozen list of criteria; `source` says whether people gave it or a model wrote it."""

    items: tuple[Criterion, ...]
    source: Literal["given", "written"] = "given"

    @property
    def fingerprint(self) -> str:
        """A digest of all that a total depends on: equal lists have equal fingerprints."""
        told = [(c.name, c.text, c.weight, c.kind, c.required, c.choices) for c in self.items]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Example:
    """A query with the responses to judge.

    `query` ends with a user turn. `gold` are true rewards, one a response, higher is better; 0 or 1
    for n = 1. The judge may see `reference`, a good answer, and `criteria`; `meta` it never sees.
    """

    id: str
    query: tuple[Message, ...]
    responses: tuple[str, ...]
    gold: tuple[float, ...] | None = None
    reference: str | None = None
    subset: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    criteria: Criteria | None = None
    group: str | None = None  # the name of a group that is judged in parts, as members come

    @property
    def n(self) -> int:
        """How many responses there are."""
        return len(self.responses)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the judge model reads: `order[shown] = original`; `hint` is an original index.

    `criteria[shown] = original` says the same of the criteria. An order may hold one of several.
    """

    example_id: str
    messages: tuple[Message, ...]
    order: tuple[int, ...]
    hint: int | None = None
    criteria: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample completions.

    `seeds` has one entry per completion, or none. An engine that takes one seed per request uses
    the first. `top_logprobs` None asks for no log probabilities, 0 for those of the sampled tokens.
    `grammar` is an EBNF grammar with the rule `root`, in the dialect of llama.cpp and xgrammar.
    An engine that makes several calls for n completions awaits `on_completion` with each one and
    its place among the n as it arrives, so that a reply is stored before its siblings are there.
    """

    temperature: float = 0.5
    top_p: float = 1.0
    max_tokens: int = 1024
    seeds: tuple[int, ...] = ()
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    on_completion: OnCompletion | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and LM calls; `calls` counts requests, and k completions of one prompt may be one."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    cached_tokens: int = 0  # those of the prompt that the endpoint had in its cache

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.calls + other.calls,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A sampled token, its log probability, and the likeliest alternatives (itself included)."""

    token: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=dict)


FinishReason = Literal["stop", "length", "content_filter", "error"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply. With `finish_reason` "error" the call failed and `error` says why.

    The tokens of a request's prompt are counted in the usage of its first completion only.
    """

    text: str
    finish_reason: FinishReason = "stop"
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    usage: Usage = Usage()
    error: str | None = None


OnCompletion = Callable[[int, Completion], Awaitable[None]]  # its place among the n, from 0


@dataclass(frozen=True, slots=True)
class Principle:
    """One criterion that a judgement set up; `weight` is its text as written, such as "30%"."""

    name: str
    weight: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision model said to one question: a probability for each option.

    `confidence` is 0 for a uniform answer and 1 for one that is certain; `option_mass` is how much
    next-token probability fell on the options at all, where the reader knows it.
    """

    question: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    confidence: float
    option_mass: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one trajectory says: one score per response, in the original order.

    A pairwise judgement scores its winner 1 and the others 0. `expected` are the scores'
    expectations under the score tokens' probabilities, where the engine gave them. `decisions` are
    the distributions that a decision model's scores were made of.
    """

    principles: tuple[Principle, ...]
    critique: str
    scores: tuple[float, ...]
    expected: tuple[float, ...] | None = None
    decisions: tuple[Decided, ...] = ()


@dataclass(frozen=True, slots=True)
class Unscored:
    """No usable judgement, and why. Never a number."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What one reply says of one response: how far each criterion that it was shown is met, 0..1.

    `met` is in the order of its prompt's `criteria`; `overall` is on 1..10 where it was asked for.
    """

    met: tuple[float, ...]
    overall: float | None = None
    critique: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One reply of a judgement that takes several: its prompt shows one response, some criteria."""

    prompt: Prompt
    completion: Completion
    seed: int
    outcome: Checked | Unscored


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One sampled judgement with all that is needed to trace it.

    `index` is the sample index 0..k-1; `fingerprint` names engine, model and prompt format.
    `criteria` is the list that the responses were held to; where each response was checked in calls
    of its own, these are the `parts`, and the completion is empty but for their usage.
    """

    example_id: str
    index: int
    seed: int
    prompt: Prompt
    completion: Completion
    outcome: Judgement | Unscored
    fingerprint: str
    meta_score: float | None = None
    criteria: Criteria | None = None
    parts: tuple[Part, ...] = ()

    @property
    def judgement(self) -> Judgement | None:
        """The judgement, or None if this trajectory is unscored."""
        return self.outcome if isinstance(self.outcome, Judgement) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The voted result for one example, in the original order.

    `rewards` is None when nothing could be counted. `best` holds every response that shares the
    highest reward, so a tie has more than one entry; `winner` is set only when there is exactly
    one of several. `agreement` is the share of counted judgements with the same `best`.
    """

    example_id: str
    rewards: tuple[float, ...] | None
    best: tuple[int, ...]
    trajectories: tuple[Trajectory, ...]
    k_asked: int
    k_drawn: int
    k_counted: int
    agreement: float | None
    usage: Usage = Usage()

    @property
    def winner(self) -> int | None:
        """The one best response of several; None for a tie, a single response, or no rewards."""
        several = self.rewards is not None and len(self.rewards) > 1
        return self.best[0] if several and len(self.best) == 1 else None

    @property
    def unscored(self) -> dict[Reason, int]:
        """How many trajectories were left out, by reason."""
        left = (t.outcome for t in self.trajectories if isinstance(t.outcome, Unscored))
        return dict(Counter(outcome.reason for outcome in left))
