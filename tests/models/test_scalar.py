from dataclasses import replace

import pytest

from spct.errors import ContextOverflow, DataError, FormatError, TemplateRefused
from spct.models.scalar import PointwiseScalarRM
from spct.types import Example, Message
from tests.models.scorers import Conversation, FunctionScorer
from tests.models.tiny import toy_example


def length(conversation: Conversation) -> float:
    return float(len(conversation[-1].content))


EXAMPLE = Example("e", (Message("user", "q"),), ("abc", "a", "ab"))


async def test_rewards_are_the_logits_in_the_order_of_the_responses() -> None:
    verdict = await PointwiseScalarRM(FunctionScorer(length)).judge(EXAMPLE)
    assert verdict.rewards == (3.0, 1.0, 2.0)
    assert verdict.winner == 0
    assert (verdict.k_asked, verdict.k_drawn, verdict.k_counted) == (1, 1, 1)
    assert verdict.usage.calls == 3


async def test_a_response_is_scored_without_sight_of_the_others() -> None:
    model = PointwiseScalarRM(FunctionScorer(length))
    alone = await model.judge(replace(EXAMPLE, responses=("ab",)))
    assert alone.rewards == (2.0,)
    assert alone.winner is None


async def test_equal_logits_are_a_tie_not_a_win_of_the_first() -> None:
    verdict = await PointwiseScalarRM(FunctionScorer(lambda _: 1.0)).judge(EXAMPLE)
    assert verdict.best == (0, 1, 2)
    assert verdict.winner is None


async def test_the_scorer_reads_the_query_then_the_response() -> None:
    scorer = FunctionScorer(length)
    await PointwiseScalarRM(scorer).judge(EXAMPLE)
    assert scorer.seen[1] == (Message("user", "q"), Message("assistant", "a"))


async def test_a_context_overflow_is_a_counted_skip_and_no_score() -> None:
    def overflow(_: Conversation) -> float:
        raise ContextOverflow("900 tokens: the model takes 512")

    verdict = await PointwiseScalarRM(FunctionScorer(overflow)).judge(EXAMPLE)
    assert verdict.rewards is None
    assert verdict.unscored == {"failed": 1}
    assert verdict.k_counted == 0


async def test_no_responses_and_an_unshowable_reference_are_errors() -> None:
    model = PointwiseScalarRM(FunctionScorer(length))
    with pytest.raises(DataError, match="no responses"):
        await model.judge(replace(EXAMPLE, responses=()))
    with pytest.raises(FormatError, match="reference"):
        await model.judge(replace(EXAMPLE, reference="42"))


async def test_judge_many_yields_every_example_once() -> None:
    model = PointwiseScalarRM(FunctionScorer(length))
    verdicts = [v async for v in model.judge_many(toy_example(i) for i in range(20))]
    assert sorted(v.example_id for v in verdicts) == sorted(f"toy-{i}" for i in range(20))


async def test_a_template_that_refuses_one_example_leaves_the_others() -> None:
    def refusing(conversation: Conversation) -> float:
        if conversation[0].content == "bad":
            raise TemplateRefused("System role not supported")
        return length(conversation)

    examples = [Example(q, (Message("user", q),), ("a", "bb")) for q in ("one", "bad", "two")]
    model = PointwiseScalarRM(FunctionScorer(refusing))
    verdicts = {v.example_id: v async for v in model.judge_many(examples)}
    assert [verdicts[q].rewards for q in ("one", "two")] == [(1.0, 2.0), (1.0, 2.0)]
    assert verdicts["bad"].rewards is None and verdicts["bad"].unscored == {"failed": 1}
