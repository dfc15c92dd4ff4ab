"""What an early stop would have saved: counted by replay, as a judge that stops would draw."""

from __future__ import annotations

from dataclasses import replace

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.models.baselines import Baseline
from spct.runs.saving import Saving
from spct.types import Example, Message
from spct.votes.predictive import predictive
from spct.votes.vote import davidson


def pairs(count: int) -> list[Example]:
    query = (Message("user", "which tide lifts boats"),)
    return [Example(str(i), query, (f"the tide lifts {i}", f"no {i}")) for i in range(count)]


async def test_the_saving_is_what_a_judge_that_stops_leaves_undrawn() -> None:
    rm = GenerativeRM(ScriptedEngine(), k=16)
    stopping = rm.with_(stopping=predictive())
    saving, drawn, changed = Saving(rm), 0, 0
    for example in pairs(30):
        full, early = await rm.judge(example), await stopping.judge(example)
        assert saving.add(full) == 16 - early.k_drawn
        drawn += early.k_drawn
        changed += full.winner is not None and early.winner != full.winner
    assert drawn < 30 * 16
    assert saving.line() == (
        f"--stop predictive would have drawn {drawn} of 480 judgements and changed {changed} of "
        f"{saving.n_winners} winners"
    )


async def test_nothing_is_said_of_what_could_not_stop() -> None:
    rm = GenerativeRM(ScriptedEngine(), k=16)
    verdict = await rm.judge(pairs(1)[0])
    for model in (rm.with_(stopping=predictive()), rm.with_(vote=davidson), Baseline("length")):
        saving = Saving(model)
        assert saving.add(verdict) == 0 and saving.line() is None
    saving = Saving(rm)
    single = replace(pairs(1)[0], responses=("alone",))
    assert saving.add(await rm.judge(single)) == 0
    assert saving.add(replace(verdict, rewards=None)) == 0 and saving.line() is None
