"""What one written judgement is paid in RL, from its text alone: the same for every trainer.

A `Truth` travels with a prompt (a JSON text where a trainer has one field for it): gold in the
examples' own order, the order in which the prompt shows the responses, and how the verdict is
written. `paid` reads a reply with it and asks the outcome rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from spct.errors import DataError
from spct.strict_json import NotStrictJSON, read_json
from spct.text.format import PAIRWISE, POINTWISE, SINGLE, Format
from spct.train.outcome import gold_problem, outcome_reward
from spct.types import Completion, Judgement


@dataclass(frozen=True, slots=True)
class Truth:
    """What a reply to one prompt is held against; `order[shown] = original`."""

    gold: tuple[float, ...]
    order: tuple[int, ...]
    pattern: Literal["pointwise", "pairwise"] = "pointwise"

    def __post_init__(self) -> None:
        problem = gold_problem(self.gold, len(self.order))
        if sorted(self.order) != list(range(len(self.gold))):
            problem = f"order {self.order} is not a permutation"
        if problem or self.pattern not in ("pointwise", "pairwise"):
            raise DataError(
                f"reading what a judgement is paid by: gold {self.gold}: "
                f"{problem or f'pattern {self.pattern!r}'}; write the file with spct data export-rl"
            )

    @property
    def format(self) -> Format:
        """How the verdict is read; the wording of the prompt plays no part in that."""
        if len(self.gold) == 1:
            return SINGLE
        return PAIRWISE if self.pattern == "pairwise" else POINTWISE

    def text(self) -> str:
        """As JSON, for a trainer's field of one text."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Truth:
        """Read what `text` wrote."""
        try:
            found = read_json(text.encode())
            return cls(tuple(found["gold"]), tuple(found["order"]), found["pattern"])
        except (NotStrictJSON, KeyError, TypeError) as error:
            raise DataError(
                f"reading what a judgement is paid by: got {text!r:.200} ({error!r:.99}); expected "
                "the field that spct data export-rl writes"
            ) from error


def scores_of(reply: Completion, order: Sequence[int], fmt: Format) -> tuple[float, ...] | None:
    """The scores of a reply in the original order; None where it has no readable verdict."""
    found = fmt.read(reply, tuple(order))
    return found.scores if isinstance(found, Judgement) else None


def paid(text: str, truth: Truth, format_reward: float = 0.0) -> tuple[float, bool]:
    """The reward of a whole reply, and whether it has a readable verdict.

    +1 where the verdict is correct, -1 where not, and `format_reward` more where it is readable.
    """
    scores = scores_of(Completion(text), truth.order, truth.format)
    extra = 0.0 if scores is None else format_reward
    return outcome_reward(scores, truth.gold) + extra, scores is not None
