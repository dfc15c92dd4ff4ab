"""The asyncio shell of `groups.py`: calls that wait, one timer, one task for each judgement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Generic, TypeVar

from spct.serve.groups import Closed, Groups, Late, Replay

T = TypeVar("T")
# Judges the responses of one query together: one answer a response. The second are those that the
# group closed with, which name it: they are the same for a member that comes late.
JudgeGroup = Callable[[Sequence[str], Sequence[str]], Awaitable[Mapping[str, T]]]


class Coalescer(Generic[T]):
    """Holds each member of a group until it is judged; only answers that `is_final` are kept."""

    def __init__(
        self,
        groups: Groups[T],
        is_final: Callable[[T], bool],
        *,
        on_close: Callable[[Closed], None] = lambda closed: None,
        on_late: Callable[[], None] = lambda: None,
        on_replay: Callable[[], None] = lambda: None,
    ) -> None:
        self._groups, self._is_final = groups, is_final
        self._on_close, self._on_late, self._on_replay = on_close, on_late, on_replay
        self._calls = count()
        self._waiting: dict[int, tuple[str, asyncio.Future[T]]] = {}
        self._judges: dict[int, JudgeGroup[T]] = {}
        self._tasks: dict[int, asyncio.Future[Mapping[str, T]]] = {}
        self._timer: asyncio.Handle | None = None
        self._timer_at: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing is being judged."""
        return not (self._waiting or self._tasks or self._judges)

    async def answer(
        self,
        key: Hashable,
        subject: Hashable,
        response: str,
        judge: JudgeGroup[T],
        size: int | None = None,
    ) -> T:
        """Answer one member; if this is cancelled the member leaves, and the last one's judgement
        is cancelled with it."""
        loop = asyncio.get_running_loop()
        call = next(self._calls)
        decision = self._groups.join(key, subject, response, call, loop.time(), size)
        if isinstance(decision, Replay):
            self._on_replay()
            return decision.answer
        if isinstance(decision, Late):
            self._on_late()
            return await self._answer_late(decision, response, judge)
        if decision.group not in self._tasks:
            self._judges.setdefault(decision.group, judge)
        future: asyncio.Future[T] = loop.create_future()
        self._waiting[call] = (response, future)
        self._advance()
        try:
            return await future
        except asyncio.CancelledError:
            self._leave(call, decision.group)
            raise

    async def _answer_late(self, late: Late, response: str, judge: JudgeGroup[T]) -> T:
        is_kept = False
        try:
            answer = (await judge((*late.kept, response), late.closed_with))[response]
            if is_kept := self._is_final(answer):
                self._groups.keep_late(late.group, response, answer)
            return answer
        finally:
            if not is_kept:
                self._groups.drop_late(late)

    def flush(self) -> None:
        """Judge every open group now: the gateway is draining."""
        self._groups.close_all()
        self._advance()

    def _leave(self, call: int, group: int) -> None:
        if self._waiting.pop(call, None) is None:
            return
        unwanted = self._groups.leave(call)
        if unwanted is not None and unwanted in self._tasks:
            self._tasks[unwanted].cancel()
        if not self._groups.has(group):
            self._judges.pop(group, None)

    def _advance(self) -> None:
        loop = asyncio.get_running_loop()
        for closed in self._groups.take_closed(loop.time()):
            self._on_close(closed)
            judge = self._judges.pop(closed.group)
            task = asyncio.ensure_future(judge(closed.responses, closed.responses))
            self._tasks[closed.group] = task
            task.add_done_callback(partial(self._end, closed))
        due = self._groups.next_event()
        if self._timer is not None and self._timer_at != due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due is not None:  # uvloop's handle of a past time has no when()
            self._timer, self._timer_at = loop.call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        self._advance()

    def _end(self, closed: Closed, task: asyncio.Future[Mapping[str, T]]) -> None:
        """A judgement is over; a callback, because a task cancelled in time never runs at all."""
        del self._tasks[closed.group]
        error = None if task.cancelled() else task.exception()
        answers = {} if task.cancelled() or error else task.result()
        final = {text: one for text, one in answers.items() if self._is_final(one)}
        for call in self._groups.settle(closed.group, final, task.get_loop().time()):
            response, future = self._waiting.pop(call)
            if future.done():
                continue
            if error is not None:  # every member's request ends with it
                future.set_exception(error)
            elif response in answers:
                future.set_result(answers[response])
            else:  # cut off by the process's end
                future.cancel()
        self._advance()
