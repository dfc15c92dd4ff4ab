"""Judge a stream of examples with bounded concurrency: any model's `judge_many`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from spct.types import Example

T = TypeVar("T")


async def stream(
    judge: Callable[[Example], Awaitable[T]],
    examples: Iterable[Example | None],
    concurrency: int,
) -> AsyncGenerator[T, None]:
    """Run `judge` over examples, at most `concurrency` at once; the first exception ends it.

    A None among the examples lets everything else run for a moment: who skips long stretches of
    an input gives some, so that nothing waits for the end of a stretch.
    """
    source: Iterator[Example | None] = iter(examples)
    done: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue(maxsize=concurrency)

    async def work() -> None:
        try:
            for example in source:  # shared: each worker takes the next one
                if example is None:
                    await asyncio.sleep(0)
                else:
                    await done.put((await judge(example),))
            await done.put(None)
        except Exception as error:
            await done.put(error)

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    running = concurrency
    try:
        while running:
            item = await done.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item[0]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
