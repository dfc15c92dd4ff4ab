"""Typed questions put to any reward model: a probability for every option, whatever the paradigm.

A decision model has probabilities of its own (`decide`). Others judge the options' texts as
responses to "state, then instructions": a scalar model's logits go through a softmax (of a pairwise
model's margins too: summed over n options they are n times its log odds), a voted judge's
probabilities are the shares of its judgements that each option wins, m that tie at the top with 1/m
each. Pure but for `decide`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from spct.core.settle import settle
from spct.engines.readouts.decision import Answer, Answers, Kind, Question, decided, softmax
from spct.errors import DataError
from spct.models.reading import reading
from spct.protocols import RewardModel
from spct.runs.identity import content_id
from spct.types import (
    Example,
    Judgement,
    Message,
    Prompt,
    Reason,
    Unscored,
    Usage,
    Verdict,
)
from spct.votes.ballot import average, winner_rows
from spct.votes.vote import mean_scores

_YES_NO = ("It is true.", "It is false.")
_NOT_SAID: Mapping[Kind, str] = {
    "yes_no": "Is it true?",
    "choice": "Which option fits?",
    "score": "Which level fits?",
}


class Decider(Protocol):
    """A model whose `traits.answers` is "itself"."""

    async def decide(self, state: str, questions: Sequence[Question]) -> Answers:
        """One answer per question about the state, in order."""
        ...


def decider(model: RewardModel) -> Decider | None:
    """The model, if it answers questions itself."""
    return cast(Decider, model) if model.traits.answers == "itself" else None


def text_of(content: object) -> str:
    """A wire's text, or JSON as one line of text; "" for nothing at all."""
    if content is None or content in ({}, []):
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def asked(
    name: str,
    kind: Kind,
    instructions: object,
    options: Sequence[str] = (),
    texts: Sequence[str | None] = (),
) -> Question:
    """A question as wires send it; without instructions the plainest of its kind is asked."""
    said = text_of(instructions).strip() or _NOT_SAID[kind]
    shown = tuple(texts) if any(texts) else ()
    if kind == "yes_no":
        return Question(name, kind, said, texts=shown)
    return Question(name, kind, said, tuple(options), shown)


def example_of(state: str, question: Question) -> Example:
    """What a model without `decide` judges: the options' texts as responses."""
    query = (Message("user", f"{state}\n\n{question.instructions}"),)
    options = _YES_NO if question.kind == "yes_no" else question.options
    texts = question.texts or (None,) * len(options)
    responses = tuple(
        f"{option} {text}" if text and question.kind == "yes_no"
        else f"{option}: {text}" if text else option
        for option, text in zip(options, texts, strict=True)
    )  # fmt: skip
    return Example(content_id(query, responses, None), query, responses)


def check_takes(model: RewardModel, question: Question) -> None:
    """Raise `DataError` where the model cannot judge so many options."""
    traits, n = model.traits, len(question.options)
    if traits.answers != "itself" and not traits.takes(n):
        most = "more" if traits.max_responses is None else str(traits.max_responses)
        raise DataError(
            f"question {question.name!r} has {n} options; the model served judges "
            f"{traits.min_responses} to {most} at once"
        )


def answer_of(verdict: Verdict, model: RewardModel, temperature: float = 1.0) -> Answer | Unscored:
    """The options' probabilities out of a verdict on `example_of` the question.

    `temperature` divides the log odds of a scalar model; a vote has none.
    """
    if verdict.rewards is None:
        reasons = verdict.unscored
        reason: Reason = next(iter(reasons), "failed")
        return Unscored(reason, ", ".join(f"{r} {n}" for r, n in reasons.items()))
    match model.traits.answers:
        case "votes":
            shares = average(winner_rows(verdict.trajectories))
            assert shares is not None  # there are rewards, so a judgement counted
            return Answer(shares)
        case "logits":
            return Answer(softmax(verdict.rewards, temperature))
        case "margins":
            log_odds = [reward / len(verdict.rewards) for reward in verdict.rewards]
            return Answer(softmax(log_odds, temperature))
    raise DataError(f"{model.fingerprint} answers no questions")


def verdict_of(
    state: str, question: Question, answer: Answer | Unscored, usage: Usage, fingerprint: str
) -> tuple[Example, Verdict]:
    """A decision model's answer as a verdict on `example_of` the question, for a log to keep.

    Rewards are the options' probabilities. `fingerprint` is the model's.
    """
    judged = example_of(state, question)
    outcome: Judgement | Unscored
    if isinstance(answer, Unscored):
        outcome = answer
    else:
        said = (decided(question, answer),)
        outcome = Judgement((), "", answer.probabilities, decisions=said)
    prompt = Prompt(judged.id, judged.query, tuple(range(judged.n)))
    only = reading(prompt, 0, outcome, usage, fingerprint)
    return judged, settle(judged.id, [only], mean_scores, 1)
