"""The judging world of the paradigms' study: the synthetic study's as it was when this one was run.

A query states two or three checkable constraints, each marked `must` (weight 2) or `should`
(weight 1): contains an animal, starts with a colour, has four words, a tool before a fruit, numbers
that sum to seven. Responses are short word lists that meet some of them. Gold is the weighted share
met, by exact check, so a judge is right or wrong and nobody has to argue. `templated_judgement`
writes what a careful judge would say: principles that weigh the query's own constraints, a critique
that checks them one by one, boxed scores. With `error_rate` each check is misread with that
probability and everything after it follows from the misreading: a teacher that leaves room. The
base in `weights` was trained to read this world; its figures are in docs/paradigms.md.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from spct.types import Example, Message

CLASSES = {
    "animal": ("ant", "bee", "cow", "elk", "fox", "owl"),
    "colour": ("blue", "gold", "grey", "pink", "red", "tan"),
    "fruit": ("fig", "kiwi", "lime", "pear", "plum", "yuzu"),
    "place": ("barn", "cave", "city", "hill", "lake", "park"),
    "tool": ("axe", "file", "pick", "rake", "saw", "vise"),
}
CLASS_OF = {word: name for name, words in CLASSES.items() for word in words}
WORDS = tuple(CLASS_OF)
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
MARKS = {"must": 2, "should": 1}
KINDS = ("contain", "start", "end", "length", "sum", "order")
KIND_WEIGHTS = (7, 3, 2, 1, 1, 2)  # how often a query has each
SHARES_OF_N = {1: 0.20, 2: 0.45, 3: 0.20, 4: 0.10, 5: 0.05}
Split = Literal["train", "dev", "test"]


class Constraint(NamedTuple):
    """One checkable demand of a query, such as `must order tool fruit`."""

    mark: str
    kind: str
    args: tuple[str, ...]

    @property
    def weight(self) -> int:
        """What meeting it counts, relative to the others."""
        return MARKS[self.mark]

    @property
    def text(self) -> str:
        """As the query states it, without the mark."""
        return " ".join((self.kind, *self.args))


def meets(response: str, constraint: Constraint) -> bool:
    """Check one constraint exactly."""
    words = response.split()
    classes = [CLASS_OF.get(word) for word in words]
    args = constraint.args
    match constraint.kind:
        case "contain":
            return args[0] in classes
        case "start":
            return classes[:1] == [args[0]]
        case "end":
            return classes[-1:] == [args[0]]
        case "order":  # the first of one class stands before the first of the other
            both = args[0] in classes and args[1] in classes
            return both and classes.index(args[0]) < classes.index(args[1])
        case "length":
            return len(words) == int(args[0])
        case "sum":
            return sum(NUMBERS.get(word, 0) for word in words) == int(args[0])
        case other:
            raise ValueError(f"unknown kind of constraint {other!r}, expected one of {KINDS}")


def parse_query(text: str) -> tuple[Constraint, ...]:
    """Read a query's constraints back from its text."""
    parts = (part.split() for part in text.split(" ; "))
    return tuple(Constraint(mark, kind, tuple(args)) for mark, kind, *args in parts)


def query_text(constraints: Sequence[Constraint]) -> str:
    """State the constraints, in order."""
    return " ; ".join(f"{c.mark} {c.text}" for c in constraints)


def met_share(response: str, constraints: Sequence[Constraint]) -> float:
    """Gold: the weighted share of the constraints that the response meets."""
    met = sum(c.weight for c in constraints if meets(response, c))
    return met / sum(c.weight for c in constraints)


# --- drawing ---


def _draw_constraint(kind: str, rng: random.Random) -> Constraint:
    mark = rng.choice(tuple(MARKS))
    match kind:
        case "length":
            args: tuple[str, ...] = (str(rng.randint(3, 6)),)
        case "sum":
            args = (str(rng.randint(3, 9)),)
        case "order":
            args = tuple(rng.sample(list(CLASSES), 2))
        case _:
            args = (rng.choice(list(CLASSES)),)
    return Constraint(mark, kind, args)


def _draw_constraints(rng: random.Random, wanted: int) -> tuple[Constraint, ...]:
    drawn: dict[str, Constraint] = {}  # by what each is about: only `contain` may come twice
    while len(drawn) < wanted:
        c = _draw_constraint(rng.choices(KINDS, KIND_WEIGHTS)[0], rng)
        drawn.setdefault(c.text if c.kind == "contain" else c.kind, c)
    return tuple(drawn.values())


def _draw_response(
    constraints: Sequence[Constraint], rng: random.Random, p_meet: float = 0.5
) -> str:
    """Draw words, then try to meet each constraint with probability `p_meet`."""
    aimed = {c.kind: c.args for c in constraints if c.kind != "contain" and rng.random() < p_meet}
    contained = [c.args[0] for c in constraints if c.kind == "contain" and rng.random() < p_meet]
    spared = [c.args[0] for c in constraints if c.kind == "contain" and c.args[0] not in contained]
    length = int(aimed["length"][0]) if "length" in aimed else rng.randint(3, 6)
    pool = [w for w in WORDS if CLASS_OF[w] not in spared]
    words = rng.sample(pool if len(pool) >= length else WORDS, length)
    if any(c.kind == "sum" for c in constraints) or rng.random() < 0.2:
        total = int(aimed["sum"][0]) if "sum" in aimed else rng.randint(3, 9)
        first = rng.randint(1, total - 1)
        a, b = rng.sample(range(length), 2)
        words[a], words[b] = list(NUMBERS)[first - 1], list(NUMBERS)[total - first - 1]
    free = [i for i in range(length) if words[i] not in NUMBERS]
    if "order" in aimed and len(free) >= 2:
        i, j = sorted(rng.sample(free, 2))
        words[i], words[j] = (rng.choice(CLASSES[name]) for name in aimed["order"])
    for name, i in zip(contained, rng.sample(free, len(free)), strict=False):
        words[i] = rng.choice(CLASSES[name])
    if "start" in aimed:
        words[0] = rng.choice(CLASSES[aimed["start"][0]])
    if "end" in aimed:
        words[-1] = rng.choice(CLASSES[aimed["end"][0]])
    return " ".join(words)


def split_of(query: str) -> Split:
    """Which split a query belongs to, by hash: 80% train, 5% dev, 15% test."""
    share = int.from_bytes(hashlib.sha256(query.encode()).digest()[:4]) % 100
    return "train" if share < 80 else "dev" if share < 85 else "test"


def draw_example(
    rng: random.Random, example_id: str, split: Split = "train", n: int | None = None
) -> Example:
    """Draw one example of a split; of several responses exactly one is best."""
    if n is None:
        n = rng.choices(tuple(SHARES_OF_N), tuple(SHARES_OF_N.values()))[0]
    while True:
        constraints = _draw_constraints(rng, rng.choice((2, 3, 3)))
        text = query_text(constraints)
        if split_of(text) != split:
            continue
        responses = tuple(
            _draw_response(constraints, rng, 0.7 if n == 1 else 0.5) for _ in range(n)
        )
        gold = tuple(met_share(r, constraints) for r in responses)
        if n == 1:
            gold = (float(gold[0] == 1.0),)
            if gold[0] == 0.0 and rng.random() < 0.4:
                continue  # about as many right single responses as wrong ones
            break
        if gold.count(max(gold)) == 1 and len(set(responses)) == n:
            break
    return Example(example_id, (Message("user", text),), responses, gold, subset=f"n={n}")


def draw_examples(seed: int, count: int, prefix: str, split: Split = "train") -> list[Example]:
    """Draw `count` examples with ids `prefix-0`, ...; the same arguments give the same ones."""
    rng = random.Random(f"{prefix}/{seed}/{split}")
    return [draw_example(rng, f"{prefix}-{i}", split) for i in range(count)]


# --- judging by template ---


def score_of(met: Sequence[bool], constraints: Sequence[Constraint], n: int) -> int:
    """The score that the checks earn: 1..10 by weighted share, or 0/1 for a single response."""
    if n == 1:
        return int(all(met))
    share = sum(c.weight for c, ok in zip(constraints, met, strict=True) if ok)
    return 1 + round(9 * share / sum(c.weight for c in constraints))


def templated_judgement(
    example: Example,
    order: Sequence[int],
    rng: random.Random,
    *,
    error_rate: float = 0.0,
    principles: bool = True,
) -> str:
    """Write a judgement of the responses as shown in `order`, misreading checks at `error_rate`."""
    constraints = parse_query(example.query[-1].content)
    total = sum(c.weight for c in constraints)
    lines = []
    if principles:
        lines.append("Specific Criteria:")
        for i, c in enumerate(constraints, 1):
            percent = round(100 * c.weight / total)
            lines.append(f"{i}. **{c.kind}** (Weight: {percent}%): {' '.join(c.args)}")
    lines.append("Analysis:")
    scores = []
    for shown, original in enumerate(order, 1):
        response = example.responses[original]
        met = [meets(response, c) != (rng.random() < error_rate) for c in constraints]
        scores.append(score_of(met, constraints, example.n))
        lines.append(f"Response {shown}: {_checks(constraints, met)} => {scores[-1]}")
    lines.append(f"Scores: \\boxed{{{', '.join(map(str, scores))}}}")
    return "\n".join(lines)


def _checks(constraints: Sequence[Constraint], met: Sequence[bool]) -> str:
    checked = zip(constraints, met, strict=True)
    return " ".join(f"{c.text} {'yes' if ok else 'no'}" for c, ok in checked)
