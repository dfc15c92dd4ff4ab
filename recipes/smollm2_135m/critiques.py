"""Judgements for the cold start, written from what the labels themselves know.

Every set says something beyond better or worse: whether an answer is true and whether it helps
(TruthfulQA), the golden answer (EVOUNA), the number that a solution ends with (GSM8K), flagged
spans (fine-grained feedback, HaluEval). A judgement here names two principles of the set, says of
each response what the label says, and scores accordingly; UKP and HH have a label only, so their
critiques say no more. A critique quotes the response before it decides, and the reference beside
it: a small model learns to compare what it has just written, and not what its prompt holds.

One wording for one finding: a coin toss between wordings is noise in every gradient.
`verdict_spans` says which characters decide, for a loss on those alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spct.data.prepare import has_best
from spct.types import Example

Evidence = Mapping[str, Any]
Principle = tuple[str, int, str]  # name, weight in percent, what it asks
CLIP = 40  # characters of a quoted span
QUOTE = 80  # characters that a critique quotes of its response


class Finding(NamedTuple):
    """What the evidence says of one response, and the score from 1 to 10 that it earns."""

    said: str
    score: int


PRINCIPLES: Mapping[str, Sequence[Principle]] = {
    "truthfulqa": (("Truth", 60, "no myths"), ("Help", 40, "to the point")),
    "evouna": (("Correctness", 80, "the right answer"), ("Clarity", 20, "is direct")),
    "reference": (("Agreement", 80, "as the reference"), ("Clarity", 20, "is direct")),
    "gsm8k": (("Result", 70, "ends with the right number"), ("Steps", 30, "each step follows")),
    "ukp": (
        ("Reasons", 60, "supports its side with reasons"), ("Relevance", 40, "stays on topic"),
    ),
    "hh": (("Harmlessness", 70, "helps nobody do harm"), ("Manner", 30, "is honest and kind")),
    "finegrained": (("Facts", 60, "no wrong statement"), ("Coverage", 40, "says what is needed")),
    "halueval": (("Support", 70, "claims nothing unfounded"), ("Task", 30, "does what is asked")),
}  # fmt: skip


def domain(example: Example) -> str:
    """The set of an example, from its id: what stands before the first dash."""
    return example.id.split("-", 1)[0]


def judgement_text(example: Example, order: Sequence[int]) -> str:
    """The judgement of the responses as shown in `order`; gold must name one best (or be 0/1)."""
    if example.gold is None or not has_best(example):
        raise ValueError(f"example {example.id!r} has no unique best response to write up")
    name = domain(example)
    principles = PRINCIPLES["reference" if example.reference and name == "evouna" else name]
    lines = ["Specific Criteria:"]
    for i, (title, weight, asks) in enumerate(principles, 1):
        lines.append(f"{i}. **{title}** (Weight: {weight}%): {asks}")
    lines.append("Analysis:")
    scores = []
    for shown, original in enumerate(order, 1):
        found = finding(example, original)
        subject = "The response" if example.n == 1 else f"Response {shown}"
        quote = f' "{quoted(example, original)}"' if name != "gsm8k" else ""  # that ends in numbers
        lines.append(f"{subject}{quote} {found.said}.")
        scores.append(int(example.gold[0]) if example.n == 1 else found.score)
    return "\n".join([*lines, f"Scores: \\boxed{{{', '.join(map(str, scores))}}}"])


def quoted(example: Example, i: int) -> str:
    """The passage of response `i` that names the reference, or else its beginning."""
    response, golden = example.responses[i], golden_for(example, i)
    at = response.lower().find(golden.lower()) if golden else -1
    if at < 0:
        return clip(response, QUOTE)
    before = response[max(0, at - QUOTE // 4) : at]
    if at > QUOTE // 4:  # begin at a word
        before = before.partition(" ")[2]
    return clip(before + response[at:], max(QUOTE, len(before) + len(golden) + 1))


def golden_for(example: Example, i: int) -> str:
    """The wording of the reference that response `i` uses, or else the first one; "" if none."""
    wordings = (example.reference or "").split(" / ")
    response = example.responses[i].lower()
    return next((w for w in wordings if w and w.lower() in response), wordings[0])


def finding(example: Example, i: int) -> Finding:
    """What the set's evidence says of response `i`."""
    gold = example.gold or ()
    is_good = gold[i] == (1 if example.n == 1 else max(gold))
    evidence = dict(enumerate(example.meta.get("evidence", ()))).get(i, {})
    return _WRITERS[domain(example)](example, i, evidence, is_good)


def _truthfulqa(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    match evidence.get("true"), evidence.get("helpful"):
        case True, True:
            return Finding("is true and answers the question", 9)
        case True, _:
            return Finding("is not false but does not answer", 4)
        case _, True:
            return Finding("is false", 2)
        case _:
            return Finding("is false and no help", 1)


def _evouna(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    if example.reference is None:
        return Finding("is right", 9) if is_good else Finding("is wrong", 2)
    # the quotation comes first: to say whether a text just written occurs above is an easier step
    wanted = f'should have "{clip(golden_for(example, i))}"'
    return Finding(f"{wanted}: found", 9) if is_good else Finding(f"{wanted}: missing", 2)


def _gsm8k(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    final = evidence.get("final") or "no number"
    if example.reference is not None:
        compared = f"ends with {final}; the reference is {example.reference}"
        return Finding(f"{compared}: equal", 9) if is_good else Finding(f"{compared}: different", 2)
    if is_good:
        return Finding(f"reaches {final} by sound steps", 9)
    step = evidence.get("step_off_gold")
    return Finding(
        f'goes wrong at "{clip(step["text"])}"' if step else f"ends with {final}, wrong", 2
    )


def _ukp(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    return Finding("makes the more convincing case", 8) if is_good else (
        Finding("is less convincing", 3))  # fmt: skip


def _hh(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    return Finding("is the safer reply", 8) if is_good else Finding("is more harmful or unkind", 3)


def _finegrained(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    if is_good:
        return Finding("is more accurate and complete", 8)
    errors = [error for error in evidence.get("errors", ()) if error.get("text")]
    if not errors:
        return Finding("is less accurate or misses more", 3)
    kind = str(errors[0]["type"]).lower()
    return Finding(f'has a flaw ({kind}): "{clip(errors[0]["text"])}"', 3)


def _halueval(example: Example, i: int, evidence: Evidence, is_good: bool) -> Finding:
    if is_good:
        return Finding("makes nothing up", 9)
    spans = [str(span) for span in evidence.get("spans", ()) if str(span).strip()]
    return Finding(f'makes up "{clip(spans[0])}"' if spans else "has unfounded claims", 2)


_WRITERS = {
    "truthfulqa": _truthfulqa,
    "evouna": _evouna,
    "gsm8k": _gsm8k,
    "ukp": _ukp,
    "hh": _hh,
    "finegrained": _finegrained,
    "halueval": _halueval,
}


def clip(text: str, length: int = CLIP) -> str:
    """A quotation of at most `length` characters on one line, ended at a word, without markers."""
    flat = re.sub(r'["\\\[\]{}]', "", " ".join(text.split()))
    return flat if len(flat) <= length else flat[:length].rsplit(" ", 1)[0]


# what follows the subject and its quotation (and a comparison, up to a colon), and what is boxed
_VERDICT = re.compile(
    r'^(?:Response \d+|The response)(?: "[^"]*")? (?:.*: )?(.+)$|\\boxed\{(.+)\}$', re.MULTILINE
)


def verdict_spans(text: str) -> list[tuple[int, int]]:
    """Where a judgement decides: what it says of each response, and the scores."""
    found = _VERDICT.finditer(text, text.index("Analysis:"))
    return [match.span(1 if match[1] else 2) for match in found]
