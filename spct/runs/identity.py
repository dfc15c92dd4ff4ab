"""What a result depends on, said once for runs, benchmarks, gateways and training stages.

A reward model gives its own part (`RewardModel.identity`); a run adds its data, a benchmark its
name, a training stage its base. Two things with equal identities are the same thing and go on where
it stopped; `differences` says why two are not. Everything here is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from spct.core.plan import content_id
from spct.types import JSON

__all__ = [
    "content_id",
    "differences",
    "digest",
    "digest_of_all",
    "of_judgements",
    "of_replies",
    "unlike_totals",
]

# Stored judgements are voted again under any of these, and stored replies read again under those:
# changing one needs no new reply.
VOTED = frozenset({"k", "vote", "stopping"})
MODE = ("aggregate", "format", "chunk", "criteria")  # what a total by criteria rests on
READ = frozenset({"parse", "meta", "aggregate"})


def of_judgements(identity: Mapping[str, JSON]) -> dict[str, JSON]:
    """The part of a model's identity that stored judgements depend on."""
    return {key: value for key, value in identity.items() if key not in VOTED}


def of_replies(identity: Mapping[str, JSON]) -> dict[str, JSON]:
    """The part that stored replies depend on: engine, wording, sampling."""
    return {key: value for key, value in identity.items() if key not in VOTED | READ}


def unlike_totals(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Why rewards under two identities must not be compared; None where they may be.

    Rewards by criteria are totals over a list under one way of asking and of adding up: one call
    for all criteria meets fewer of them than one call each, and an overall score is on another
    scale. Which response is best, and whether that is right, may be compared under any two.
    """
    if "aggregate" not in a and "aggregate" not in b:
        return None
    parts = [d for d in differences(a, b) if d.key in MODE]
    if not parts:
        return None
    return "totals of two ways of judging by criteria: " + ", ".join(
        f"{d.key} {d.before!r} and {d.now!r}" for d in parts
    )


def digest(identity: Mapping[str, Any]) -> str:
    """A short name of an identity; the order of its keys does not matter."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


def digest_of_all(items: Iterable[object]) -> str:
    """A short name of data: frozen nouns or rows, whose repr shows all that they hold."""
    found = sha256()
    for item in items:
        # An example without criteria is the same data as before there were any: old runs go on.
        told = repr(item).replace(", criteria=None)", ")")
        found.update(told.encode(errors="surrogatepass"))
    return found.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that two things differ in; None where one of them has no such setting."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: was {self.before!r}, now {self.now!r}"


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Set[str] = frozenset()
) -> list[Difference]:
    """What differs, by dotted name; the keys in `free` may, at any depth."""
    found = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = differences(old, new, free)
            found += [replace(one, key=f"{key}.{one.key}") for one in inner]
        elif old != new and key not in free:
            found.append(Difference(key, old, new))
    return found
