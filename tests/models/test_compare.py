import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, DataError
from spct.measure.compare import (
    at_k,
    comparable,
    compare,
    slope,
)
from spct.measure.compare_report import figure, markdown, properties, write_report
from spct.measure.intervals import sign_of
from spct.models.critique import CritiqueScalarRM
from spct.models.pairwise import PairwiseScalarRM
from spct.models.scalar import PointwiseScalarRM
from spct.runs.store import Store
from spct.text.format import PAIRWISE
from spct.types import Example, Message, Prompt
from spct.votes.stopping import exact
from spct.votes.vote import majority
from tests.models.scorers import FunctionScorer
from tests.models.tiny import toy_example

EXAMPLES = [toy_example(i, n=2 + i % 2) for i in range(30)]


def noisy_judge(prompt: Prompt, seed: int) -> str:
    """Right two times of three, each sample on its own."""
    shown = prompt.messages[0].content.split("[The Begin of Response ")[1:]
    right = random.Random(f"{seed}").random() < 0.67
    scores = [8 if ("good" in text) == right else 3 for text in shown]
    return f"Analysis: a\nScores: \\boxed{{{', '.join(map(str, scores))}}}"


def likes_good(conversation: tuple[Message, ...]) -> float:
    return float("good" in conversation[-1].content)


def test_what_cannot_be_right_or_wrong_is_left_out_and_counted() -> None:
    rows = [
        *EXAMPLES[:2],
        replace(EXAMPLES[0], gold=None),
        replace(EXAMPLES[0], gold=(1.0, 1.0)),
        Example("one", EXAMPLES[0].query, ("a",), (1.0,)),
    ]
    usable, left_out = comparable(rows)
    assert len(usable) == 2
    assert left_out == {"no gold": 1, "all gold equal": 1, "one response": 1}
    with pytest.raises(DataError, match=r"1 usable examples \(left out: {'no gold': 1}\)"):
        comparable([EXAMPLES[0], replace(EXAMPLES[1], gold=None)])


async def test_voting_lifts_a_noisy_judge_and_leaves_a_scalar_model_flat() -> None:
    models = {
        "judge": GenerativeRM(ScriptedEngine(noisy_judge), k=8),
        "scalar": PointwiseScalarRM(FunctionScorer(likes_good)),
    }
    found = await compare(EXAMPLES, models, ks=(1, 2, 4, 8, 16), n_timed=4)
    judge, scalar = found.curves
    assert judge.points[0].accuracy.point == pytest.approx(0.67, abs=0.06)
    assert judge.points[-1].accuracy.point > 0.8
    assert sign_of(judge.slope) == 1 and judge.repeat_difference is None
    assert [p.accuracy.point for p in scalar.points] == [1.0] * 5
    assert (scalar.slope.point, scalar.repeat_difference) == (0.0, 0.0)
    assert (scalar.points[0].accuracy.low or 1.0) < 1.0  # thirty examples do not prove perfection


async def test_cost_is_measured_by_judging_at_every_k() -> None:
    models = {"judge": GenerativeRM(ScriptedEngine(noisy_judge), k=8)}
    found = await compare(EXAMPLES, models, ks=(1, 8), n_timed=4)
    one, eight = (p.cost for p in found.curves[0].points)
    assert eight.completion_tokens == 8 * one.completion_tokens > 0
    assert one.calls == 1 and 2 <= eight.calls <= 6  # a call an order, not a call a sample
    assert eight.seconds > 0 and eight.n_timed == 4


async def test_a_scalar_model_costs_its_forwards() -> None:
    models = {"pair": PairwiseScalarRM(FunctionScorer(likes_good))}
    found = await compare(EXAMPLES[:2], models, ks=(1, 2), n_timed=2)
    assert found.curves[0].points[0].cost.calls == (2 + 6) / 2  # n (n - 1) for n = 2 and 3


async def test_which_n_a_model_takes_stands_in_the_table() -> None:
    models = {
        "pair": PairwiseScalarRM(FunctionScorer(likes_good)),
        "judge": GenerativeRM(ScriptedEngine(), PAIRWISE, vote=majority),
        "scalar": PointwiseScalarRM(FunctionScorer(likes_good)),
    }
    found = await compare(EXAMPLES, models, ks=(1,), n_timed=1)
    taken = [[n for n, is_taken in c.takes.items() if is_taken] for c in found.curves]
    assert taken == [[2, 3, 5], [2, 3, 5], [1, 2, 3, 5]]


async def test_unscored_judgements_and_ties_are_shares_beside_the_accuracy() -> None:
    def half_broken(prompt: Prompt, seed: int) -> str:
        if seed % 2:
            return "no verdict"
        return "Scores: \\boxed{" + ", ".join("5" for _ in prompt.order) + "}"

    models = {"judge": GenerativeRM(ScriptedEngine(half_broken), k=2)}
    (curve,) = (await compare(EXAMPLES, models, ks=(1, 2), n_timed=2)).curves
    assert 0.2 < curve.points[0].unscored < 0.8
    assert curve.points[0].ties == 1.0  # of those with rewards


def test_a_model_at_k_is_a_copy_without_early_stopping() -> None:
    judge = GenerativeRM(ScriptedEngine(), k=8, stopping=exact)
    copied = at_k(judge, 2)
    assert isinstance(copied, GenerativeRM)
    assert (copied.k, copied.stopping, judge.k, judge.stopping) == (2, None, 8, exact)
    scalar = PointwiseScalarRM(FunctionScorer(likes_good))
    assert judge.traits.gains_from_samples and not scalar.traits.gains_from_samples


def test_the_slope_by_hand() -> None:
    """Two examples at k = 1, 2, 4: credits 0, 1, 1 and 0, 0, 1; x - mean = -1, 0, 1."""
    found = slope((1, 2, 4), [[0, 0], [1, 0], [1, 1]], ["a", "b"])
    assert found == (0.5, None, None)  # (1 - 0) / 2 for both: they agree, so no interval
    assert slope((4,), [[1, 0]], ["a", "b"]).point == 0.0


@pytest.mark.parametrize("ks", [(), (0, 2), (3, 8), (-1,)])
async def test_numbers_of_samples_that_do_not_divide_are_refused(ks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="divide the largest"):
        await compare(EXAMPLES, {"j": GenerativeRM(ScriptedEngine())}, ks=ks)
    with pytest.raises(ConfigError, match="no models"):
        await compare(EXAMPLES, {})


async def test_the_report_holds_both_tables_and_the_figure(tmp_path: Path) -> None:
    critic = ScriptedEngine(
        lambda prompt, seed: "good" if "good" in prompt.messages[0].content else "bad"
    )
    models = {
        "judge": GenerativeRM(ScriptedEngine(noisy_judge)),
        "pair": PairwiseScalarRM(FunctionScorer(likes_good)),
        "cloud": CritiqueScalarRM(critic, FunctionScorer(likes_good)),
    }
    found = await compare(EXAMPLES, models, ks=(1, 2, 4), n_timed=2)
    paths = write_report(found, tmp_path)
    assert [p.name for p in paths] == [
        "compare.json",
        "compare.md",
        "accuracy_vs_k.png",
        "accuracy_vs_k.svg",
    ]
    assert all(p.stat().st_size > 100 for p in paths)
    text = markdown(found)
    assert text.count("| judge |") == 4 and text.count("| pair |") == 3
    assert "2, 3, 5 (not 1)" in properties(found)
    assert "deterministic (judged twice, rewards differ by 0)" in properties(found)
    assert len(figure(found).axes[0].containers) == 3
    first = paths[3].read_bytes()
    write_report(found, tmp_path)
    assert paths[3].read_bytes() == first


async def test_a_comparison_that_continues_draws_no_stored_reply_again(tmp_path: Path) -> None:
    scorer = FunctionScorer(likes_good)
    drawn = []
    for _ in range(2):
        critic, judge = ScriptedEngine(lambda p, s: "good"), ScriptedEngine(noisy_judge)
        models = {"judge": GenerativeRM(judge), "cloud": CritiqueScalarRM(critic, scorer)}
        with Store.open(tmp_path, {}) as store:
            found = await compare(EXAMPLES, models, ks=(1, 4), n_timed=1, store=store)
        drawn.append((judge.n_samples + critic.n_samples, found.curves[0].points[1].accuracy))
    assert drawn[0][0] > 4 * len(EXAMPLES) and drawn[1][0] == 0  # what it costs is kept too
    assert drawn[0][1] == drawn[1][1]


async def test_each_model_keeps_its_verdicts_until_it_is_another_model(tmp_path: Path) -> None:
    async def compared(likes: Callable[..., float], examples: list[Example]) -> set[str]:
        models = {"a b": PairwiseScalarRM(FunctionScorer(likes))}
        await compare(examples, models, ks=(1,), n_timed=1, verdicts=tmp_path)
        (folder,) = tmp_path.iterdir()
        with Store.read(folder) as store:
            return {v.example_id for v in store.verdicts()}

    ids = {e.id for e in EXAMPLES}
    assert await compared(likes_good, EXAMPLES) == ids
    assert await compared(likes_good, EXAMPLES) == ids
    assert await compared(likes_good, EXAMPLES[:3]) == {e.id for e in EXAMPLES[:3]}  # other data
    assert len(list(tmp_path.glob("*/run-*.db"))) == 1
