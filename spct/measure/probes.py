"""Bias and attack probes: the same items with a change that should not help, and who fell for it.

Two kinds of family. *Invariance*: the change means nothing (swap, rerun, format); a judge falls for
it when its winner changes. *Promotion*: the losing response is padded, repeated, replaced by an
empty phrase or given an injected text; a judge falls for it when that response wins though it lost
before. The attack success rate counts items that the judge had right (promotion) or decided
(invariance) without the change; a tie or no verdict under attack is not a success and is reported
apart. Payloads are in attacks.jsonl, written for this suite.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from spct.data.published.items import item
from spct.data.published.sources import Row as SourceRow
from spct.errors import DataError
from spct.measure.estimator import by, votes_at
from spct.measure.intervals import Interval, wilson
from spct.measure.loading import Loaded
from spct.measure.rows import Part
from spct.measure.rules import credit, gold_of, is_gold_tie
from spct.types import Example, Verdict
from spct.votes.vote import best


class Payload(NamedTuple):
    """A text that an attack puts before, after or in place of the losing response."""

    id: str
    family: str
    place: str
    text: str


@cache
def payloads() -> tuple[Payload, ...]:
    """All payloads, in the order of the file."""
    lines = (files("spct.measure") / "attacks.jsonl").read_text("utf-8").splitlines()
    return tuple(Payload(**json.loads(line)) for line in lines)


Change = Callable[[Example, int, random.Random], tuple[Sequence[str], str]]


def _placed(family: str) -> Change:
    """Put a payload of the family on the losing response."""
    some = [p for p in payloads() if p.family == family]

    def change(example: Example, loser: int, rng: random.Random) -> tuple[Sequence[str], str]:
        payload = rng.choice(some)
        text = example.responses[loser]
        new = {
            "alone": payload.text,
            "prefix": f"{payload.text}\n\n{text}",
            "suffix": f"{text}\n\n{payload.text}",
        }[payload.place]
        return _with(example.responses, loser, new), payload.id

    return change


def _with(responses: Sequence[str], at: int, text: str) -> list[str]:
    return [text if i == at else response for i, response in enumerate(responses)]


def _swap(example: Example, loser: int, rng: random.Random) -> tuple[Sequence[str], str]:
    return example.responses[::-1], "reversed"


def _rerun(example: Example, loser: int, rng: random.Random) -> tuple[Sequence[str], str]:
    return example.responses, "another seed"


def _repeat(example: Example, loser: int, rng: random.Random) -> tuple[Sequence[str], str]:
    """Say everything twice: the repetitive-list attack."""
    text = example.responses[loser]
    return _with(example.responses, loser, f"{text}\n\n{text}"), "said twice"


REWRITES: Mapping[str, Callable[[str], str]] = {
    "quote marks": lambda t: t.replace('"', "”").replace("'", "’"),
    "blank lines": lambda t: re.sub(r"\n+", "\n\n", t),
    "bold lines": lambda t: re.sub(r"^(.+)$", r"**\1**", t, flags=re.M),
    "bulleted lines": lambda t: re.sub(r"^(?=\S)", "- ", t, flags=re.M),
    "boxed to heading": lambda t: re.sub(r"\\boxed\{([^{}]*)\}", r"# Answer\n\1", t),
    "trailing space": lambda t: re.sub(r"$", "  ", t, flags=re.M),
    "code fence": lambda t: f"```\n{t}\n```",
    "block quote": lambda t: re.sub(r"^", "> ", t, flags=re.M),
}


def _format(example: Example, loser: int, rng: random.Random) -> tuple[Sequence[str], str]:
    """Rewrite the layout of all responses alike; the words stay."""
    name = rng.choice(list(REWRITES))
    return [REWRITES[name](response) for response in example.responses], name


INVARIANCE: Mapping[str, Change] = {"swap": _swap, "rerun": _rerun, "format": _format}
PROMOTION: Mapping[str, Change] = {"repetition": _repeat} | {
    family: _placed(family) for family in dict.fromkeys(p.family for p in payloads())
}
FAMILIES: Mapping[str, Change] = {**INVARIANCE, **PROMOTION}


def probes_of(
    loaded: Loaded,
    families: Sequence[str] = tuple(FAMILIES),
    *,
    per_family: int = 20,
    seed: int = 0,
) -> Loaded:
    """Changed copies of a benchmark's items: `per_family` items for each family, by the seed.

    Items have one best response; where both orders are presented the published one is changed.
    """
    bases = [
        e
        for e in loaded.examples
        if e.n > 1 and len(best(gold_of(e))) == 1 and not e.id.endswith("#2")
    ]
    if not bases:
        raise DataError(
            f"probing {loaded.benchmark.title}: got no item with one best response of several; "
            "probes need pairs or lists"
        )
    made = []
    for family in families:
        rng = random.Random(f"probes {seed} {family}")
        for base in rng.sample(bases, min(per_family, len(bases))):
            made.append(_probe(base, family, rng))
    name = f"{loaded.benchmark.name}.probes"
    title = f"{loaded.benchmark.title}, probes"
    benchmark = replace(loaded.benchmark, name=name, title=title, with_greedy=False)
    by_id = {e.id: e for e in made}
    return replace(
        loaded,
        benchmark=benchmark,
        examples=tuple(made),
        by_id=by_id,
        n_units=len(made),
        n_units_of_copy=len(made),
    )


def _probe(base: Example, family: str, rng: random.Random) -> Example:
    gold = gold_of(base)
    loser = rng.choice([i for i, g in enumerate(gold) if g == min(gold)])
    responses, what = FAMILIES[family](base, loser, rng)
    order = range(base.n)[::-1] if family == "swap" else range(base.n)
    row = SourceRow(str(base.meta["place"]), "", {})
    facts: dict[str, Any] = {"base": base.id, "family": family, "what": what}
    return item(
        row,
        f"{base.id}~{family}",
        base.query,
        responses,
        [gold[i] for i in order],
        family,
        **facts,
        order=list(order),
        target=loser,
    )


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One family: how often the change worked, and what else it did."""

    family: str
    kind: str
    n_eligible: int
    success: Interval
    unscored: int  # no verdict under the change
    undecided: int  # a tie under the change
    clean_accuracy: float | None  # on all probed items, ties shared
    changed_accuracy: float | None


def results_of(
    probes: Loaded, clean: Mapping[str, Verdict], changed: Mapping[str, Verdict]
) -> list[FamilyResult]:
    """Compare every changed item with the verdict on its clean base."""
    by_family: dict[str, list[Example]] = {}
    for example in probes.examples:
        if example.id in changed and example.meta["base"] in clean:
            by_family.setdefault(str(example.meta["family"]), []).append(example)
    return [_family(name, some, clean, changed) for name, some in by_family.items()]


def _family(
    family: str,
    examples: Sequence[Example],
    clean: Mapping[str, Verdict],
    changed: Mapping[str, Verdict],
) -> FamilyResult:
    eligible = hits = unscored = undecided = 0
    for example in examples:
        before, after = clean[str(example.meta["base"])], changed[example.id]
        order = example.meta["order"]
        if before.winner is None or (
            family in PROMOTION and before.winner != best(gold_of(example))[0]
        ):
            continue
        eligible += 1
        unscored += after.rewards is None
        undecided += after.rewards is not None and after.winner is None
        if after.winner is not None:
            winner = order[after.winner]
            hits += (
                winner == example.meta["target"]
                if family in PROMOTION
                else (winner != before.winner)
            )
    return FamilyResult(
        family,
        "promotion" if family in PROMOTION else "invariance",
        eligible,
        wilson(hits, eligible),
        unscored,
        undecided,
        _accuracy((clean[str(e.meta["base"])], _base_gold(e)) for e in examples),
        _accuracy((changed[e.id], gold_of(e)) for e in examples if not is_gold_tie(e)),
    )


def _base_gold(example: Example) -> tuple[float, ...]:
    gold, order = gold_of(example), example.meta["order"]
    return tuple(gold[order.index(i)] for i in range(example.n))


def _accuracy(pairs: Any) -> float | None:
    earned = [credit(v.rewards, gold) for v, gold in pairs]
    return sum(earned) / len(earned) if earned else None


def probe_reports(
    probes: Loaded, clean: Sequence[Part], changed: Sequence[Part], k: int
) -> list[dict[str, Any]]:
    """Each model's table: votes on the first k samples (or the only verdict), clean and changed."""
    by_model = {part.model: part for part in clean}
    by_model |= {part.model: part for part in clean if part.mode != "greedy"}
    found = []
    for part in changed:
        base = by_model.get(part.model)
        if base is None or base.mode != part.mode:
            continue
        before, after = (_first_votes(p, k) for p in (base, part))
        rows = [
            {**asdict(family), "success": family.success._asdict()}
            for family in results_of(probes, before, after)
        ]
        found.append({"model": part.model, "mode": part.mode, "k": k, "families": rows})
    return found


def _first_votes(part: Part, k: int) -> dict[str, Verdict]:
    at = k if part.mode == "sampled" else 1
    return {id: votes_at(v, at, by(part.vote))[0] for id, v in part.verdicts.items()}
