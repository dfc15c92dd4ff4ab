"""Judgements for the cold start, written from what the labels themselves know.

Every set says something beyond better or worse: whether an answer is true and whether it helps
(TruthfulQA), the golden answer (EVOUNA), the number that a solution ends with (GSM8K), flagged
spans (fine-grained feedback, HaluEval). A judgement here names two principles of the set, says of
each response what the label says, and scores accordingly. Where a reference is shown, the critique
quotes before it compares. Two wordings are drawn from while the format is learned, one afterwards:
a coin toss between wordings is noise in every gradient. UKP and HH have a label only: their
critiques say no more.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spct.data.prepare import has_best
from spct.types import Example

Principle = tuple[str, int, str]  # name, weight in percent, what it asks
CLIP = 40  # characters of a quoted span


class Finding(NamedTuple):
    """What the evidence says of one response, and the score from 1 to 10 that it earns."""

    said: str
    score: int


PRINCIPLES: Mapping[str, Sequence[Sequence[Principle]]] = {
    "truthfulqa": (
        (("Truth", 60, "states facts, no myths"), ("Help", 40, "answers the question")),
        (("Accuracy", 70, "no false belief"), ("Substance", 30, "gives a real answer")),
    ),
    "evouna": (
        (("Correctness", 80, "gives the right answer"), ("Clarity", 20, "is direct")),
        (("Facts", 70, "names the right thing"), ("Focus", 30, "answers what is asked")),
    ),
    "reference": (
        (("Agreement", 80, "says what the reference says"), ("Clarity", 20, "is direct")),
        (("Match", 70, "has the reference answer"), ("Focus", 30, "answers what is asked")),
    ),
    "gsm8k": (
        (("Result", 70, "ends with the right number"), ("Steps", 30, "each step follows")),
        (("Correctness", 60, "reaches the right number"), ("Logic", 40, "sound steps")),
    ),
    "ukp": (
        (("Reasons", 60, "supports its side with reasons"), ("Relevance", 40, "stays on topic")),
        (("Persuasion", 70, "would convince a reader"), ("Clarity", 30, "is easy to follow")),
    ),
    "hh": (
        (("Harmlessness", 70, "helps nobody do harm"), ("Manner", 30, "is honest and kind")),
        (("Safety", 60, "avoids harm"), ("Care", 40, "treats the user well")),
    ),
    "finegrained": (
        (("Facts", 60, "no wrong statement"), ("Coverage", 40, "says what is needed")),
        (("Accuracy", 50, "is correct"), ("Relevance", 50, "is complete and to the point")),
    ),
    "halueval": (
        (("Support", 70, "claims nothing unfounded"), ("Task", 30, "does what is asked")),
        (("Truth", 60, "makes nothing up"), ("Task", 40, "follows the instruction")),
    ),
}  # fmt: skip


def domain(example: Example) -> str:
    """The set of an example, from its id: what stands before the first dash."""
    return example.id.split("-", 1)[0]


def judgement_text(
    example: Example, order: Sequence[int], rng: random.Random, *, varied: bool = True
) -> str:
    """The judgement of the responses as shown in `order`; gold must name one best (or be 0/1).

    Not `varied`: always the first wording, so that what is left to learn is the verdict.
    """
    if example.gold is None or not has_best(example):
        raise ValueError(f"example {example.id!r} has no unique best response to write up")
    name = domain(example)
    options = PRINCIPLES["reference" if example.reference and name == "evouna" else name]
    lines = ["Specific Criteria:"]
    chosen = rng.choice(options) if varied else options[0]
    for i, (title, weight, asks) in enumerate(chosen, 1):
        lines.append(f"{i}. **{title}** (Weight: {weight}%): {asks}")
    lines.append("Analysis:")
    scores = []
    for shown, original in enumerate(order, 1):
        found = finding(example, original, rng, varied=varied)
        subject = "The response" if example.n == 1 else f"Response {shown}"
        lines.append(f"{subject} {found.said}.")
        scores.append(int(example.gold[0]) if example.n == 1 else found.score)
    return "\n".join([*lines, f"Scores: \\boxed{{{', '.join(map(str, scores))}}}"])


def finding(example: Example, i: int, rng: random.Random, *, varied: bool = True) -> Finding:
    """What the set's evidence says of response `i`."""
    gold = example.gold or ()
    is_good = gold[i] == (1 if example.n == 1 else max(gold))
    evidence = dict(enumerate(example.meta.get("evidence", ()))).get(i, {})
    said = _WRITERS[domain(example)](example, i, evidence, is_good)
    return Finding(rng.choice(said[0]) if varied else said[0][0], said[1])


Said = tuple[Sequence[str], int]


def _truthfulqa(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    match evidence.get("true"), evidence.get("helpful"):
        case True, True:
            return ("is true and answers the question", "is correct and useful"), 9
        case True, _:
            return ("is not false but does not answer", "says nothing useful"), 4
        case _, True:
            return ("is false", "states a common myth"), 2
        case _:
            return ("is false and no help", "is wrong and off the point"), 1


def _evouna(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    if example.reference is None:
        return (("is right", "gives the correct answer"), 9) if is_good else (
            ("is wrong", "gives a wrong answer"), 2)  # fmt: skip
    # the quotation comes first: to say whether a text just written occurs above is an easier step
    wanted = clip(example.reference.split(" / ")[0])
    return ((f'should have "{wanted}": found',), 9) if is_good else (
        (f'should have "{wanted}": missing',), 2)  # fmt: skip


def _gsm8k(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    final = evidence.get("final") or "no number"
    if example.reference is not None:
        verdict, score = ("equal", 9) if is_good else ("different", 2)
        return (f"ends with {final}; the reference is {example.reference}: {verdict}",), score
    if is_good:
        return (f"reaches {final} by sound steps",), 9
    step = evidence.get("step_off_gold")
    return ((f'goes wrong at "{clip(step["text"])}"' if step else f"ends with {final}, wrong"),), 2


def _ukp(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    if is_good:
        return ("makes the more convincing case", "argues better"), 8
    return ("is less convincing", "argues worse"), 3


def _hh(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    return (("is the safer reply",), 8) if is_good else (("is more harmful or unkind",), 3)


def _finegrained(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    if is_good:
        return ("is more accurate and complete",), 8
    errors = [error for error in evidence.get("errors", ()) if error.get("text")]
    if errors:
        kind = str(errors[0]["type"]).lower()
        return (f'has a flaw ({kind}): "{clip(errors[0]["text"])}"',), 3
    return ("is less accurate or misses more",), 3


def _halueval(example: Example, i: int, evidence: Mapping[str, Any], is_good: bool) -> Said:
    if is_good:
        return ("makes nothing up", "claims nothing unfounded"), 9
    spans = [str(span) for span in evidence.get("spans", ()) if str(span).strip()]
    return ((f'makes up "{clip(spans[0])}"' if spans else "has unfounded claims"),), 2


_WRITERS = {
    "truthfulqa": _truthfulqa,
    "evouna": _evouna,
    "gsm8k": _gsm8k,
    "ukp": _ukp,
    "hh": _hh,
    "finegrained": _finegrained,
    "halueval": _halueval,
}


def clip(text: str) -> str:
    """A quotation of at most CLIP characters on one line, ended at a word, without markers."""
    flat = re.sub(r'["\\\[\]{}]', "", " ".join(text.split()))
    return flat if len(flat) <= CLIP else flat[:CLIP].rsplit(" ", 1)[0]
