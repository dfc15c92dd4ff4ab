"""Criteria as questions to a decision model: one state a response, one question a criterion.

What the format `met_one` asks of a language model, asked of a reader: the state shows query and
response and is read once, each criterion is a yes-or-no question on it (a graded one a question
with its levels), and nothing is written. The probability of yes is p of the cell; totals, gates and
the flat rows are those of every judge by criteria (spct/votes/criteria.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from spct.core.cells import joined
from spct.core.recipe import settings_of
from spct.core.settle import settle
from spct.engines.readouts.decision import Question
from spct.errors import FormatError
from spct.models.decision import ONE_STATE
from spct.models.reading import ReadingModel
from spct.protocols import Traits
from spct.text.format import Format
from spct.types import (
    JSON,
    Checked,
    Completion,
    Criteria,
    Criterion,
    Example,
    Part,
    Prompt,
    Trajectory,
    Unscored,
    Verdict,
)
from spct.votes.criteria import weighted

ASKED = "Is this true of the response: {}"  # what all questions need is in the state, read once
LEVEL = "How far is this true of the response: {}"
STATE = Format(
    "decision_criteria",
    "The questions are about the response below. Be strict: what is only hinted at is not there. "
    f"Whether it is good or bad that something is true does not matter.\n\n{ONE_STATE.template}",
)


@dataclass(frozen=True, eq=False)
class DecidedCriteriaRM(ReadingModel):
    """Holds every response to its example's criteria by a reader's probabilities. Frozen.

    `asked` is the instruction of a yes-or-no question, with {} for the criterion's text.
    """

    state: Format = STATE
    _: KW_ONLY
    asked: str = ASKED

    @property
    def traits(self) -> Traits:
        """Any number of responses, by criteria alone; totals have no bounds of their own."""
        return Traits(settings=settings_of(self), answers="itself", takes_criteria=True)

    @property
    def fingerprint(self) -> str:
        """Reader, model and the state's wording."""
        return f"{self.reader.fingerprint}/criteria-{self.state.fingerprint}"

    def identity(self) -> Mapping[str, JSON]:
        """All that the totals depend on."""
        return {
            "model": self.fingerprint,
            "question": self.asked,
            "temperatures": {str(kind): t for kind, t in self.temperatures.items()},
            "aggregate": weighted.name,
            "chunk": 1,
        }

    async def judge(self, example: Example) -> Verdict:
        """Ask about every response; a criterion without an answer leaves its response unscored."""
        criteria = example.criteria
        if criteria is None:
            raise FormatError(
                f"example {example.id!r} has no criteria, which this decision model judges by "
                '(ask = "criteria"): give it some'
            )
        shown = range(example.n)
        parts = await asyncio.gather(*(self._part(example, criteria, i) for i in shown))
        whole = joined(0, parts, example.n, criteria, weighted, self.fingerprint)
        return settle(example.id, [whole], weighted, 1)

    def settle(self, example_id: str, trajectories: Sequence[Trajectory], k: int) -> Verdict:
        """Totals over what is stored."""
        return settle(example_id, trajectories, weighted, k)

    async def _part(self, example: Example, criteria: Criteria, i: int) -> Part:
        one = Example(
            example.id, example.query, (example.responses[i],), reference=example.reference
        )
        messages = self.state.render(one, (0,)).messages
        questions = [self._question(n, c) for n, c in enumerate(criteria.items, 1)]
        found = await self.reader.answer(messages[0].content, questions)
        outcome: Checked | Unscored
        met: list[float] = []
        for question, answer, item in zip(questions, found.answers, criteria.items, strict=True):
            read = self.tempered(answer, question.kind)
            if isinstance(read, Unscored):
                outcome = Unscored(read.reason, f"{item.name!r}: {read.detail}".rstrip(": "))
                break
            met.append(read.probabilities[0] if item.top == 1 else read.expected / item.top)
        else:
            outcome = Checked(tuple(met))
        prompt = Prompt(example.id, messages, (i,), criteria=tuple(range(len(questions))))
        return Part(prompt, Completion("", usage=found.usage), 0, outcome)

    def _question(self, number: int, item: Criterion) -> Question:
        if item.top == 1:
            return Question(f"c{number}", "yes_no", self.asked.replace("{}", item.text))
        return Question(f"c{number}", "score", LEVEL.replace("{}", item.text), item.levels)
