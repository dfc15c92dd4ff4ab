"""The pipeline's report over stored verdicts: what a model that cannot judge does to it."""

from pathlib import Path

import pytest

from spct.engines.scripted import Reply, ScriptedEngine
from spct.errors import OverBudget
from spct.train.evaluate import EvaluateConfig, calibrated_on, evaluate, with_scores
from spct.train.sampling import Draw, Formats, Sampler
from spct.types import Example, Message, Prompt, Verdict
from spct.votes.vote import mean_scores
from tests.models.scorers import FunctionScorer

EXAMPLES = [
    Example(f"e{i}", (Message("user", f"q{i}"),), ("good", "bad")[:: 1 - 2 * (i % 2)],
            (1.0, 0.0)[:: 1 - 2 * (i % 2)])
    for i in range(6)
]  # fmt: skip
CONFIG = EvaluateConfig(k=2, k_others=2, guided=())


def right(prompt: Prompt, seed: int) -> str:
    shown = prompt.messages[0].content.split("[The Begin of Response ")[1:]
    return f"Scores: \\boxed{{{', '.join('9' if 'good' in text else '2' for text in shown)}}}"


def mute(prompt: Prompt, seed: int) -> str:
    return "I cannot."


async def test_a_base_that_cannot_judge_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    engines = {"base": ScriptedEngine(mute), "rl": ScriptedEngine(right)}
    report = await evaluate(engines, EXAMPLES, Formats(), CONFIG, tmp_path)
    base, rl = report.models["base"], report.models["rl"]
    assert (base.health.unscored, base.greedy.point, base.voting[1].point) == (1.0, 0.0, 0.0)
    assert (rl.health.unscored, rl.voting[2].point) == (0.0, 1.0)
    assert report.comparisons["rl - base, one sample"].point == 1.0
    assert report.record()["unscored"] and "all disjoint groups" in report.record()["estimator"]


async def test_where_no_model_can_judge_there_is_nothing_to_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(OverBudget, match="no model wrote one readable judgement"):
        await evaluate({"rl": ScriptedEngine(mute)}, EXAMPLES, Formats(), CONFIG, tmp_path)


async def test_weights_are_calibrated_on_dev_and_plain_where_dev_shows_no_use() -> None:
    def mixed(prompt: Prompt, seed: int) -> str:
        return right(prompt, seed) if seed % 3 else "Scores: \\boxed{5, 5}"

    async def verdicts(reply: Reply, sign: float) -> dict[str, Verdict]:
        sampler = Sampler(ScriptedEngine(reply), Formats(), Draw(8), 4)
        drawn = {e.id: await sampler.judge(e) for e in EXAMPLES}
        scorer = FunctionScorer(lambda c: sign * (-1 if "5, 5" in c[-1].content else 1))
        return await with_scores(EXAMPLES, drawn, scorer)

    told = calibrated_on(EXAMPLES, await verdicts(mixed, 1))
    assert told.name.startswith("meta_weighted(") and told.needs == "meta"
    assert calibrated_on(EXAMPLES, await verdicts(mixed, -1)) is mean_scores
    assert calibrated_on(EXAMPLES, await verdicts(right, 1)) is mean_scores
