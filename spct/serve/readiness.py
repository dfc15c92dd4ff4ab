"""Whether the engine answers: what /readyz says, so that a balancer sends requests elsewhere.

Every judgement tells. Where there have been none (at the start) or they failed, one with a single
token is asked for now and then, until the engine answers again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from spct.errors import ConfigError, SpctError
from spct.protocols import RewardModel
from spct.types import Example, Message, Unscored, Verdict

log = logging.getLogger("spct.serve")

# One example may fail for reasons of its own; an engine that fails for three in a row is down.
_FAILURES = 3
_TRY_TIMEOUT_S = 60.0


class Readiness:
    """What is known of the engine; `trouble` is None while it answers, else why it does not."""

    def __init__(self, model: RewardModel, check_s: float) -> None:
        self._model, self._check_s = model, check_s
        # a model without an engine of its own is trusted until a judgement fails
        self.trouble = None if model.engine is None else "the engine has not answered yet"
        self._n_failed = 0

    def note(self, verdict: Verdict) -> None:
        """Learn from a verdict: any reply, also one that cannot be scored, is a sign of life."""
        drawn = verdict.trajectories
        failed = [
            t.outcome.detail
            for t in drawn
            if isinstance(t.outcome, Unscored) and t.outcome.reason == "failed"
        ]
        if drawn and len(failed) == len(drawn):
            self._n_failed += 1
            if self._n_failed >= _FAILURES or self.trouble:
                self.note_trouble("calls of the engine fail")
        elif drawn or verdict.rewards is not None:
            self._n_failed = 0
            if self.trouble is not None:
                log.info("the engine answers")
            self.trouble = None

    def note_trouble(self, why: str) -> None:
        """Learn that the engine could not answer."""
        if self.trouble is None:
            log.warning("not ready: %s", why)
        self.trouble = why

    async def watch(self) -> None:
        """Ask the engine while it is in trouble."""
        while True:
            if self.trouble is not None:
                await self._try()
            await asyncio.sleep(self._check_s)

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(_TRY_TIMEOUT_S):
                await self._model.open()
                self.note(await self._small().judge(_example(self._model)))
        except TimeoutError:
            self.note_trouble(f"no reply of the engine within {_TRY_TIMEOUT_S:g} s")
        except (SpctError, OSError) as error:
            self.note_trouble(f"the engine does not answer ({type(error).__name__})")
            log.debug("%s", error)

    def _small(self) -> RewardModel:
        """The model, asked for as little as it can be."""
        known = self._model.traits.settings
        changes: dict[str, Any] = {name: 1 for name in ("k", "max_tokens") if name in known}
        try:
            return self._model.with_(**changes)
        except ConfigError:  # such as a vote that needs more judgements
            return self._model


def _example(model: RewardModel) -> Example:
    n = 2 if model.traits.takes(2) else 1
    return Example("readiness", (Message("user", "Say hello."),), ("Hello.", "Hi there.")[:n])
