"""The gateway's judgements as a run that `spct view` opens live: opt-in, bounded, without texts.

A ring: verdict n has the name n modulo `judgement_log_max`, so a new one takes the place of the
oldest. The numbers go on after a restart; another model or recipe begins a new run. What cannot be
written is counted and never fails a judgement that was made.
"""

from __future__ import annotations

import logging
from pathlib import Path

from spct.errors import SpctError
from spct.protocols import RewardModel
from spct.runs.codec import dump_example, dump_verdict, load_example, load_verdict
from spct.runs.redact import without_texts
from spct.runs.run import open_anew
from spct.types import Example, Verdict

log = logging.getLogger("spct.serve")


class JudgementLog:
    """Keeps the last `most` verdicts in a run folder of its own; texts only if `texts`."""

    def __init__(self, folder: Path, model: RewardModel, *, most: int, texts: bool) -> None:
        self._store = open_anew(folder, {**model.identity(), "command": "serve"})
        self._most, self._texts = most, texts
        self._next = self._store.next_position()
        self.n_lost = 0

    async def add(self, example: Example, verdict: Verdict) -> None:
        """Keep one verdict."""
        n, self._next = self._next, self._next + 1
        record = {**dump_verdict(verdict), "example": dump_example(example)}
        if not self._texts:
            record = without_texts(record)
        record["id"] = record["example"]["id"] = str(n % self._most)
        try:
            await self._store.put_verdict(
                load_verdict(record), load_example(record["example"]), position=n
            )
        except SpctError as error:
            self.n_lost += 1
            if self.n_lost == 1:
                log.warning("the judgement log misses a verdict, and maybe more: %s", error)

    def close(self) -> None:
        """Commit what waits."""
        self._store.close()
