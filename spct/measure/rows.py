"""Rows: the ways in which a report uses the same stored samples, and what each of them earns.

Voting@k is the estimator of estimator.py: all disjoint groups of k samples, each voted on, and what
they earn averaged. "Meta@k" is the same with the model's own meta-guided vote, or else that of the
half that the meta RM ranks highest. "greedy" is a run of its own at temperature 0. Costs are those
of the first group: what drawing k costs, since a request's prompt tokens count once, on its first
sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from spct.measure.estimator import by, named, readable, votes_at
from spct.measure.loading import Loaded
from spct.measure.rules import Column, Credit, Judged, Policy, Rule
from spct.text.parse import Scale
from spct.types import (
    Checked,
    Completion,
    Example,
    FinishReason,
    Judgement,
    Prompt,
    Trajectory,
    Usage,
    Verdict,
)
from spct.types import Part as ReplyPart
from spct.votes.vote import Vote, mean_scores, meta_top, vote_named

Mode = Literal["reward", "sampled", "greedy"]


def without_texts(verdict: Verdict) -> Verdict:
    """The verdict with what scoring needs: scores or checks, orders, seeds, meta scores, usage."""
    return replace(verdict, trajectories=tuple(map(_slim, verdict.trajectories)))


def _slim(t: Trajectory) -> Trajectory:
    outcome = t.outcome
    if isinstance(outcome, Judgement):
        outcome = Judgement((), "", outcome.scores, outcome.expected)
    return Trajectory(
        t.example_id,
        t.index,
        t.seed,
        _prompt(t.example_id, t.prompt.order),
        _completion(t.completion.finish_reason, *_counts(t.completion.usage), t.completion.error),
        outcome,
        t.fingerprint,
        t.meta_score,
        t.criteria,
        tuple(map(_slim_part, t.parts)),
    )


def _slim_part(part: ReplyPart) -> ReplyPart:
    """Totals of several judgements are made of their checks, so these stay."""
    outcome = part.outcome
    if isinstance(outcome, Checked):
        outcome = Checked(outcome.met, outcome.overall)
    prompt = replace(part.prompt, messages=())
    return ReplyPart(prompt, _completion(part.completion.finish_reason, 0, 0, 0, None), 0, outcome)


@lru_cache(maxsize=64)
def _prompt(example_id: str, order: tuple[int, ...]) -> Prompt:
    """Shared by the samples of one verdict."""
    return Prompt(example_id, (), order)


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.calls


@lru_cache(maxsize=4096)
def _completion(
    reason: FinishReason, prompt_tokens: int, completion_tokens: int, calls: int, error: str | None
) -> Completion:
    """Shared by all samples that cost the same."""
    usage = Usage(prompt_tokens, completion_tokens, calls)
    return Completion("", reason, usage=usage, error=error)


@dataclass(frozen=True, slots=True)
class Part:
    """One reward model on one benchmark in one mode: its slim verdicts and its settings."""

    model: str
    mode: Mode
    verdicts: Mapping[str, Verdict]
    config: Mapping[str, Any]

    @property
    def vote(self) -> Vote:
        """The vote of its Voting rows: the model's own, or the mean under a meta-guided one."""
        return mean_scores if self._named.needs == "meta" else self._named

    @property
    def meta_vote(self) -> Vote:
        """The vote of its Meta rows: the model's own if it is a meta-guided one, or `meta_top`."""
        return self._named if self._named.needs == "meta" else meta_top()

    @property
    def _named(self) -> Vote:
        found: Vote = vote_named(str(self.config.get("vote", "mean")))
        return found

    @property
    def scale(self) -> Scale | None:
        """The scale of its scores; None for a model without one, such as a scalar head."""
        found = self.config.get("scale")
        return None if found is None else Scale(*found)

    @property
    def policy(self) -> Policy:
        """Which official rule holds: that for judges, or that for models that return numbers."""
        return "generative" if self.config.get("judge") else "scalar"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a name, and for each presentation the votes of its groups."""

    model: str
    name: str
    k: int
    votes: Mapping[str, tuple[Verdict, ...]]
    policy: Policy

    @property
    def label(self) -> str:
        """Model and row."""
        return f"{self.model}, {self.name}"

    @property
    def first(self) -> dict[str, Verdict]:
        """The vote of each presentation's first k samples."""
        return {id: votes[0] for id, votes in self.votes.items()}


def row_of(part: Part, name: str, verdicts: Mapping[str, Verdict], k: int = 1) -> Row:
    """A row of one verdict per presentation."""
    return Row(part.model, name, k, {id: (readable(v),) for id, v in verdicts.items()}, part.policy)


def rows_of(parts: Sequence[Part], ks: Iterable[int]) -> list[Row]:
    """Every row that the parts of one model can give."""
    rows: list[Row] = []
    for part in sorted(parts, key=lambda p: ("reward", "greedy", "sampled").index(p.mode)):
        if part.mode == "sampled":
            rows += _voted(part, sorted(set(ks)))
        else:
            rows.append(row_of(part, part.mode, part.verdicts))
    return rows


def _voted(part: Part, ks: Sequence[int]) -> list[Row]:
    drawn = max((v.k_asked for v in part.verdicts.values()), default=0)
    ks = [k for k in ks if k <= drawn]

    def row(what: str, k: int, vote: Vote) -> Row:
        votes = {id: votes_at(v, k, by(vote)) for id, v in part.verdicts.items()}
        return Row(part.model, named(what, k), k, votes, part.policy)

    rows = [row("Voting", k, part.vote) for k in ks]
    if _has_meta(part):
        rows += [row("Meta", k, part.meta_vote) for k in ks if k > 1]
    return rows


def _has_meta(part: Part) -> bool:
    scored = [t for v in part.verdicts.values() for t in v.trajectories if t.judgement]
    return bool(scored) and all(t.meta_score is not None for t in scored)


def voted_examples(loaded: Loaded, row: Row) -> Iterable[tuple[Example, Verdict]]:
    """Every vote of a row with its example, in the order of the file."""
    for example in loaded.examples:
        for vote in row.votes.get(example.id, ()):
            yield example, vote


def units_of(loaded: Loaded, row: Row) -> dict[str, list[list[Judged]]]:
    """Each unit of the benchmark that is judged whole: its presentations, once per group of k."""
    units: dict[str, list[Example]] = {}
    for example in loaded.examples:
        units.setdefault(str(example.meta["unit"]), []).append(example)
    return {
        name: [
            [Judged(e, vote.rewards) for e, vote in zip(examples, votes, strict=True)]
            # not strict: a presentation that could not be asked about has a single vote
            for votes in zip(*(row.votes[e.id] for e in examples), strict=False)
        ]
        for name, examples in units.items()
        if all(e.id in row.votes for e in examples)
    }


def credits_of(
    rule: Rule, units: Mapping[str, Sequence[Sequence[Judged]]], policy: Policy
) -> list[Credit]:
    """What every unit earns in each column: the mean over its groups."""
    found = []
    for name, groups in units.items():
        earned: dict[Column, list[float]] = {}
        for group in groups:
            for column, value in rule(group, policy):
                # several times for the pairs of a list, not at all for a gold tie
                earned.setdefault(column, []).append(value)
        cluster = str(groups[0][0].example.meta["cluster"])
        for column, values in earned.items():
            mean = math.fsum(values) / len(values)
            found.append(Credit(name, cluster, column, mean, len(values) / len(groups)))
    return found
