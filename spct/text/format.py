"""Formats: what a paradigm asks of text - a template, the number of scores, their scale.

A template is a text file with slots in double braces. It is filled in one pass, so nothing that a
slot holds can open another slot, and what it holds is neutralised first (neutralise.py). The
structure and the output markers are the paper's (sections 2.1 to 2.5 of its Appendix G as described
in docs/formats.md), the wording is ours; `load_format` takes the wording that a checkpoint was
trained on. Not stated in the paper, so ours: a reference answer is a section of its own before the
responses, the hint is the last line, turns of a conversation are labelled "User:", "Assistant:".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from spct.errors import FormatError
from spct.text.parse import BINARY, TEN, Parse, Scale, read_reply
from spct.text.released import read_released
from spct.text.slots import harmless, hint_line, listed, marked
from spct.text.template import check_slots, filled, shipped_template, template_in
from spct.text.tokenprob import distributions, expectation
from spct.types import Completion, Example, Judgement, Message, Prompt, Unscored


@dataclass(frozen=True, slots=True)
class Format:
    """A template with what its verdict must be.

    `pattern` "pointwise" wants one score a response on `scale`; "pairwise" wants the number of the
    best response. A template with the slot `response` (no index) takes single responses only.
    "met" shows each response by itself with at most `chunk` of the example's criteria, and wants
    one number for each of these (cells.py).
    """

    name: str
    template: str
    pattern: Literal["pointwise", "pairwise", "met"] = "pointwise"
    scale: Scale = TEN
    chunk: int = 10

    def __post_init__(self) -> None:
        check_slots(self.name, self.template, self.pattern)

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the template: equal fingerprints render equal prompts."""
        digest = hashlib.sha256(self.template.encode()).hexdigest()[:12]
        return f"{self.name}-{digest}"

    def n_scores(self, n: int) -> int:
        """How many numbers the verdict holds for `n` responses."""
        return 1 if self.pattern == "pairwise" else n

    def verdict_scale(self, n: int) -> Scale:
        """What each number of the verdict may be for `n` responses."""
        return Scale(1, n, whole=True) if self.pattern == "pairwise" else self.scale

    @property
    def score_scale(self) -> Scale:
        """What a judgement's scores may be: those of a pairwise judgement are 1 and 0."""
        return BINARY if self.pattern == "pairwise" else self.scale

    @property
    def sizes(self) -> tuple[int, int | None]:
        """The fewest and the most responses that it shows at once; None for any number."""
        if "{{response}}" in self.template:
            return 1, None if self.pattern == "met" else 1
        return (2, None) if self.pattern == "pairwise" else (1, None)

    @property
    def shows_reference(self) -> bool:
        """Whether the template has a place for a known good answer."""
        return "{{reference}}" in self.template

    @property
    def shows_criteria(self) -> bool:
        """Whether it holds responses to the example's list of criteria."""
        return "{{criteria}}" in self.template or "{{criterion}}" in self.template

    @property
    def asks_one(self) -> bool:
        """Whether each call asks about one criterion, whose answer is a probability."""
        return "{{criterion}}" in self.template

    def check(self, example: Example) -> None:
        """Raise `FormatError` if this format cannot show this example."""
        if not example.responses:
            raise FormatError(
                f"example {example.id!r} has no responses; a judge needs at least one"
            )
        if self.pattern == "pairwise" and example.n < 2:
            raise FormatError(
                f"example {example.id!r} has one response; format {self.name!r} chooses the best "
                "of several: use a pointwise format for single responses"
            )
        if "{{response}}" in self.template and example.n != 1 and self.pattern != "met":
            raise FormatError(
                f"example {example.id!r} has {example.n} responses; format {self.name!r} takes one"
            )
        if example.reference is not None and not self.shows_reference:
            raise FormatError(
                f"example {example.id!r} has a reference, but the template of format "
                f"{self.name!r} has no slot {{{{reference}}}} to show it in"
            )
        if self.shows_criteria and example.criteria is None:
            raise FormatError(
                f"example {example.id!r} has no criteria, which format {self.name!r} judges by: "
                "give it some, or --criteria FILE, or --criteria write"
            )

    def render(
        self,
        example: Example,
        order: tuple[int, ...],
        hint: int | None = None,
        criteria: tuple[int, ...] = (),
    ) -> Prompt:
        """Fill the template; `order[shown] = original`, `hint` is the original best response."""
        self.check(example)
        if sorted(order) != list(range(example.n)) and self.pattern != "met":
            raise FormatError(f"order {order} is not a permutation of {example.n} responses")
        n_scores = len(criteria) if self.pattern == "met" else self.n_scores(example.n)
        turns, responses, reference = harmless(example.query, example.responses, example.reference)
        slots = {
            "conversation": "\n\n".join(turns),
            "reference": reference,
            "responses": "\n".join(marked(str(i), responses[j]) for i, j in enumerate(order, 1)),
            "response": marked("", responses[order[0]]),
            "score_slots": ", ".join("x" * n_scores),
            "criteria": listed(example.criteria, criteria),
            "criterion": listed(example.criteria, criteria[:1]).removeprefix("1. "),
            "hint": "" if hint is None else self._hint(example, order, hint),
        }
        text = filled(self.template, slots)
        return Prompt(example.id, (Message("user", text),), order, hint, criteria)

    def _hint(self, example: Example, order: tuple[int, ...], hint: int) -> str:
        if example.n < 2 or "{{hint}}" not in self.template:
            raise FormatError(
                f"example {example.id!r}: a hint names the best of several responses and needs "
                f"the slot {{{{hint}}}} (n = {example.n}, format {self.name!r})"
            )
        return hint_line(order.index(hint) + 1, example.meta.get("preference_strength"))

    def read(
        self, completion: Completion, order: tuple[int, ...], *, parse: Parse = "strict"
    ) -> Judgement | Unscored:
        """Turn a reply into a judgement in the original order, or into the reason why not."""
        n, scale = len(order), self.verdict_scale(len(order))
        # The released sample code reads a verdict wherever a reply was cut.
        is_cut = completion.finish_reason == "length" and parse == "released"
        if completion.finish_reason != "stop" and not is_cut:
            return unfinished(completion)
        if parse == "released":
            reading = read_released(completion.text, self.n_scores(n), scale)
        else:
            is_lenient = parse == "lenient"
            reading = read_reply(completion.text, self.n_scores(n), scale, lenient=is_lenient)
        if isinstance(reading, Unscored):
            return reading
        tokens = (
            distributions(completion, reading.group.spans, scale) if completion.logprobs else None
        )
        expected: tuple[float, ...] | None = None
        if self.pattern == "pairwise":
            winner = int(reading.group.scores[0])
            shown = tuple(float(i == winner) for i in range(1, n + 1))
            if tokens is not None:
                expected = tuple(tokens[0].get(i, 0.0) for i in range(1, n + 1))
        else:
            shown = reading.group.scores
            if tokens is not None:
                expected = tuple(map(expectation, tokens))
        return Judgement(
            reading.principles,
            reading.critique,
            to_original(shown, order),
            None if expected is None else to_original(expected, order),
        )


def to_original(shown: tuple[float, ...], order: tuple[int, ...]) -> tuple[float, ...]:
    """Bring one number a response from the order shown to the original order."""
    return tuple(value for _, value in sorted(zip(order, shown, strict=True)))


def unfinished(completion: Completion) -> Unscored:
    """Why a reply that did not end by itself is not read."""
    match completion.finish_reason:
        case "length":
            return Unscored("truncated", f"after {completion.usage.completion_tokens} tokens")
        case "content_filter":
            return Unscored("refused", completion.text[:200])
        case _:
            return Unscored("failed", completion.error or "the engine gave no reason")


POINTWISE = Format("pointwise", shipped_template("pointwise"))
NO_PRINCIPLES = Format("pointwise_no_principles", shipped_template("pointwise_no_principles"))
SINGLE = Format("single", shipped_template("single"), scale=BINARY)
PAIRWISE = Format("pairwise", shipped_template("pairwise"), pattern="pairwise")
BY_CRITERIA = Format("pointwise_criteria", shipped_template("pointwise_criteria"))
MET = Format("met", shipped_template("met"), pattern="met")
MET_ONE = Format("met_one", shipped_template("met_one"), pattern="met", chunk=1)
_ALL = (POINTWISE, NO_PRINCIPLES, SINGLE, PAIRWISE, BY_CRITERIA, MET, MET_ONE)
FORMATS: Mapping[str, Format] = {f.name: f for f in _ALL}


def load_format(path: Path, like: Format = POINTWISE) -> Format:
    """A format with the template of a file and the verdict of `like`."""
    return replace(like, name=path.stem, template=template_in(path))
