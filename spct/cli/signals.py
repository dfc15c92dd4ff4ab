"""Stopping on request: the first signal ends a job after what is in flight, the second at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 30.0


class Stopped(SystemExit):
    """A signal asked us to stop. A SystemExit, because asyncio swallows most others."""


def stop_on_signals() -> None:
    """Let a signal raise `Stopped` wherever the program is, so that all closes on the way out."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)  # a second one does not wait
    raise Stopped(128 + signum)


class Job:
    """Runs one coroutine that can be asked to stop.

    After the first signal `gate` lets no more items through, so the job ends by itself when what is
    in flight is done; after `patience_s` seconds, or at a second signal, it is cancelled.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._signum: int | None = None

    def gate(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until a signal comes."""
        for item in items:
            if self._signum is not None:
                return
            yield item

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end; raise `Stopped` if a signal cut it short."""

        async def watched() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            for number in SIGNALS:
                loop.add_signal_handler(number, self._ask, number, loop, task)
            return await work

        try:
            result = asyncio.run(watched())
        except asyncio.CancelledError:
            if self._signum is None:
                raise
            raise Stopped(128 + self._signum) from None
        finally:
            stop_on_signals()  # the loop took its own handlers away with it
        if self._signum is not None:
            raise Stopped(128 + self._signum)
        return result

    def _ask(self, signum: int, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        if self._signum is not None:
            task.cancel()
            return
        self._signum = signum
        loop.call_later(self._patience_s, task.cancel)
        print(
            f"stopping: finishing what is in flight, at most {self._patience_s:g} s "
            "(a second signal stops now)",
            file=sys.stderr,
        )
