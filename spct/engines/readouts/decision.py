"""Decisions: a probability for every allowed option, read at one position; no text is written.

The sixth paradigm. A question has a kind: "yes_no" (is it true?), "choice" (one of several) or
"score" (ordered levels, worst first). A reader answers it with the model's next-token probabilities
of the options' labels, renormalised; `option_mass` says how much probability fell on labels at all.
An answer with too little is unscored: the prompt did not fit, and a ratio of crumbs is no opinion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, NamedTuple, Protocol

from spct.errors import ConfigError, DataError
from spct.types import Decided, Unscored, Usage

Kind = Literal["yes_no", "choice", "score"]
MIN_MASS = 0.5  # of the next token on the labels; below, the answer is unscored
MAX_OPTIONS = 255  # what the public wires take
YES_NO = ("yes", "no")
LETTERS = tuple(ascii_uppercase)
DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a state: its kind, what it asks, and the options in order.

    Options of a choice are its labels with what they mean in `texts`; levels of a score run from
    worst to best; a yes/no question has the options yes and no, with what makes them so in `texts`.
    """

    name: str
    kind: Kind
    instructions: str
    options: tuple[str, ...] = YES_NO
    texts: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        n, distinct = len(self.options), len(set(self.options))
        least = 1 if self.kind == "choice" else 2
        if distinct < n:
            raise DataError(f"question {self.name!r}: options must differ, got {self.options!r}")
        if not least <= n <= MAX_OPTIONS:
            raise DataError(
                f"question {self.name!r}: got {n} options, expected {least} to {MAX_OPTIONS}"
            )
        if self.texts and len(self.texts) != n:
            raise DataError(f"question {self.name!r}: {len(self.texts)} texts for {n} options")


@dataclass(frozen=True, slots=True)
class Answer:
    """The options' probabilities in the question's order; `option_mass` where it is known."""

    probabilities: tuple[float, ...]
    option_mass: float | None = None

    @property
    def confidence(self) -> float:
        """How peaked the distribution is: 0 for uniform, 1 for all on one option.

        1 - H / ln n, the entropy's share; an answer with one option is certain.
        """
        n = len(self.probabilities)
        if n == 1:
            return 1.0
        entropy = -math.fsum(p * math.log(p) for p in self.probabilities if p > 0)
        return max(0.0, 1 - entropy / math.log(n))

    @property
    def top(self) -> int:
        """The likeliest option; the first of several."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def expected(self) -> float:
        """The expected option number from 0: what a score question's answer comes to."""
        return math.fsum(i * p for i, p in enumerate(self.probabilities))


def decided(question: Question, answer: Answer) -> Decided:
    """An answer as a judgement keeps it."""
    return Decided(
        question.name,
        question.options,
        answer.probabilities,
        answer.confidence,
        answer.option_mass,
    )


def labels_of(question: Question) -> tuple[str, ...]:
    """What the model must say for each option: one token each in common vocabularies."""
    n = len(question.options)
    match question.kind:
        case "yes_no":
            return YES_NO
        case "score" if n <= len(DIGITS):
            return DIGITS[:n]
        case _ if n <= len(LETTERS):
            return LETTERS[:n]
    raise ConfigError(
        f"question {question.name!r} has {n} options; labels of one token go up to "
        f"{len(LETTERS)}: ask an endpoint with /v1/systemone or /v1/decisions, or fewer options"
    )


def read_labels(
    logprobs: Mapping[str, float], labels: Sequence[str], *, min_mass: float = MIN_MASS
) -> Answer | Unscored:
    """The labels' probabilities out of a next-token distribution (token -> log probability).

    Spellings of one label ("A", " A") are added up. A log probability of minus infinity is zero;
    one that is NaN or positive makes the whole answer unscored.
    """
    mass = dict.fromkeys(labels, 0.0)
    for token, logprob in logprobs.items():
        if math.isnan(logprob) or logprob > 1e-6:
            return Unscored("no_probability", f"a log probability of {logprob!r} for {token!r}")
        label = token.strip()
        if label in mass:
            mass[label] += math.exp(min(logprob, 0.0))
    return normalised(tuple(mass.values()), min_mass=min_mass)


def normalised(masses: Sequence[float], *, min_mass: float = MIN_MASS) -> Answer | Unscored:
    """Options' absolute probabilities as an answer; unscored where they are no distribution."""
    total = math.fsum(masses)
    if not all(math.isfinite(m) and m >= 0 for m in masses) or total > 1.02:
        return Unscored("no_probability", f"{list(masses)!r} are not probabilities of options")
    if total < min_mass or total == 0:
        return Unscored(
            "no_probability",
            f"{total:.3f} of the next token's probability is on the options, at least {min_mass:g} "
            "is needed: the model does not answer with a label here",
        )
    return Answer(tuple(m / total for m in masses), min(total, 1.0))


def checked(probabilities: Sequence[float], n: int) -> Answer | Unscored:
    """What an endpoint says the options' probabilities are, held to be a distribution over n."""
    if len(probabilities) != n:
        return Unscored("wrong_count", f"{len(probabilities)} probabilities, expected {n}")
    total = math.fsum(p for p in probabilities if math.isfinite(p))
    if not all(math.isfinite(p) and -1e-9 <= p <= 1 + 1e-6 for p in probabilities):
        return Unscored("not_a_number", f"{list(probabilities)!r} are not all probabilities")
    if abs(total - 1) > 0.02:  # rounding to two digits stays inside
        return Unscored("out_of_range", f"the probabilities add up to {total:.4g}, expected 1")
    return Answer(tuple(max(0.0, p) / total for p in probabilities))


def rotations(n: int, count: int) -> tuple[tuple[int, ...], ...]:
    """The first `count` cyclic orders of n options: `order[shown] = option`."""
    return tuple(tuple((i + r) % n for i in range(n)) for r in range(min(n, count)))


def averaged(
    answers: Sequence[tuple[tuple[int, ...], Answer | Unscored]],
) -> Answer | Unscored:
    """The mean of answers whose options stood in different orders, back in the options' order.

    Option order is a known bias; over all rotations every option stands everywhere once. One order
    that could not be read leaves the question unscored: the rest would be biased by their places.
    """
    columns: list[tuple[float, ...]] = []
    masses: list[float] = []
    for order, answer in answers:
        if isinstance(answer, Unscored):
            return answer
        back = [0.0] * len(order)
        for shown, option in enumerate(order):
            back[option] = answer.probabilities[shown]
        columns.append(tuple(back))
        if answer.option_mass is not None:
            masses.append(answer.option_mass)
    k = len(columns)
    mean = tuple(math.fsum(column) / k for column in zip(*columns, strict=True))
    return Answer(mean, math.fsum(masses) / len(masses) if masses else None)


def tempered(answer: Answer, temperature: float) -> Answer:
    """The answer with its log odds divided by a temperature: above 1 less sure, below 1 surer."""
    if temperature == 1:
        return answer
    logits = [math.log(max(p, 1e-12)) for p in answer.probabilities]
    return Answer(softmax(logits, temperature), answer.option_mass)


def softmax(logits: Sequence[float], temperature: float = 1.0) -> tuple[float, ...]:
    """Probabilities whose log odds are the logits' differences, divided by the temperature."""
    top = max(logits)
    weights = [math.exp((logit - top) / temperature) for logit in logits]
    total = math.fsum(weights)
    return tuple(w / total for w in weights)


class Answers(NamedTuple):
    """One answer per question, in order, and what reading them cost."""

    answers: list[Answer | Unscored]
    usage: Usage = Usage()


class Reader(Protocol):
    """Answers questions about one state; the state is read once where the reader can."""

    @property
    def fingerprint(self) -> str:
        """Names reader, model and wording: what the probabilities come from."""
        ...

    async def open(self) -> None:
        """Find out what the fingerprint needs."""
        ...

    async def answer(self, state: str, questions: Sequence[Question]) -> Answers:
        """Answer all questions about a state; raise `EngineError` if it cannot answer at all."""
        ...

    async def aclose(self) -> None:
        """Release connections, threads and memory. Idempotent."""
        ...
