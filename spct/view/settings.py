"""What a run's config says of how to read its verdicts: vote, scale, model, sampling.

A run of another version, or of a model without a vote, still opens: what is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spct.errors import ConfigError
from spct.text.format import FORMATS
from spct.text.parse import Scale
from spct.votes.criteria import weighted
from spct.votes.price import Price
from spct.votes.vote import Vote, mean_scores, vote_named


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How the verdicts of a run came about; `sampling` are fields of a chat request."""

    vote: Vote
    scale: Scale | None
    model: str | None
    sampling: Mapping[str, Any]
    price: Price | None = None


def settings_of(config: Mapping[str, Any], price: object = None) -> RunSettings:
    """Read a run's stored identity, whose keys may have a section before them.

    `price` is the setting of that name, which no verdict depends on and the identity leaves out.
    """

    def found(name: str) -> Any:
        return config.get(f"judge.{name}", config.get(name))

    engine = str(config.get("engine") or config.get("judge") or "")
    fields = {n: found(n) for n in ("temperature", "top_p", "max_tokens")}
    vote = _vote(found("vote"), found("k_meta"))
    return RunSettings(
        vote,
        # totals of criteria have no lower end: it depends on the list
        None if vote == weighted else _scale(found("scale"), found("format")),
        # the engine's fingerprint ends in the model's name: openai/<host>/<model>
        engine.split("/", 2)[-1] or None,
        {name: value for name, value in fields.items() if value is not None},
        _price(price),
    )


def _price(told: object) -> Price | None:
    try:
        return Price.parse(told) if isinstance(told, str) else None
    except ConfigError:  # a file of prices, which was not kept in the run
        return None


def _vote(name: object, k_meta: int | None) -> Vote:
    try:
        return vote_named(str(name), k_meta) if name else mean_scores
    except ConfigError:  # a vote of another version: the strip then shows plain votes
        return mean_scores


def _scale(bounds: object, name: object) -> Scale | None:
    if isinstance(bounds, (list, tuple)) and len(bounds) >= 2:
        return Scale(bounds[0], bounds[1])
    # a format's fingerprint is its name with a digest behind it
    known = [
        fmt for key, fmt in FORMATS.items() if str(name).rpartition("-")[0] == key or name == key
    ]
    return known[0].score_scale if known else None
