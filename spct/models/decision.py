"""The decision model: probabilities of options as rewards, one forward a question, no text.

Four ways to ask:

- score (pointwise): levels from worst to best for each response; the expected level is the reward.
- yes_no (pointwise): "is this a good response?" for each; the probability of yes is the reward.
- choice: which of the responses is best, shown in `n_orders` orders; the reward is the mean
  probability of being chosen. Both orders for a pair: option order is a known bias.
- yes_no_each: n yes/no questions on one state that shows all responses; the state is read once.

The state is a template filled as a judge's prompt is, with every slot neutralised. A question that
was not answered leaves the example unscored. Temperatures are those of a calibration split.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

from spct.core.plan import order_of
from spct.core.recipe import settings_of
from spct.core.settle import settle
from spct.engines.readouts.decision import Answer, Kind, Question, decided
from spct.errors import ConfigError, FormatError
from spct.models.reading import ReadingModel, reading
from spct.protocols import Traits
from spct.text.format import Format
from spct.text.parse import Scale
from spct.text.template import shipped, shipped_template
from spct.types import (
    JSON,
    Example,
    Judgement,
    Message,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.vote import mean_scores

Ask = Literal["score", "yes_no", "choice", "yes_no_each"]
_KIND: Mapping[Ask, Kind] = {
    "score": "score",
    "yes_no": "yes_no",
    "choice": "choice",
    "yes_no_each": "yes_no",
}


ONE_STATE = Format("decision_answer", shipped_template("decision_answer"))
ALL_STATE = Format("decision_answers", shipped_template("decision_answers"))


@dataclass(frozen=True, slots=True)
class Asking:
    """A way to ask, its wording, and the state that shows the responses."""

    ask: Ask
    question: Question
    state: Format

    @property
    def is_pointwise(self) -> bool:
        """Whether each response has a state of its own."""
        return self.ask in ("score", "yes_no")

    @property
    def scale(self) -> Scale:
        """What a reward may be."""
        return Scale(0, len(self.question.options) - 1) if self.ask == "score" else Scale(0, 1)


def asking(ask: Ask, questions: Path | None = None, state: Path | None = None) -> Asking:
    """A way to ask with our wording, or with that of the user's files."""
    text = shipped("decision_questions.toml")
    try:
        if questions is not None:
            text = questions.read_text("utf-8")
        entry: Mapping[str, Any] = tomllib.loads(text)[_KIND[ask]]
        options = {} if _KIND[ask] == "yes_no" else {"options": tuple(entry.get("options", ("-",)))}
        texts = tuple(entry.get("texts", ()))
        question = Question(ask, _KIND[ask], str(entry["instructions"]), **options, texts=texts)
    except KeyError as error:
        raise ConfigError(
            f"the questions file {questions}: no {error} for {_KIND[ask]!r} questions"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the questions file {questions}: {error}") from error
    shown = ONE_STATE if ask in ("score", "yes_no") else ALL_STATE
    if state is not None:
        shown = Format(state.stem, state.read_text("utf-8").rstrip("\n"))
    return Asking(ask, question, shown)


@dataclass(frozen=True, eq=False)
class DecisionRM(ReadingModel):
    """Rewards are probabilities that a reader gives to options. Frozen; `with_` changes a copy."""

    asking: Asking
    _: KW_ONLY
    n_orders: int = 2
    seed: int = 0

    @property
    def traits(self) -> Traits:
        """Any number of responses one by one; several where it chooses among them."""
        scale = self.asking.scale
        return Traits(
            min_responses=1 if self.asking.is_pointwise else 2,
            scale=(scale.low, scale.high),
            settings=settings_of(self),
            answers="itself",
        )

    @property
    def fingerprint(self) -> str:
        """Reader, model and wording."""
        return f"{self.reader.fingerprint}/{self.asking.ask}-{self.asking.state.fingerprint}"

    def identity(self) -> Mapping[str, JSON]:
        """All that the rewards depend on."""
        return {
            "model": self.fingerprint,
            "question": self.asking.question.instructions,
            "options": list(self.asking.question.options),
            "temperatures": {str(kind): t for kind, t in self.temperatures.items()},
            "n_orders": self.n_orders,
            "seed": self.seed,
        }

    async def judge(self, example: Example) -> Verdict:
        """Ask about one example; what is not answered is unscored with its reason."""
        if not self.traits.takes(example.n):  # a choice among one is certain and says nothing
            raise FormatError(
                f"example {example.id!r} has {example.n} responses; ask = {self.asking.ask!r} "
                "chooses among several: use ask = 'score' or 'yes_no' for single responses"
            )
        if self.asking.is_pointwise:
            trajectories = [await self._one_by_one(example)]
        else:
            orders = [order_of(example, i, "balanced", self.seed) for i in range(self.n_orders)]
            trajectories = list(
                await asyncio.gather(
                    *(self._together(example, i, order) for i, order in enumerate(orders))
                )
            )
        return settle(example.id, trajectories, mean_scores, len(trajectories))

    async def _one_by_one(self, example: Example) -> Trajectory:
        """One state per response."""
        question = self.asking.question
        singles = [
            Example(example.id, example.query, (text,), reference=example.reference)
            for text in example.responses
        ]
        states = [self.asking.state.render(one, (0,)).messages[0].content for one in singles]
        found = await asyncio.gather(*(self.reader.answer(s, [question]) for s in states))
        answers = [self.tempered(one.answers[0], question.kind) for one in found]
        usage = sum((one.usage for one in found), Usage())
        prompt = Prompt(
            example.id,
            tuple(Message("user", state) for state in states),
            tuple(range(example.n)),
        )
        reward = _expected if self.asking.ask == "score" else _first
        return self._trajectory(prompt, 0, [question] * example.n, answers, usage, reward)

    async def _together(self, example: Example, index: int, order: tuple[int, ...]) -> Trajectory:
        """One state that shows all responses in this order."""
        prompt = self.asking.state.render(example, order)
        names = tuple(f"Response {i + 1}" for i in range(example.n))
        asked, ask = self.asking.question, self.asking.ask
        if ask == "choice":
            questions = [Question("best", "choice", asked.instructions, names)]
        else:
            questions = [
                Question(name, "yes_no", f"{name}: {asked.instructions}", texts=asked.texts)
                for name in names
            ]
        found = await self.reader.answer(prompt.messages[0].content, questions)
        asked_each = zip(found.answers, questions, strict=True)
        answers = [self.tempered(a, q.kind) for a, q in asked_each]
        if ask == "yes_no_each" or isinstance(answers[0], Unscored):
            return self._trajectory(prompt, index, questions, answers, found.usage, _first)
        shown = answers[0].probabilities
        scores = tuple(shown[order.index(i)] for i in range(example.n))
        return self._scored(prompt, index, scores, questions, [answers[0]], found.usage)

    def _trajectory(
        self,
        prompt: Prompt,
        index: int,
        questions: Sequence[Question],
        answers: Sequence[Answer | Unscored],
        usage: Usage,
        reward: Any,
    ) -> Trajectory:
        """Scores from one answer per response, in the order shown; unscored if one is missing."""
        known: list[Answer] = []
        for question, answer in zip(questions, answers, strict=True):
            if isinstance(answer, Unscored):
                why = f"{question.name}: {answer.detail}" if answer.detail else question.name
                return self._read(prompt, index, Unscored(answer.reason, why), usage)
            known.append(answer)
        shown = [reward(answer) for answer in known]
        scores = tuple(shown[prompt.order.index(i)] for i in range(len(prompt.order)))
        return self._scored(prompt, index, scores, questions, known, usage)

    def _scored(
        self,
        prompt: Prompt,
        index: int,
        scores: tuple[float, ...],
        questions: Sequence[Question],
        answers: Sequence[Answer],
        usage: Usage,
    ) -> Trajectory:
        said = tuple(decided(q, a) for q, a in zip(questions, answers, strict=True))
        return self._read(prompt, index, Judgement((), "", scores, decisions=said), usage)

    def _read(
        self, prompt: Prompt, index: int, outcome: Judgement | Unscored, usage: Usage
    ) -> Trajectory:
        return reading(prompt, index, outcome, usage, self.fingerprint)


def _expected(answer: Answer) -> float:
    return answer.expected


def _first(answer: Answer) -> float:
    return answer.probabilities[0]
