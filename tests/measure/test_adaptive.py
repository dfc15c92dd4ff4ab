"""Replaying a stopping rule gives what a judge with that rule would have drawn.

k is 12: with waves that double, a k of 4, 8, 16 ... has its last look at k/2, where the lead of the
exact rule can equal what is left but never exceed it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.measure.adaptive import replay, replays, spread
from spct.measure.benchmarks import ours
from spct.measure.loading import load_benchmark
from spct.measure.rows import Part
from spct.runs.judging import Tally
from spct.runs.spending import judge_within, spending_of
from spct.types import Example, Prompt, Trajectory, Verdict
from spct.votes.budget import Budget
from spct.votes.predictive import predictive
from spct.votes.stopping import Stopping, exact, sign_flip
from tests.measure.makers import pairs_file

JUDGE = {"vote": "mean", "scale": (1, 10), "judge": True}


def noisy(prompt: Prompt, seed: int) -> str:
    """Scores that lean to the longer response with noise, so that some votes end early."""
    rng = random.Random(seed)
    lean = sum(map(ord, prompt.example_id)) % 6
    shown = [4 + lean + rng.choice((0, 1)), 3 + rng.choice((0, 1))]
    scores = [shown[i] if prompt.order == (0, 1) else shown[1 - i] for i in range(2)]
    return f"Analysis:\nNoise.\nScores: \\boxed{{{scores[0]}, {scores[1]}}}"


@pytest.mark.parametrize("rule", [exact, sign_flip(0.1), predictive()], ids=lambda r: r.name)
async def test_the_replay_is_what_the_judge_itself_does(rule: Stopping, tmp_path: Path) -> None:
    k, examples = 12, load_benchmark(ours(pairs_file(tmp_path / "p.jsonl", 30))).examples
    full = GenerativeRM(ScriptedEngine(noisy), k=k, seed=5)
    stopping = GenerativeRM(ScriptedEngine(noisy), k=k, seed=5, stopping=rule)
    part = Part("m", "sampled", {e.id: await full.judge(e) for e in examples}, JUDGE)
    found = replay(part, k, rule, part.verdicts)
    for e in examples:
        real = await stopping.judge(e)
        assert found.verdicts[e.id].k_drawn == real.k_drawn
        assert found.verdicts[e.id].rewards == real.rewards
    assert found.mean_samples < k  # the rule had something to stop


async def test_the_exact_rule_never_changes_a_winner(tmp_path: Path) -> None:
    examples = load_benchmark(ours(pairs_file(tmp_path / "p.jsonl", 40))).examples
    rm = GenerativeRM(ScriptedEngine(noisy), k=8)
    part = Part("m", "sampled", {e.id: await rm.judge(e) for e in examples}, JUDGE)
    by_rule = {r.rule: r for r in replays(part, 8, part.verdicts)}
    assert by_rule["exact"].changed.point == by_rule["exact"].stated == 0.0
    assert by_rule["sign_flip0.02"].stated == by_rule["predictive0.02"].stated == 0.02
    assert by_rule["predictive0.02"].mean_samples < by_rule["exact"].mean_samples <= 8
    assert by_rule["sign_flip0.02"].mean_samples <= 8


async def test_nothing_is_replayed_for_one_wave_or_for_votes_without_a_bound(
    tmp_path: Path,
) -> None:
    examples = load_benchmark(ours(pairs_file(tmp_path / "p.jsonl", 3))).examples
    rm = GenerativeRM(ScriptedEngine(noisy), k=8)
    verdicts = {e.id: await rm.judge(e) for e in examples}
    assert replays(Part("m", "sampled", verdicts, JUDGE), 4, verdicts) == ()
    assert replays(Part("m", "sampled", verdicts, JUDGE | {"vote": "expected"}), 8, verdicts) == ()
    scalar = {"vote": "mean", "judge": False}  # a head's numbers have no bounds to reason with
    assert replays(Part("m", "sampled", verdicts, scalar), 8, verdicts) == ()
    assert replays(Part("m", "greedy", verdicts, JUDGE), 8, verdicts) == ()


async def test_a_budget_is_replayed_as_it_would_have_been_spent(tmp_path: Path) -> None:
    k, examples = 16, load_benchmark(ours(pairs_file(tmp_path / "p.jsonl", 40))).examples
    rm = GenerativeRM(ScriptedEngine(noisy), k=k, seed=5)
    config = JUDGE | {"max_tokens": rm.params.max_tokens}
    part = Part("m", "sampled", {e.id: await rm.judge(e) for e in examples}, config)
    assert spread(part, 1, k) is None  # one sample each is less than a round
    replayed = spread(part, 6, k)
    assert replayed is not None
    limit = sum(usage_of(v.trajectories[:6]) for v in part.verdicts.values())
    assert replayed.tokens <= limit < replayed.tokens * 1.1
    live, last = spending_of(rm, Budget(limit, "tokens")), dict[str, Verdict]()

    async def put(verdict: Verdict, example: Example, place: int) -> None:
        last[verdict.example_id] = verdict

    await judge_within(live, rm, examples, put=put, tally=Tally())
    assert {id: v.k_drawn for id, v in replayed.verdicts.items()} == {
        id: v.k_drawn for id, v in last.items()
    }


def usage_of(trajectories: Sequence[Trajectory]) -> int:
    used = [t.completion.usage for t in trajectories]
    return sum(u.prompt_tokens + u.completion_tokens for u in used)
