"""What criteria add up to: totals, gates and the two votes over checked criteria (pure).

p of a response and a criterion is the mean of what the counted replies say, 0..1. The total of a
response is S = (sum_met w p - sum_pitfall w p) / sum_met w; of pitfalls alone 1 - sum w p / sum w.
S is not clipped: clipping makes all bad responses tie, and a group of GRPO has no gradient then. A
cell that no reply scored leaves its response without a total, and the example without rewards: a
total over fewer criteria is another yardstick.

A required criterion with p below one half is a gate. Rewards are what ranks, so a gated response's
reward is S - (1 + sum_pitfall w / sum_met w), which is below every response that passes, whatever
the others are; its total stays S.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spct.errors import ConfigError
from spct.protocols import Need, Source
from spct.text.format import Format
from spct.types import JSON, Checked, Criteria, SamplingParams, Trajectory
from spct.votes.ballot import Rewards, Vote, average, scores_of

Cells = tuple[tuple[float | None, ...], ...]  # [response][criterion], 0..1; None where unscored
PASS = 0.5  # a required criterion below this is a gate
MAX_CRITERIA = 100


@dataclass(frozen=True, slots=True)
class Total:
    """What one response comes to: its total, the same within 0..1, and the gates it fails.

    `ranked` is the total, or below every response that passes if a gate failed.
    """

    total: float
    gates: tuple[int, ...]
    ranked: float

    @property
    def clipped(self) -> float:
        """The total within 0..1, for display."""
        return min(1.0, max(0.0, self.total))


def faults_of(criteria: Criteria) -> list[str]:
    """All that is wrong with a list of criteria, each by its number and name; empty if nothing."""
    items, found = criteria.items, []
    if not 1 <= len(items) <= MAX_CRITERIA:
        found.append(f"{len(items)} criteria, expected 1 to {MAX_CRITERIA}")
    names: dict[str, int] = {}
    for i, one in enumerate(items, 1):
        where = f"criterion {i} ({one.name.strip()[:40]!r})"
        if not one.text.strip():
            found.append(f"{where}: its text is empty")
        if not one.name.strip():
            found.append(f"{where}: its name is empty")
        elif (before := names.setdefault(one.name.strip().casefold(), i)) != i:
            found.append(f"{where}: criterion {before} has this name too")
        if not math.isfinite(one.weight) or one.weight < 0:
            found.append(f"{where}: its weight is {one.weight!r}, expected a number above 0")
        if one.required and one.kind == "pitfall":
            found.append(f"{where}: a pitfall cannot be required; say what must hold instead")
        if one.choices and (one.kind != "graded" or not 2 <= len(one.choices) <= 10):
            found.append(f"{where}: {len(one.choices)} choices; a graded one has 2 to 10")
    if items and all(one.weight == 0 for one in items):
        found.append("all weights are 0")
    elif any(one.weight == 0 for one in items):
        zero = ", ".join(repr(one.name) for one in items if one.weight == 0)
        found.append(f"the weight of {zero} is 0; leave out what does not count")
    return found


def total_of(criteria: Criteria, p: Sequence[float]) -> Total:
    """The total of a response from the p of each criterion."""
    pairs = list(zip(criteria.items, p, strict=True))
    good = [(c.weight, x) for c, x in pairs if c.kind != "pitfall"]
    bad = [(c.weight, x) for c, x in pairs if c.kind == "pitfall"]
    lost, worst = math.fsum([w * x for w, x in bad]), math.fsum([w for w, _ in bad])
    if not good:
        total = 1 - lost / worst
        return Total(total, (), total)
    best = math.fsum([w for w, _ in good])
    total = (math.fsum([w * x for w, x in good]) - lost) / best
    gates = tuple([i for i, (c, x) in enumerate(pairs) if c.required and x < PASS])
    return Total(total, gates, total - (1 + worst / best) if gates else total)


def cells_of(trajectory: Trajectory) -> Cells:
    """What the parts of one judgement say of each response and criterion."""
    m = 0 if trajectory.criteria is None else len(trajectory.criteria.items)
    rows: list[list[float | None]] = [[None] * m for _ in trajectory.prompt.order]
    for part in trajectory.parts:
        if isinstance(part.outcome, Checked):
            row = rows[part.prompt.order[0]]
            for i, met in zip(part.prompt.criteria, part.outcome.met, strict=True):
                row[i] = met
    return tuple(map(tuple, rows))


def mean_cells(trajectories: Sequence[Trajectory]) -> Cells:
    """The mean of each cell over the judgements that scored it."""
    tables = [cells_of(t) for t in trajectories if t.parts]
    if len(tables) == 1:
        return tables[0]  # as of each judgement by itself, and of every run with k = 1
    return tuple(
        tuple(
            _mean([cell for cell in cells if cell is not None]) for cells in zip(*rows, strict=True)
        )
        for rows in zip(*tables, strict=True)
    )


def totals(trajectories: Sequence[Trajectory]) -> tuple[Total | None, ...]:
    """One per response; None where a criterion was not scored in any judgement. () of none."""
    criteria = next((t.criteria for t in trajectories if t.parts), None)
    if criteria is None:
        return ()
    found: list[Total | None] = []
    for row in mean_cells(trajectories):
        known = [p for p in row if p is not None]
        found.append(total_of(criteria, known) if len(known) == len(row) else None)
    return tuple(found)


def overalls(trajectory: Trajectory) -> Rewards | None:
    """The overall scores of one judgement; a long list's are the mean over its calls."""
    rows: list[list[float]] = [[] for _ in trajectory.prompt.order]
    for part in trajectory.parts:
        if not isinstance(part.outcome, Checked) or part.outcome.overall is None:
            return None
        rows[part.prompt.order[0]].append(part.outcome.overall)
    return tuple(math.fsum(row) / len(row) for row in rows) if all(rows) else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _weighted(trajectories: Sequence[Trajectory]) -> Rewards | None:
    found = totals(trajectories)
    known = tuple(one.ranked for one in found if one is not None)
    return known if known and len(known) == len(found) else None


weighted = Vote("weighted", _weighted)
# The overall scores that stand in the same replies; gates are part of the sum alone.
overall = Vote("overall", lambda ts: average(scores_of(ts)), rows=scores_of)
AGGREGATES = {vote.name: vote for vote in (weighted, overall)}


def check_criteria_recipe(fmt: Format, vote: Vote, params: SamplingParams) -> None:
    """Raise `ConfigError` where format, vote and sampling do not go together."""
    if (fmt.pattern == "met") != (vote.name in AGGREGATES):
        raise ConfigError(
            f"the vote {vote.name!r} does not go with the format {fmt.name!r}: checked criteria "
            f"are added up, by {' or '.join(AGGREGATES)}, and scores are voted"
        )
    if fmt.asks_one and vote.name == "overall":
        raise ConfigError(
            f"the format {fmt.name!r} asks for no overall score; it adds up: weighted"
        )
    if fmt.asks_one and not params.top_logprobs:
        raise ConfigError(
            f"the format {fmt.name!r} reads probabilities: it needs top_logprobs of at least 1 "
            "(--top-logprobs)"
        )


def criteria_identity(fmt: Format, vote: Vote, source: Source | None) -> dict[str, JSON]:
    """What a judgement by criteria depends on beside the rest; nothing for one without."""
    found: dict[str, JSON] = {}
    if fmt.pattern == "met":
        found |= {"aggregate": vote.name, "chunk": fmt.chunk}
    return found if source is None else {**found, "criteria": source.fingerprint}


def needs_of(fmt: Format, vote: Vote) -> frozenset[Need]:
    """What the engine or the judgements must bring."""
    found: set[Need] = {"logprobs"} if fmt.asks_one else set()
    return frozenset(found | ({vote.needs} if vote.needs else set()))


def scale_of(fmt: Format, vote: Vote) -> tuple[float, float] | None:
    """What bounds the scores; None of totals, whose lower end depends on the list."""
    return None if vote.name == "weighted" else (fmt.score_scale.low, fmt.score_scale.high)
