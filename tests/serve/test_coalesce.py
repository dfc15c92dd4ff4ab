"""The asyncio shell of the groups: who waits, who is judged when, what is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from spct.serve.coalesce import Coalescer
from spct.serve.groups import Groups


class Judge:
    def __init__(self, *, delay_s: float = 0.0, error: Exception | None = None) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.groups: list[tuple[str, ...]] = []
        self.delay_s, self.error = delay_s, error
        self.n_cancelled = 0

    async def __call__(
        self, responses: Sequence[str], closed_with: Sequence[str]
    ) -> Mapping[str, str]:
        self.calls.append(tuple(responses))
        self.groups.append(tuple(closed_with))
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.error:
            raise self.error
        return {text: "failed" if text == "bad" else text.upper() for text in responses}


def coalescer(size: int | None = 3, wait_s: float = 0.05) -> Coalescer[str]:
    return Coalescer(Groups(size, wait_s=wait_s, keep_s=60), lambda answer: answer != "failed")


async def test_members_wait_for_their_group_and_each_gets_its_own_answer():
    shell, judge = coalescer(), Judge()
    answers = await asyncio.gather(*(shell.answer("p", "p", text, judge) for text in "abc"))
    assert answers == ["A", "B", "C"] and judge.calls == [("a", "b", "c")]


async def test_an_incomplete_group_is_judged_at_the_deadline():
    shell, judge = coalescer(wait_s=0.02), Judge()
    assert await shell.answer("p", "p", "a", judge) == "A"
    assert judge.calls == [("a",)]


async def test_a_late_member_is_judged_beside_the_kept_group_and_its_retry_is_replayed():
    shell, judge = coalescer(wait_s=0.02), Judge()
    await asyncio.gather(*(shell.answer("p", "p", text, judge) for text in "ab"))
    assert await shell.answer("p", "p", "c", judge) == "C"
    assert judge.calls == [("a", "b"), ("a", "b", "c")]
    assert await shell.answer("p", "p", "c", judge) == "C"
    assert len(judge.calls) == 2
    assert judge.groups == [("a", "b")] * 2  # one group, whatever the time of arrival


async def test_the_judgement_is_cancelled_when_its_last_member_goes_away():
    shell, judge = coalescer(2), Judge(delay_s=30)
    tasks = [asyncio.create_task(shell.answer("p", "p", text, judge)) for text in "ab"]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert judge.n_cancelled == 0
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert judge.n_cancelled == 1 and shell.is_idle


async def test_a_failed_answer_is_given_but_not_kept_and_the_others_are():
    shell, judge = coalescer(2), Judge()
    answers = await asyncio.gather(*(shell.answer("p", "p", t, judge) for t in ("bad", "b")))
    assert answers == ["failed", "B"]
    assert await shell.answer("p", "p", "b", judge) == "B" and len(judge.calls) == 1
    assert await shell.answer("p", "p", "bad", judge) == "failed"
    assert judge.calls == [("bad", "b"), ("b", "bad")]


async def test_an_error_of_the_judge_ends_every_member_and_the_next_try_starts_again():
    shell = coalescer(2)
    broken = Judge(error=ValueError("no"))
    tried = await asyncio.gather(
        *(shell.answer("p", "p", t, broken) for t in "ab"), return_exceptions=True
    )
    assert [type(one) for one in tried] == [ValueError, ValueError]
    assert await shell.answer("p", "p", "a", Judge()) == "A"


async def test_flush_judges_open_groups_at_once():
    shell, judge = coalescer(wait_s=1000), Judge()
    task = asyncio.create_task(shell.answer("p", "p", "a", judge))
    await asyncio.sleep(0)
    shell.flush()
    assert await asyncio.wait_for(task, 1) == "A"


@pytest.mark.parametrize("seed", range(5))
async def test_a_storm_of_members_leavers_and_prompts_leaves_nothing_behind(seed):
    import random

    rng = random.Random(seed)
    shell, judge = coalescer(4, wait_s=0.01), Judge(delay_s=0.005)
    tasks = []
    for _ in range(300):
        prompt, text = str(rng.randrange(20)), rng.choice("abcdefgh")
        tasks.append(asyncio.create_task(shell.answer(prompt, prompt, text, judge)))
        if rng.random() < 0.2:
            rng.choice(tasks).cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(0.001)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, str | asyncio.CancelledError) for one in done)
    for _ in range(200):  # a judgement that was cancelled ends in a later turn of the loop
        if shell.is_idle:
            break
        await asyncio.sleep(0.01)
    assert shell.is_idle


def test_a_group_that_is_due_at_once_works_on_the_servers_own_loop():
    """uvloop hands back a plain handle, without a time, for what is due in under a millisecond."""
    uvloop = pytest.importorskip("uvloop")

    async def main():
        shell, judge = coalescer(size=None, wait_s=1e-5), Judge()
        return await asyncio.gather(*(shell.answer(p, p, "x", judge) for p in "abc"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert not hasattr(runner.get_loop().call_at(0.0, print), "when")
        assert runner.run(main()) == ["X", "X", "X"]


async def test_a_late_member_without_an_answer_gives_its_seat_back():
    shell, judge = coalescer(4, wait_s=0.02), Judge()
    await asyncio.gather(*(shell.answer("p", "p", text, judge) for text in "abc"))
    assert await shell.answer("p", "p", "bad", judge) == "failed"
    slow = Judge(delay_s=30)
    gone = asyncio.create_task(shell.answer("p", "p", "d", slow))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert await shell.answer("p", "p", "d", judge) == "D"
    assert judge.calls[-1] == ("a", "b", "c", "d")
