from dataclasses import replace

import pytest

from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, ContextOverflow
from spct.models.critique import CritiqueScalarRM
from spct.types import Completion, Example, Message, Prompt, SamplingParams, Usage
from tests.models.scorers import Conversation, FunctionScorer

EXAMPLE = Example("e", (Message("user", "q"),), ("abc", "a"))


def praise(prompt: Prompt, seed: int) -> str:
    return "good" if "abc" in prompt.messages[0].content else "bad"


def reads_critique(conversation: Conversation) -> float:
    return {"good": 2.0, "bad": -1.0}.get(conversation[-1].content, 0.0)


async def test_the_reward_is_the_logit_on_the_written_critique() -> None:
    scorer = FunctionScorer(reads_critique)
    verdict = await CritiqueScalarRM(ScriptedEngine(praise), scorer).judge(EXAMPLE)
    assert verdict.rewards == (2.0, -1.0)
    assert scorer.seen[0][-1] == Message("assistant", "good")
    assert "abc" in scorer.seen[0][0].content and "abc" not in scorer.seen[1][0].content


async def test_another_critique_gives_another_reward() -> None:
    scorer = FunctionScorer(reads_critique)
    harsh = CritiqueScalarRM(ScriptedEngine(lambda prompt, seed: "bad"), scorer)
    assert (await harsh.judge(EXAMPLE)).rewards == (-1.0, -1.0)


async def test_k_critiques_are_averaged() -> None:
    calls = iter(["good", "bad", "good", "x"] * 2)
    engine = ScriptedEngine(lambda prompt, seed: next(calls))
    model = CritiqueScalarRM(engine, FunctionScorer(reads_critique), k=4)
    verdict = await model.judge(EXAMPLE)
    assert verdict.rewards == ((2 - 1 + 2 + 0) / 4,) * 2
    assert (verdict.k_asked, verdict.k_drawn, verdict.k_counted) == (4, 4, 4)
    assert engine.n_calls == 2  # one call of k samples a response: the engine shares the prompt
    assert verdict.trajectories[0].judgement.critique == "Response 1: good\n\nResponse 2: good"  # type: ignore[union-attr]


async def test_equal_responses_share_their_critiques() -> None:
    engine = ScriptedEngine(praise)
    model = CritiqueScalarRM(engine, FunctionScorer(reads_critique), k=2)
    verdict = await model.judge(replace(EXAMPLE, responses=("a", "abc", "a")))
    assert verdict.rewards == (-1.0, 2.0, -1.0)
    assert engine.n_calls == 2


async def test_samples_have_seeds_of_their_own() -> None:
    seeds: list[int] = []

    def note(prompt: Prompt, seed: int) -> str:
        seeds.append(seed)
        return "good"

    model = CritiqueScalarRM(ScriptedEngine(note), FunctionScorer(reads_critique), k=3)
    verdict = await model.judge(EXAMPLE)
    assert len(set(seeds)) == 3 and [t.seed for t in verdict.trajectories] == seeds[:3]


async def test_a_cut_or_failed_critique_leaves_its_sample_out_with_the_reason() -> None:
    replies = iter(
        [
            Completion("good"),
            Completion("goo", "length"),
            Completion(""),
            Completion("", "error", error="503"),
            *[Completion("good")] * 4,
        ]
    )
    engine = ScriptedEngine(lambda prompt, seed: next(replies))
    model = CritiqueScalarRM(engine, FunctionScorer(reads_critique), k=4)
    verdict = await model.judge(EXAMPLE)
    assert verdict.rewards == (2.0, 2.0)
    assert verdict.k_counted == 1
    assert verdict.unscored == {"truncated": 1, "empty": 1, "failed": 1}


async def test_without_any_usable_critique_there_is_no_reward_and_no_forward() -> None:
    scorer = FunctionScorer(reads_critique)
    engine = ScriptedEngine(lambda prompt, seed: Completion("", "error", error="down"))
    verdict = await CritiqueScalarRM(engine, scorer, k=2).judge(EXAMPLE)
    assert (verdict.rewards, verdict.k_counted, scorer.seen) == (None, 0, [])


@pytest.mark.parametrize("where", ["engine", "scorer"])
async def test_a_context_overflow_of_engine_or_scorer_is_a_counted_skip(where: str) -> None:
    def overflow(*_: object) -> float:
        raise ContextOverflow("too long")

    class FullEngine(ScriptedEngine):
        async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
            raise ContextOverflow("too long")

    engine = FullEngine() if where == "engine" else ScriptedEngine(praise)
    scorer = FunctionScorer(overflow if where == "scorer" else reads_critique)
    verdict = await CritiqueScalarRM(engine, scorer, k=2).judge(EXAMPLE)
    assert (verdict.rewards, verdict.unscored) == (None, {"failed": 2})


async def test_any_number_of_responses_is_taken() -> None:
    model = CritiqueScalarRM(ScriptedEngine(praise), FunctionScorer(reads_critique))
    for n in (1, 2, 5):
        verdict = await model.judge(replace(EXAMPLE, responses=("abc",) * n))
        assert verdict.rewards == (2.0,) * n


async def test_usage_counts_the_tokens_of_all_critiques() -> None:
    engine = ScriptedEngine(lambda prompt, seed: Completion("good", usage=Usage(5, 7, 1)))
    verdict = await CritiqueScalarRM(engine, FunctionScorer(reads_critique), k=2).judge(EXAMPLE)
    assert verdict.usage == Usage(20, 28, 4)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="k is 0"):
        CritiqueScalarRM(ScriptedEngine(), FunctionScorer(reads_critique), k=0)


async def test_one_critique_that_the_head_cannot_read_leaves_out_its_own_sample() -> None:
    texts = iter(["good", "good", "x" * 50, "good", "good", "good"])  # response 1's three, then 2's

    def fits(conversation: Conversation) -> float:
        if len(conversation[-1].content) > 40:
            raise ContextOverflow("51 tokens")
        return reads_critique(conversation)

    engine = ScriptedEngine(lambda p, s: Completion(next(texts), usage=Usage(5, 7, 1)))
    verdict = await CritiqueScalarRM(engine, FunctionScorer(fits), k=3).judge(EXAMPLE)
    assert verdict.rewards == (2.0, 2.0)
    assert (verdict.k_counted, verdict.unscored) == (2, {"failed": 1})
    assert verdict.usage == Usage(30, 42, 6)
