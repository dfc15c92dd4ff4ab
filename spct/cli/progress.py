"""Progress on standard error: live on a terminal, lines in a log, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.text import Text

from spct.runs.judging import Tally

Style = Literal["auto", "rich", "plain", "json", "none"]


class Progress:
    """Shows a tally as it grows: at most four times a second, as lines every ten seconds."""

    def __init__(self, total: int | None, style: Style = "auto") -> None:
        chosen = style if style != "auto" else "rich" if sys.stderr.isatty() else "plain"
        self.total, self.style = total, chosen
        self._started = time.monotonic()
        self._shown = 0.0
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        if chosen == "rich":
            self._live.start()

    def show(self, tally: Tally, retries: int, *, last: bool = False) -> None:
        """Show the tally if it is time to, or if it is the last."""
        now = time.monotonic()
        every = 0.25 if self.style == "rich" else 10.0
        if self.style == "none" or (not last and now - self._shown < every):
            return
        self._shown = now
        facts = self._facts(tally, retries, now - self._started)
        if self.style == "json":
            print(json.dumps(facts), file=sys.stderr, flush=True)
        elif self.style == "plain":
            print(_line(facts), file=sys.stderr, flush=True)
        else:
            self._live.update(Text(_line(facts)), refresh=True)

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
