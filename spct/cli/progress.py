"""Progress on standard error: live on a terminal, lines in a log, JSON lines for programs.

It is shown by the clock and not by what is done: the first judgement of a small machine takes a
minute, and until then nobody would know whether anything happens.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.text import Text

from spct.config import EngineConfig
from spct.protocols import RewardModel
from spct.runs.judging import Tally

Style = Literal["auto", "rich", "plain", "json", "none"]
FIRST_S, LIVE_S, LINE_S = 1.0, 0.25, 10.0  # when a first line comes, and how often the next


async def opened(model: RewardModel, engine: EngineConfig, style: Style) -> None:
    """Open a model; say what is loaded before it takes its time."""
    if style not in ("none", "json") and engine.kind not in ("openai", "scripted"):
        adapter = f" with the adapter {engine.adapter}" if engine.adapter else ""
        print(f"loading {engine.model or 'the model'}{adapter} ({engine.kind})", file=sys.stderr)
    await model.open()


@asynccontextmanager
async def watched(
    tally: Tally,
    total: int | None,
    style: Style,
    retries: Callable[[], int] = lambda: 0,
    endpoints: Callable[[], Sequence[str]] = tuple,
    *,
    part: str | None = None,
) -> AsyncIterator[None]:
    """Show a tally as it grows while the body runs, and once more at its end.

    `part` names what is judged where a command judges several things, one after the other;
    `endpoints` gives a line for each of several.
    """
    with closing(_Shown(total, style, part)) as shown:

        async def tick() -> None:
            await asyncio.sleep(LIVE_S if shown.style == "rich" else FIRST_S)
            while True:
                shown.show(tally, retries(), endpoints())
                await asyncio.sleep(LIVE_S if shown.style == "rich" else LINE_S)

        # A task of its own: verdicts may be minutes apart, and embedded engines work in threads.
        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
        shown.show(tally, retries(), endpoints())


class _Shown:
    """One place on standard error."""

    def __init__(self, total: int | None, style: Style, part: str | None) -> None:
        chosen = style if style != "auto" else "rich" if sys.stderr.isatty() else "plain"
        self.total, self.style, self.part = total, chosen, part
        self._started = time.monotonic()
        # Refreshed by hand: rich's own thread would draw while another writes a warning.
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        if chosen == "rich":
            self._live.start()

    def show(self, tally: Tally, retries: int, endpoints: Sequence[str]) -> None:
        """Show the tally as it is now."""
        facts = self._facts(tally, retries, time.monotonic() - self._started)
        named: dict[str, Any] = {} if self.part is None else {"part": self.part}
        named |= {"endpoints": list(endpoints)} if endpoints else {}
        first = _line(facts) if self.part is None else f"{self.part}: {_line(facts)}"
        line = "\n  ".join([first, *endpoints])
        if self.style == "json":
            print(json.dumps(named | facts), file=sys.stderr, flush=True)
        elif self.style == "plain":
            print(line, file=sys.stderr, flush=True)
        elif self.style == "rich":
            self._live.update(Text(line), refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""
        if self.style == "rich":
            self._live.stop()

    def _facts(self, tally: Tally, retries: int, seconds: float) -> dict[str, float | int | None]:
        rate = tally.examples / seconds if seconds > 0 else 0.0
        left = None if self.total is None else max(0, self.total - tally.examples)
        return {
            "done": tally.examples,
            "total": self.total,
            "per_second": round(rate, 3),
            "eta_s": None if left is None or not rate else round(left / rate, 1),
            "unscored": tally.n_unscored,
            "without_rewards": tally.without_rewards,
            "retries": retries,
            "tokens": tally.usage.prompt_tokens + tally.usage.completion_tokens,
        }


def _line(facts: dict[str, float | int | None]) -> str:
    total = "?" if facts["total"] is None else facts["total"]
    eta = "?" if facts["eta_s"] is None else f"{facts['eta_s']:.0f} s"
    return (
        f"{facts['done']}/{total}  {facts['per_second']:.2f}/s  ETA {eta}  "
        f"unscored {facts['unscored']}  retries {facts['retries']}  tokens {facts['tokens']}"
    )
