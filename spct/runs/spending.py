"""Judging within one budget: the loop of judging.py, once for each step of votes/budget.py.

Nothing beside the verdicts is stored. A run that goes on takes its steps again from the first; the
replies come from the store, so they cost nothing and lead to where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spct.errors import ConfigError
from spct.protocols import RewardModel
from spct.runs.judging import Put, Tally, judge_into
from spct.text.parse import Scale
from spct.types import Example, Verdict
from spct.votes.budget import Budget, Item, Spending
from spct.votes.vote import vote_named


def spending_of(model: RewardModel, budget: Budget) -> Spending:
    """The spending of a model's judgements; its own k is the most for one example."""
    identity, scale = model.identity(), model.traits.scale
    if not model.traits.gains_from_samples or scale is None:
        raise ConfigError(
            "--budget: this model writes one judgement for each example, more would be the same; "
            "leave the budget out"
        )
    if identity["stopping"] is not None:
        raise ConfigError(
            f"--budget decides how much is drawn for each example, and so does the stopping rule "
            f"{identity['stopping']}; leave one of them out (--stop never)"
        )
    k, longest = identity["k"], identity["max_tokens"]
    assert isinstance(k, int) and isinstance(longest, int)
    return Spending(budget, k, vote_named(str(identity["vote"])), Scale(*scale), longest)


def item_of(example: Example) -> Item:
    """What a budget needs to know of an example."""
    texts = [*example.responses, *(turn.content for turn in example.query)]
    return Item(example.id, example.n, sum(map(len, texts)))


async def judge_within(
    spending: Spending,
    model: RewardModel,
    examples: Sequence[Example],
    *,
    put: Put[Verdict],
    tally: Tally,
    gate: Callable[[Iterable[Example]], Iterable[Example]] = iter,
) -> None:
    """Judge until the budget is spent; `tally` counts each example's newest verdict.

    `gate` may let fewer examples through, as at a signal: the step is the last one then.
    """
    ids = {example.id for example in examples}

    def seen(example: Example, verdict: Verdict) -> None:
        tally.add(verdict, instead_of=spending.add(verdict))

    for step in spending.steps([item_of(example) for example in examples]):
        done = await judge_into(
            _UpTo(model, step),
            gate(examples),
            put=put,
            finished=ids - step.keys(),
            on_verdict=seen,
        )
        if done.examples < len(step):
            return


@dataclass(frozen=True)
class _UpTo:
    """A model that draws for each example up to its own number of judgements."""

    model: RewardModel
    k: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def concurrency(self) -> int:
        return self.model.concurrency

    async def judge(self, example: Example) -> Verdict:
        return await self.model.with_(k=self.k[example.id]).judge(example)
