"""A judging world small enough for a model of under a million parameters.

A query states two or three checkable constraints, each marked `must` (weight 2) or `should`
(weight 1): contains an animal, starts with a colour, has four words, a tool before a fruit.
Responses are short word lists that meet some of them. Gold is the weighted share met, by exact
check, so a judge is right or wrong and nobody has to argue. A check cites its evidence (the word
that decides it), so that a wrong reading shows. How judgements are written is in teacher.py.
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
MARKS = {"must": 2, "should": 1}
NOTHING = "none"  # the evidence of a check that finds no word
KINDS = ("contain", "start", "end", "length", "order")
KIND_WEIGHTS = (4, 3, 3, 2, 4)  # how often a query has each
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


class Check(NamedTuple):
    """What one look at a response finds: the word that decides, and whether the demand is met."""

    evidence: str
    met: bool


MISSING = Check(NOTHING, False)


def check(response: str, constraint: Constraint) -> Check:
    """Check one constraint exactly.

    The evidence of `order` is whichever of the two stands first; of `length` it is the count.
    """
    words = response.split()
    classes = [CLASS_OF.get(word) for word in words]
    args = constraint.args
    match constraint.kind:
        case "contain":
            return Check(words[classes.index(args[0])], True) if args[0] in classes else MISSING
        case "start":
            return Check(words[0], classes[0] == args[0]) if words else MISSING
        case "end":
            return Check(words[-1], classes[-1] == args[0]) if words else MISSING
        case "order":  # the first of one class stands before the first of the other
            if not (args[0] in classes and args[1] in classes):
                return MISSING
            first = min(classes.index(args[0]), classes.index(args[1]))
            return Check(words[first], classes[first] == args[0])
        case "length":
            return Check(str(len(words)), len(words) == int(args[0]))
        case other:
            raise ValueError(f"unknown kind of constraint {other!r}, expected one of {KINDS}")


def meets(response: str, constraint: Constraint) -> bool:
    """Whether the response meets the constraint, by exact check."""
    return check(response, constraint).met


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
    """Draw words, then try to meet each constraint with probability `p_meet`.

    An order that is not aimed at is often turned round, so that both words are there.
    """
    aimed = {c.kind: c.args for c in constraints if c.kind != "contain" and rng.random() < p_meet}
    turned = {c.kind: c.args[::-1] for c in constraints if c.kind == "order"}
    contained = [c.args[0] for c in constraints if c.kind == "contain" and rng.random() < p_meet]
    spared = [c.args[0] for c in constraints if c.kind == "contain" and c.args[0] not in contained]
    length = int(aimed["length"][0]) if "length" in aimed else rng.randint(3, 6)
    pool = [w for w in WORDS if CLASS_OF[w] not in spared]
    words = rng.sample(pool if len(pool) >= length else WORDS, length)
    order = aimed.get("order") or (turned.get("order") if rng.random() < 0.7 else None)
    if order:
        i, j = sorted(rng.sample(range(length), 2))
        words[i], words[j] = (rng.choice(CLASSES[name]) for name in order)
    for name, i in zip(contained, rng.sample(range(length), length), strict=False):
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


def draw_lesson(rng: random.Random, n: int) -> Example:
    """A reading lesson for the base model: many constraints, and responses without a best one.

    What it teaches is to read, as a pretrained language model can before it judges.
    """
    while True:
        constraints = _draw_constraints(rng, max(3, 7 - n))
        if split_of(text := query_text(constraints)) == "train":
            break
    responses = tuple(_draw_response(constraints, rng, 0.4) for _ in range(n))
    return Example("lesson", (Message("user", text),), responses)
