"""Stored verdicts without their texts, and the rows that a report makes of them.

A row is a way to use the same stored samples. "one sample" and "Voting@k" vote on the first 1 and
the first k samples by sample index, exactly as they lie in the store: no new call, no re-shuffling.
The samples of a balanced plan go round its orders, so the first k of K show every position equally
often whenever k is a multiple of the number of orders (for pairs: whenever k is even). "Meta@k" is
the model's own meta-guided vote, or else that of the half of the first k that the meta RM ranks
highest. "greedy" is a run of its own at
temperature 0. Costs of a row are those of the samples that it uses; a request's prompt tokens are
booked on its first sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from spct.core.parse import Scale
from spct.core.settle import settle
from spct.core.vote import Vote, mean_scores, meta_top, vote_named
from spct.measure.loading import Loaded
from spct.measure.rules import Credit, Judged, Policy, Rule
from spct.types import (
    Completion,
    Example,
    FinishReason,
    Judgement,
    Prompt,
    Trajectory,
    Usage,
    Verdict,
)

Mode = Literal["reward", "sampled", "greedy"]


def without_texts(verdict: Verdict) -> Verdict:
    """The verdict with what scoring needs: scores, orders, seeds, meta scores, usage."""
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
        _completion(t.completion.finish_reason, t.completion.usage, t.completion.error),
        outcome,
        t.fingerprint,
        t.meta_score,
    )


@lru_cache(maxsize=64)
def _prompt(example_id: str, order: tuple[int, ...]) -> Prompt:
    """Shared by the samples of one verdict."""
    return Prompt(example_id, (), order)


@lru_cache(maxsize=4096)
def _completion(reason: FinishReason, usage: Usage, error: str | None) -> Completion:
    """Shared by all samples that cost the same."""
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
    """One line of a table: a name, and the verdicts that it comes to."""

    model: str
    name: str
    k: int
    verdicts: Mapping[str, Verdict]
    policy: Policy

    @property
    def label(self) -> str:
        """Model and row."""
        return f"{self.model}, {self.name}"


def revote(verdict: Verdict, k: int, vote: Vote) -> Verdict:
    """The verdict on the first k stored samples."""
    return settle(verdict.example_id, verdict.trajectories[:k], vote, k)


def rows_of(parts: Sequence[Part], ks: Iterable[int]) -> list[Row]:
    """Every row that the parts of one model can give."""
    rows: list[Row] = []
    for part in sorted(parts, key=lambda p: ("reward", "greedy", "sampled").index(p.mode)):
        if part.mode == "sampled":
            rows += _voted(part, sorted(set(ks)))
        else:
            rows.append(Row(part.model, part.mode, 1, part.verdicts, part.policy))
    return rows


def _voted(part: Part, ks: Sequence[int]) -> list[Row]:
    drawn = max((v.k_asked for v in part.verdicts.values()), default=0)
    ks = [k for k in ks if k <= drawn]
    rows = []
    for k in ks:
        voted = {id: revote(v, k, part.vote) for id, v in part.verdicts.items()}
        name = "one sample" if k == 1 else f"Voting@{k}"
        rows.append(Row(part.model, name, k, voted, part.policy))
    if _has_meta(part):
        for k in (k for k in ks if k > 1):
            voted = {id: revote(v, k, part.meta_vote) for id, v in part.verdicts.items()}
            rows.append(Row(part.model, f"Meta@{k}", k, voted, part.policy))
    return rows


def _has_meta(part: Part) -> bool:
    scored = [t for v in part.verdicts.values() for t in v.trajectories if t.judgement]
    return bool(scored) and all(t.meta_score is not None for t in scored)


def judged(loaded: Loaded, row: Row) -> list[list[Judged]]:
    """The benchmark's units with the row's rewards, in the order of the file."""
    units: dict[str, list[Judged]] = {}
    for example in loaded.examples:
        if example.id in row.verdicts:
            one = Judged(example, row.verdicts[example.id].rewards)
            units.setdefault(str(example.meta["unit"]), []).append(one)
    n_whole = _presentations(loaded.examples)
    return [unit for name, unit in units.items() if len(unit) == n_whole[name]]


def _presentations(examples: Iterable[Example]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for example in examples:
        counts[str(example.meta["unit"])] = counts.get(str(example.meta["unit"]), 0) + 1
    return counts


def credits_of(loaded: Loaded, row: Row, policy: Policy | None = None) -> list[Credit]:
    """What every unit earns under the row's official policy, or another one."""
    return booked(loaded.benchmark.rule, judged(loaded, row), policy or row.policy)


def booked(rule: Rule, units: Iterable[Sequence[Judged]], policy: Policy) -> list[Credit]:
    """Apply a rule to judged units."""
    found = []
    for unit in units:
        meta = unit[0].example.meta
        for column, value in rule(unit, policy):
            found.append(Credit(str(meta["unit"]), str(meta["cluster"]), column, value))
    return found
