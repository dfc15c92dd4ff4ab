"""`predictive` stopping: how likely is it that another response leads at k?

For the paired score differences of the leader to a rival after m of k samples the noise has a prior
worth four samples; what is still to come is then Student-t distributed. Published rules for votes
(ASC, ESC) count winners only; scores say by how much. benchmarks/stopping.py measures all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from spct.errors import ConfigError
from spct.text.parse import Scale
from spct.votes.ballot import Rewards, Vote
from spct.votes.stopping import State, Stopping, check_level, each_round, leads_of

_PRIOR = 4.0  # how many samples the prior of the noise is worth


@dataclass(frozen=True, slots=True)
class Fit:
    """What stored runs say of differences between two responses' scores.

    `noise` is their spread between samples of one item, `spread` that of the items' means; both
    hold for one vote on one scale, and for any k.
    """

    noise: float
    spread: float
    scale: tuple[float, float]
    vote: str
    items: int


def predictive(error: float = 0.02, fit: Fit | None = None) -> Stopping:
    """Stop when the predicted chance that the winner at k differs is at most `error`.

    Without a fit the prior of the noise is a third of the largest possible difference, and the
    items' means may be anything.
    """
    check_level("predictive", error)

    def is_decided(state: State) -> bool:
        return doubt(state.rows, state.left, state.swing, fit) <= error

    measured = f",noise={fit.noise:.4g},spread={fit.spread:.4g}" if fit else ""
    return Stopping(f"predictive{error:g}{measured}", is_decided, each_round)


def doubt(rows: Sequence[Rewards], left: int, swing: float, fit: Fit | None = None) -> float:
    """The predicted chance that `left` more judgements give another winner; 1 where nobody leads.

    An upper bound: the chances of the rivals are added up.
    """
    if not left:
        return 0.0
    leads = leads_of(rows) if rows else None
    if leads is None:
        return 1.0
    return min(1.0, math.fsum(overtaken(d, left, swing, fit) for d in leads))


def overtaken(
    differences: Sequence[float], left: int, swing: float, fit: Fit | None = None
) -> float:
    """The predicted chance that the sum of `differences` and `left` more is below zero."""
    m, total = len(differences), math.fsum(differences)
    mean = total / m
    noise = fit.noise if fit else swing / 3
    freedom = _PRIOR + m - 1
    squares = max(0.0, math.fsum([d * d for d in differences]) - total * mean)
    variance = (_PRIOR * noise**2 + squares) / freedom
    if variance == 0.0:  # a judge that never wavers, on a prior that says so
        return 0.0 if total > 0 else 0.5
    if fit is None:
        expected, doubt = mean, variance / m
    elif fit.spread == 0.0:
        expected, doubt = 0.0, 0.0
    else:
        trust = fit.spread**2 / (fit.spread**2 + variance / m)
        expected, doubt = trust * mean, trust * variance / m
    at_k = total + left * expected
    return student_tail(at_k / math.sqrt(left**2 * doubt + left * variance), freedom)


def student_tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's t with a whole number of degrees of freedom, as a finite sum."""
    n = round(freedom)
    theta = math.atan(t / math.sqrt(n))
    cosine = math.cos(theta) ** 2
    term, total = (math.cos(theta), 0.0) if n % 2 else (1.0, 0.0)
    for i in range(1 if n % 2 else 0, n - 1, 2):  # Abramowitz and Stegun, 26.7.3 and 26.7.4
        total += term
        term *= cosine * (i + 1) / (i + 2)
    inside = 2 / math.pi * (theta + math.sin(theta) * total) if n % 2 else math.sin(theta) * total
    return max(0.0, 0.5 - inside / 2)


def fit_stopping(items: Iterable[Sequence[Rewards]], vote: Vote, scale: Scale) -> Fit:
    """Measure noise and spread on the rows of many items, over all pairs of responses."""
    noises, means = [], []
    used = 0
    for rows in items:
        if len(rows) < 2 or len(rows[0]) < 2:
            continue
        used += 1
        n = len(rows[0])
        for i in range(n):
            for j in range(i):
                differences = [row[i] - row[j] for row in rows]
                mean = fmean(differences)
                noise = math.fsum((d - mean) ** 2 for d in differences) / (len(rows) - 1)
                noises.append(noise)
                means.append(mean**2 - noise / len(rows))
    if used < 30:
        raise ConfigError(
            f"measuring a stopping rule: got {used} items with two responses and two judgements, "
            "expected at least 30; use a larger run, or --stop predictive without a file"
        )
    spread = math.sqrt(max(0.0, fmean(means)))
    return Fit(math.sqrt(fmean(noises)), spread, (scale.low, scale.high), vote.name, used)


def write_fit(fit: Fit, path: Path) -> None:
    """Write a stopping file."""
    path.write_text(json.dumps({"kind": "spct-stopping", **asdict(fit)}) + "\n", "utf-8")


def read_fit(path: Path, vote: Vote, scale: Scale) -> Fit:
    """Read a stopping file that was measured for this vote on this scale."""
    try:
        found = json.loads(path.read_text("utf-8"))
        low, high = map(float, found["scale"])
        noise, spread = float(found["noise"]), float(found["spread"])
        fit = Fit(noise, spread, (low, high), str(found["vote"]), int(found["items"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"reading the stopping file {str(path)!r}: {error!r}; write it with: spct "
            "fit-stopping RUN"
        ) from error
    if not all(math.isfinite(x) and x >= 0 for x in (noise, spread)):
        raise ConfigError(
            f"the stopping file {str(path)!r} has noise {noise} and spread {spread}, expected "
            "numbers from 0 on; measure it again"
        )
    if (fit.vote, fit.scale) != (vote.name, (scale.low, scale.high)):
        raise ConfigError(
            f"the stopping file {str(path)!r} was measured for the vote {fit.vote!r} on the scale "
            f"{fit.scale}, this run has {vote.name!r} on {(scale.low, scale.high)}; measure it on "
            "a run like this one, or leave the file out"
        )
    return fit
