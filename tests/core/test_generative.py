import asyncio
import time

import pytest

from spct.core.generative import GenerativeRM
from spct.core.stream import stream
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, ContextOverflow, EngineError
from spct.text.format import PAIRWISE, POINTWISE, SINGLE
from spct.types import Completion, SamplingParams, TokenLogprob, Usage
from spct.votes.predictive import predictive
from spct.votes.stopping import exact, sign_flip
from spct.votes.vote import expected_scores, majority, meta_top


def says(*shown):
    """A reply with these scores, in the order shown."""
    return f"Analysis: ok\nScores: \\boxed{{{', '.join(map(str, shown))}}}"


def prefers(letter):
    """A judge that gives 9 to the response `letter` wherever it stands, 4 to the others."""

    def reply(prompt, seed):
        ranked = [9 if i == ord(letter) - ord("a") else 4 for i in prompt.order]
        return says(*ranked)

    return reply


async def test_a_verdict_is_in_the_original_order_whatever_was_shown(make_example):
    for orders in ("balanced", "random", "fixed"):
        rm = GenerativeRM(ScriptedEngine(prefers("b")), k=6, orders=orders)
        verdict = await rm.judge(make_example("a", "b", "c"))
        assert verdict.rewards == (4, 9, 4)
        assert verdict.winner == 1 and verdict.agreement == 1
        assert (verdict.k_asked, verdict.k_drawn, verdict.k_counted) == (6, 6, 6)


async def test_a_pair_with_k_32_asks_the_engine_twice(make_example):
    engine = ScriptedEngine(prefers("a"))
    await GenerativeRM(engine, k=32).judge(make_example())
    assert (engine.n_calls, engine.n_samples) == (2, 32)


async def test_a_judge_that_only_looks_at_positions_ends_in_a_tie(make_example):
    rm = GenerativeRM(ScriptedEngine(lambda prompt, seed: says(9, 2)), k=8)
    verdict = await rm.judge(make_example())
    assert verdict.winner is None and verdict.best == (0, 1)


async def test_failures_are_left_out_counted_and_kept(make_example):
    replies = {0: Completion("", "error", error="HTTP 500"), 1: "no idea", 2: says(99, 1)}

    def reply(prompt, seed):
        return replies.get(seeds.index(seed), prefers("b")(prompt, seed))

    from spct.core.plan import sample_seed

    seeds = [sample_seed(0, "e", i) for i in range(6)]
    verdict = await GenerativeRM(ScriptedEngine(reply), k=6).judge(make_example())
    assert verdict.unscored == {"failed": 1, "no_verdict": 1, "out_of_range": 1}
    assert (verdict.k_drawn, verdict.k_counted) == (6, 3)
    assert verdict.rewards == (4, 9)
    assert [t.index for t in verdict.trajectories] == list(range(6))


async def test_when_every_judgement_fails_the_rewards_are_none(make_example):
    rm = GenerativeRM(ScriptedEngine(lambda prompt, seed: "?"), k=3)
    verdict = await rm.judge(make_example())
    assert verdict.rewards is None and verdict.winner is None and verdict.k_counted == 0


async def test_a_prompt_that_does_not_fit_is_unscored_and_does_not_stop_the_others(make_example):
    class Small(ScriptedEngine):
        async def sample(self, prompt, n, params):
            if prompt.example_id == "long":
                raise ContextOverflow("prompt of 9000 tokens, context of 2048")
            return await super().sample(prompt, n, params)

    rm = GenerativeRM(Small(), k=2)
    examples = [make_example(id=name) for name in ("short", "long", "fine")]
    verdicts = {v.example_id: v async for v in rm.judge_many(examples)}
    assert verdicts["long"].unscored == {"failed": 2}
    assert "2048" in verdicts["long"].trajectories[0].outcome.detail
    assert verdicts["short"].rewards and verdicts["fine"].rewards


async def test_a_dead_engine_raises_its_own_error(make_example):
    class Dead(ScriptedEngine):
        async def sample(self, prompt, n, params):
            raise EngineError("out of order")

    rm = GenerativeRM(Dead(), k=4)
    with pytest.raises(EngineError, match="out of order"):
        await rm.judge(make_example())
    with pytest.raises(EngineError, match="out of order"):
        [v async for v in rm.judge_many([make_example()])]


async def test_usage_adds_up_over_the_calls(make_example):
    one = Completion(says(5, 5), usage=Usage(10, 3, 1))
    rm = GenerativeRM(ScriptedEngine(lambda prompt, seed: one), k=4)
    assert (await rm.judge(make_example())).usage == Usage(40, 12, 4)


async def test_seeds_reach_the_engine_and_repeat_the_run(make_example):
    seen = []

    def reply(prompt, seed):
        seen.append(seed)
        return says(5, 5)

    example = make_example()
    for seed in (0, 0, 1):
        await GenerativeRM(ScriptedEngine(reply), k=3, seed=seed).judge(example)
    assert seen[:3] == seen[3:6] != seen[6:] and len(set(seen)) == 6


# --- waves ------------------------------------------------------------------


async def test_exact_stopping_draws_fewer_and_says_so(make_example):
    rm = GenerativeRM(ScriptedEngine(prefers("b")), k=32, vote=majority, stopping=exact)
    verdict = await rm.judge(make_example())
    assert (verdict.k_asked, verdict.k_drawn, verdict.winner) == (32, 18, 1)  # 16 of 32 may tie


async def test_statistical_stopping_needs_few_samples_when_the_judge_is_sure(make_example):
    rm = GenerativeRM(ScriptedEngine(prefers("b")), k=32, stopping=sign_flip(0.05))
    assert (await rm.judge(make_example())).k_drawn == 10  # 2^-9 for each of 14 looks
    rm = GenerativeRM(ScriptedEngine(prefers("b")), k=32, stopping=predictive())
    assert (await rm.judge(make_example())).k_drawn == 4


async def test_a_judge_without_opinion_draws_all_k(make_example):
    rm = GenerativeRM(
        ScriptedEngine(lambda prompt, seed: says(5, 5)), k=16, stopping=sign_flip(0.05)
    )
    assert (await rm.judge(make_example())).k_drawn == 16


# --- formats and votes that need more ------------------------------------------


async def test_single_and_pairwise_formats(make_example):
    yes = ScriptedEngine(lambda prompt, seed: r"Scores: \boxed{1}")
    assert (await GenerativeRM(yes, SINGLE, k=3).judge(make_example("a"))).rewards == (1,)
    first = GenerativeRM(yes, PAIRWISE, k=4, vote=majority)
    assert (await first.judge(make_example())).rewards == (0.5, 0.5)


class Meta:
    fingerprint = "meta"

    def __init__(self):
        self.read = []

    async def score(self, conversations):
        self.read += conversations
        return [float("praise" in c[-1].content) for c in conversations]


async def test_a_meta_rm_chooses_who_votes_and_reads_only_what_is_scored(make_example):
    def reply(prompt, seed):
        if seed % 3 == 0:
            return "broken"
        return prefers("b")(prompt, seed) if seed % 2 else "praise " + prefers("a")(prompt, seed)

    meta = Meta()
    rm = GenerativeRM(ScriptedEngine(reply), k=16, vote=meta_top(1), meta=meta)
    verdict = await rm.judge(make_example())
    assert verdict.winner == 0
    assert len(meta.read) == verdict.k_counted < 16
    assert {t.meta_score for t in verdict.trajectories} == {0.0, 1.0, None}


async def test_a_vote_on_probabilities_is_refused_where_the_engine_gives_none(make_example):
    params = SamplingParams(top_logprobs=10)
    rm = GenerativeRM(ScriptedEngine(), vote=expected_scores, params=params)
    with pytest.raises(EngineError, match="gave none"):
        await rm.judge(make_example())


async def test_a_vote_on_probabilities_uses_them(make_example):
    logprobs = tuple(
        TokenLogprob(token, 0.0, top or {token: 0.0})
        for token, top in (
            ("\\boxed{", None),
            ("8", {"8": -0.6931471805599453, "6": -0.6931471805599453}),
            (", ", None),
            ("3", None),
            ("}", None),
        )
    )
    reply = Completion("".join(t.token for t in logprobs), logprobs=logprobs)
    rm = GenerativeRM(
        ScriptedEngine(lambda prompt, seed: reply),
        k=2,
        orders="fixed",
        vote=expected_scores,
        params=SamplingParams(top_logprobs=10),
    )
    assert (await rm.judge(make_example())).rewards == pytest.approx((7, 3))


async def test_a_verdict_without_usable_probabilities_is_unscored_under_that_vote(make_example):
    text = says(8, 3)
    tokens = tuple(TokenLogprob(c, -3.0, {c: -3.0}) for c in text)  # 5% of the mass is known
    rm = GenerativeRM(
        ScriptedEngine(lambda prompt, seed: Completion(text, logprobs=tokens)),
        k=2,
        vote=expected_scores,
        params=SamplingParams(top_logprobs=1),
    )
    verdict = await rm.judge(make_example())
    assert verdict.unscored == {"no_probability": 2}
    assert verdict.rewards is None and verdict.k_counted == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "at least one judgement"),
        ({"vote": meta_top()}, "meta RM"),
        ({"vote": expected_scores}, "top_logprobs"),
        ({"vote": meta_top(), "meta": Meta(), "stopping": exact}, "early stopping"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        GenerativeRM(ScriptedEngine(), POINTWISE, **options)


# --- streams -----------------------------------------------------------------


async def test_a_stream_bounds_what_is_in_flight_and_reads_its_source_lazily(make_example):
    in_flight, peak, taken = 0, 0, 0

    def source():
        nonlocal taken
        for i in range(40):
            taken += 1
            yield make_example(id=str(i))

    async def judge(example):
        nonlocal in_flight, peak
        in_flight += 1
        peak = max(peak, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return example

    ids = []
    async for example in stream(judge, source(), concurrency=4):
        ids.append(int(example.id))
        assert taken <= len(ids) + 9  # four in work, four done and waiting, one here
    assert sorted(ids) == list(range(40)) and peak == 4


async def test_leaving_a_stream_cancels_what_is_in_flight(make_example):
    cancelled = 0

    async def judge(example):
        nonlocal cancelled
        if example.id == "0":
            return example
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    verdicts = stream(judge, [make_example(id=str(i)) for i in range(3)], concurrency=3)
    started = time.monotonic()
    assert (await anext(verdicts)).id == "0"
    await verdicts.aclose()
    assert cancelled == 2 and time.monotonic() - started < 30


async def test_an_error_in_the_source_ends_the_stream(make_example):
    def source():
        yield make_example()
        raise ValueError("line 2")

    rm = GenerativeRM(ScriptedEngine(), k=1)
    with pytest.raises(ValueError, match="line 2"):
        [v async for v in rm.judge_many(source())]


async def test_an_empty_stream_ends():
    assert [v async for v in GenerativeRM(ScriptedEngine()).judge_many([])] == []
