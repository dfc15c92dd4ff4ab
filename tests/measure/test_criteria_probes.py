"""Probes of judges by criteria, on runs whose replies are written down here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import DataError
from spct.measure.criteria_probes import beside, beside_line, order_effect, order_line
from spct.text.format import MET
from spct.types import Criteria, Criterion, Example, Message, Prompt, Verdict
from spct.votes.criteria import weighted

LIST = Criteria(tuple(Criterion(name, f"Has {name}.") for name in "abc"))


def judged(
    reply: Callable[[Prompt, int], str], ids: Sequence[str] = "xyz", k: int = 6
) -> list[tuple[str, Verdict]]:
    judge = GenerativeRM(ScriptedEngine(reply), MET, k=k, vote=weighted)

    async def all_of_them() -> list[tuple[str, Verdict]]:
        asked = [
            Example(id, (Message("user", f"Why {id}?"),), ("one", "two"), criteria=LIST)
            for id in ids
        ]
        return [(example.id, await judge.judge(example)) for example in asked]

    return asyncio.run(all_of_them())


def says(*met: int) -> str:
    scores = ", ".join(str(int(one)) for one in met)
    return f"Analysis:\nso\nScores: \\boxed{{{scores}}}\nOverall: \\boxed{{5}}"


def by_name(*names: str) -> Callable[[Prompt, int], str]:
    """A judge that sees these criteria met, wherever they stand."""
    return lambda prompt, seed: says(*(LIST.items[i].name in names for i in prompt.criteria))


def test_a_judge_that_goes_by_the_place_is_found_and_one_that_goes_by_the_text_is_not() -> None:
    # the last place is always met, the others never: over places 0, 1/2, 1 of equal number the
    # slope is the sum of (x - 1/2) y over that of (x - 1/2)^2, (1/2) / (1/2) = 1
    last = order_effect(judged(lambda prompt, seed: says(0, 0, 1), k=12))
    assert last is not None and last.point == pytest.approx(1.0, abs=0.15)
    steady = order_effect(judged(by_name("a"), k=12))
    assert steady is not None and steady.point == 0 and steady.low is None
    assert "order effect, last place less first: 0.00" in order_line(judged(by_name("a")))


def test_the_slope_is_that_of_each_cell_by_hand() -> None:
    # of one cell with places and votes (0, 1), (1/2, 1), (1, 0): means 1/2 and 2/3,
    # sum of (x - 1/2) (y - 2/3) = -1/2, of (x - 1/2)^2 = 1/2: slope -1
    from spct.measure.criteria_probes import _slope

    spread, both = _slope([(0, 1), (0.5, 1), (1, 0)])
    assert (spread, both) == pytest.approx((0.5, -0.5))


def test_one_vote_a_cell_says_nothing_of_order() -> None:
    assert order_effect(judged(by_name("a"), k=1)) is None
    assert "not known" in order_line(judged(by_name("a"), k=1))


def test_two_runs_side_by_side_by_hand() -> None:
    # here a and b are met, there b and c: each response agrees on b alone, 1 of 3 cells;
    # yes-yes 1/3, yes-no 1/3, no-yes 1/3: by chance 2/3 * 2/3 + 1/3 * 1/3 = 5/9
    here, there = judged(by_name("a", "b"), k=1), judged(by_name("b", "c"), ids="wxy", k=1)
    found = beside(here, there)
    assert (found.n, found.n_examples) == (2 * 2 * 3, 2)  # x and y, two responses, three criteria
    assert found.agreement.point == pytest.approx(1 / 3)
    assert found.kappa == pytest.approx((1 / 3 - 5 / 9) / (4 / 9))
    assert found.met_rates == pytest.approx((2 / 3, 2 / 3)) and found.difference.point == 0
    # everything met there: agreement and met rate here are 2/3, the difference is 1/3
    lenient = beside(here, judged(by_name("a", "b", "c"), k=1))
    assert lenient.agreement.point == pytest.approx(2 / 3)
    assert lenient.difference.point == pytest.approx(1 / 3) and lenient.kappa == 0
    assert "met rate 0.67 here, 1.00 there, difference 0.33" in beside_line(
        here, judged(by_name("a", "b", "c"), k=1), "other"
    )
    with pytest.raises(DataError, match="same examples and the same lists"):
        beside(here, judged(by_name("a"), ids="q"))


def test_the_command_compares_a_run_of_one_call_with_one_of_a_call_for_each(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    ask = ("sample", "examples/criteria.jsonl", "--engine", "scripted", "-k", "4")
    assert run(*ask, "--format", "met", "-o", tmp_path / "met")[0] == 0
    one = ("--format", "met_one", "--top-logprobs", "20", "-o", tmp_path / "one")
    assert run(*ask, *one)[0] == 0
    code, out, _ = run(
        "criteria", "measure", tmp_path / "met", "--order", "--beside", tmp_path / "one"
    )
    assert code == 0 and "order effect, last place less first: " in out
    assert "agreement 0." in out or "agreement 1." in out
