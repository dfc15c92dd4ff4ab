"""Prepare sets of examples: split, dedupe, check the overlap, cut down, mix. All pure.

Every step that leaves something out returns a frozen report with the counts beside its result.
`meta["evidence"]`, where a reader gives it, has one entry a response; `select` keeps it aligned.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from spct.errors import ConfigError, DataError
from spct.types import Example


def normalised_query(example: Example) -> str:
    """Return the query in one form: NFKC, lower case, single spaces, no punctuation at its end."""
    text = "\n".join(message.content for message in example.query)
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.rstrip(".?!:; ") or folded


def split_by_prompt(example: Example, fractions: Mapping[str, float], salt: str) -> str:
    """Return the name of the split that the example's query falls into.

    Examples with the same normalised query always fall into the same split; `fractions` sum to 1.
    """
    total = math.fsum(fractions.values())
    if any(f < 0 for f in fractions.values()) or not math.isclose(total, 1.0, abs_tol=1e-9):
        raise ConfigError(f"splitting: got fractions {dict(fractions)}, expected a sum of 1")
    digest = hashlib.sha256(f"{salt}\0{normalised_query(example)}".encode()).digest()
    at = int.from_bytes(digest[:8], "big") / 2**64
    upto = 0.0
    for name, fraction in fractions.items():
        upto += fraction
        if at < upto:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]


@dataclass(frozen=True, slots=True)
class Deduped:
    """The examples kept, and how many copies and contradicting ones were dropped."""

    examples: tuple[Example, ...]
    n_in: int
    n_duplicates: int
    n_conflicts: int


def dedupe(examples: Iterable[Example]) -> Deduped:
    """Keep the first of examples with the same query, responses (in any order) and reference.

    Where such examples have different gold, all of them are dropped as conflicts; one without
    gold contradicts nobody and gives way to one with it.
    """
    groups: dict[tuple[object, ...], list[Example]] = {}
    for example in examples:
        key = (example.query, tuple(sorted(example.responses)), example.reference)
        groups.setdefault(key, []).append(example)
    kept: list[Example] = []
    n_duplicates = n_conflicts = 0
    for group in groups.values():
        with_gold = [e for e in group if e.gold is not None]
        if len({_sorted_gold(e) for e in with_gold}) > 1:
            n_conflicts += len(group)
            continue
        kept.append((with_gold or group)[0])
        n_duplicates += len(group) - 1
    n_in = sum(len(group) for group in groups.values())
    return Deduped(tuple(kept), n_in, n_duplicates, n_conflicts)


def _sorted_gold(example: Example) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(zip(example.responses, example.gold or (), strict=True)))


@dataclass(frozen=True, slots=True)
class Overlap:
    """Test examples whose query is also in training data, by id.

    `exact` share the normalised query; `near` are the others, with the share of their word
    n-grams that occur in training queries. A query shorter than n words is only compared exactly.
    """

    n_train: int
    n_test: int
    n_too_short: int
    exact: tuple[str, ...]
    near: tuple[tuple[str, float], ...]


def overlap(
    train: Iterable[Example], test: Iterable[Example], *, n: int = 13, threshold: float = 0.5
) -> Overlap:
    """Find the test queries that training data contains, wholly or in large part."""
    queries: set[str] = set()
    grams: set[tuple[str, ...]] = set()
    n_train = n_test = n_too_short = 0
    for example in train:
        n_train += 1
        query = normalised_query(example)
        queries.add(query)
        grams |= _grams(query, n)
    exact: list[str] = []
    near: list[tuple[str, float]] = []
    for example in test:
        n_test += 1
        query = normalised_query(example)
        own = _grams(query, n)
        n_too_short += not own
        if query in queries:
            exact.append(example.id)
        elif own and (share := len(own & grams) / len(own)) >= threshold:
            near.append((example.id, share))
    return Overlap(n_train, n_test, n_too_short, tuple(exact), tuple(near))


def _grams(query: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", query)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixture, and how many examples of each source it takes and leaves."""

    examples: tuple[Example, ...]
    taken: Mapping[str, int]
    left: Mapping[str, int]


def mix(
    sources: Mapping[str, tuple[Sequence[Example], float]], *, seed: int, total: int | None = None
) -> Mixed:
    """Interleave sources in the given ratios, each shuffled under the seed and spread evenly.

    The mixture is as large as the scarcest source allows, or `total`, rounded down a source;
    nothing is repeated.
    """
    weight = math.fsum(ratio for _, ratio in sources.values())
    if not sources or not all(r > 0 and math.isfinite(r) for _, r in sources.values()):
        ratios = {name: ratio for name, (_, ratio) in sources.items()}
        raise ConfigError(f"mixing: got ratios {ratios}, expected at least one, all above 0")
    most = min(len(examples) / ratio for examples, ratio in sources.values()) * weight
    if total is not None and not 0 <= total <= most + 1e-9:
        raise ConfigError(f"mixing: got total={total}, expected 0 to {int(most)} at these ratios")
    size = most if total is None else total
    placed: list[tuple[float, str, Example]] = []
    taken: dict[str, int] = {}
    for name, (examples, ratio) in sources.items():
        taken[name] = min(len(examples), int(size * ratio / weight + 1e-9))
        drawn = random.Random(f"{seed}/{name}").sample(examples, taken[name])
        placed += [((i + 0.5) / taken[name], name, example) for i, example in enumerate(drawn)]
    placed.sort(key=lambda entry: entry[:2])
    twice = [id for id, count in Counter(e.id for *_, e in placed).items() if count > 1]
    if twice:
        raise DataError(f"mixing: got the ids {twice[:5]} in more than one place, expected once")
    left = {name: len(examples) - taken[name] for name, (examples, _) in sources.items()}
    return Mixed(tuple(example for *_, example in placed), taken, left)


def has_best(example: Example) -> bool:
    """Whether gold names exactly one best response; a single response with gold always does."""
    return example.gold is not None and example.gold.count(max(example.gold)) == 1


def select(example: Example, keep: Sequence[int]) -> Example:
    """Return the example with only the responses of the given indices, in that order."""
    if not keep or len(set(keep)) < len(keep) or not set(keep) <= set(range(example.n)):
        raise ConfigError(
            f"selecting from {example.id}: got {list(keep)}, expected distinct indices"
        )
    gold = None if example.gold is None else tuple(example.gold[i] for i in keep)
    if gold is not None and len(gold) == 1 and gold[0] not in (0, 1):
        raise ConfigError(
            f"selecting from {example.id}: one response needs gold 0 or 1, got {gold}"
        )
    meta = dict(example.meta)
    evidence = meta.get("evidence")
    if isinstance(evidence, list | tuple) and len(evidence) == example.n:  # one entry a response
        meta["evidence"] = [evidence[i] for i in keep]
    return replace(
        example,
        id=f"{example.id}#{'.'.join(map(str, keep))}",
        responses=tuple(example.responses[i] for i in keep),
        gold=gold,
        meta=meta,
    )


def draw(example: Example, n: int, count: int, *, seed: int) -> Iterator[Example]:
    """Yield up to `count` different sub-examples of n responses, each with exactly one best.

    For n = 1 every response may be drawn. Tries are bounded, so a list without such subsets
    yields nothing.
    """
    rng = random.Random(f"{seed}/{example.id}/{n}")
    seen: set[frozenset[int]] = set()
    for _ in range(20 * count if n <= example.n else 0):
        keep = rng.sample(range(example.n), n)
        if frozenset(keep) in seen:
            continue
        seen.add(frozenset(keep))
        drawn = select(example, keep)
        if has_best(drawn):
            yield drawn
            count -= 1
        if count <= 0:
            return


def with_reference(example: Example) -> Example:
    """Show the judge the known good answer that a reader keeps in `meta["golden"]`, if any."""
    return replace(example, reference=example.meta.get("golden", example.reference))
