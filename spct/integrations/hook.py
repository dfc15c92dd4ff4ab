"""What every hook does: load a reward model once, judge on its own loop, never hang, never lie.

Trainers call hooks from threads and event loops that come and go, and an engine's connections
belong to one loop, so the model lives on a daemon thread with its own. A judgement that fails or
misses its deadline is None, and the log says why. A gateway that cannot be reached from the start
is an error at once, because no step of such a run would have a reward. Where `max_unscored` is set,
the last responses (at least MIN_WINDOW) with a larger share of failures stop the run: an optimiser
must not go on with a judge that is down.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from spct.engines.retry import RetryPolicy
from spct.errors import ConfigError, DataError, EndpointError, EngineError, FormatError, TrainError
from spct.models.remote import MemberRewards, RemoteRM, RemoteVerdict
from spct.protocols import RewardModel
from spct.types import Example, Verdict

T = TypeVar("T")
log = logging.getLogger("spct.integrations")

ENV_MODEL = "SPCT_REWARD_MODEL"
ENV_KEY = "SPCT_GATEWAY_KEY"
ENV_DEADLINE = "SPCT_REWARD_DEADLINE_S"
ENV_MAX_UNSCORED = "SPCT_REWARD_MAX_UNSCORED"
ENVIRONMENT = (ENV_MODEL, ENV_KEY, ENV_DEADLINE, ENV_MAX_UNSCORED)  # all that `from_env` reads
DEADLINE_S = 300.0
WINDOW = 256  # judged responses that `max_unscored` looks back on
MIN_WINDOW = 32  # with fewer it stops nothing: one bad group is not a judge that is down
_REACH_S = 9.0


def load_named(name: str, environ: Mapping[str, str] = os.environ) -> RewardModel:
    """A gateway's address, `scripted`, or what `load_reward_model` takes."""
    from spct.models.load import load_reward_model

    model = load_reward_model(name, environ=environ)
    # a gateway that restarts is waited for: the hook's deadline bounds the tries
    is_remote = model.traits.joins_groups
    return model.with_(retry=RetryPolicy(max_retries=10_000)) if is_remote else model


@dataclass(frozen=True, slots=True)
class Judged:
    """One example's verdict, or why there is none."""

    verdict: Verdict | None
    error: str | None = None

    def reward(self, index: int = 0) -> float | None:
        """One response's reward, or None."""
        verdict = self.verdict
        return None if verdict is None or verdict.rewards is None else verdict.rewards[index]

    @property
    def why(self) -> str | None:
        """Why there is no reward; None where there is one."""
        if self.verdict is None or self.verdict.rewards is not None:
            return self.error
        if isinstance(self.verdict, RemoteVerdict) and self.verdict.error:
            return f"the gateway says: {self.verdict.error}"
        counts = ", ".join(f"{reason} {n}" for reason, n in self.verdict.unscored.items())
        return f"no judgement could be counted ({counts or 'no reason given'})"


def rewards_or_none(asked: MemberRewards | str, n: int) -> list[float | None]:
    """What a gateway said of some members of a group; failures are logged with their reasons."""
    if isinstance(asked, str):
        log.warning("no reward for %d responses: %s", n, asked)
        return [None] * n
    for why, times in Counter(error for error in asked.errors if error).items():
        log.warning("no reward for %d of %d responses: the gateway says: %s", times, n, why)
    return asked.rewards


class Hook:
    """A reward model behind a deadline; `judge_all` may be awaited from any event loop."""

    def __init__(
        self,
        load: Callable[[], RewardModel],
        *,
        deadline_s: float = DEADLINE_S,
        max_unscored: float | None = None,
    ) -> None:
        if deadline_s <= 0:
            raise ConfigError(f"the hook's deadline is {deadline_s} s; it must be positive")
        if max_unscored is not None and not 0 <= max_unscored < 1:
            raise ConfigError(f"max_unscored is {max_unscored}; expected a share, 0 to below 1")
        self._load, self._deadline_s, self._max_unscored = load, deadline_s, max_unscored
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model: RewardModel | None = None
        self._recent: deque[bool] = deque(maxlen=WINDOW)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, *, deadline_s: float = DEADLINE_S
    ) -> Hook:
        """The hook that SPCT_REWARD_MODEL and its fellows describe."""
        name = environ.get(ENV_MODEL)
        if not name:
            raise ConfigError(
                f"{ENV_MODEL} is not set; it names the reward model: a gateway's address "
                "(http://...), a model's folder, a TOML config, or `scripted`"
            )
        limit = environ.get(ENV_MAX_UNSCORED)
        try:
            deadline_s = float(environ.get(ENV_DEADLINE, deadline_s))
            max_unscored = None if limit is None else float(limit)
        except ValueError as error:
            raise ConfigError(f"{ENV_DEADLINE} and {ENV_MAX_UNSCORED}: {error}") from error
        return cls(
            lambda: load_named(name, environ), deadline_s=deadline_s, max_unscored=max_unscored
        )

    @classmethod
    def of(
        cls,
        model: RewardModel | Hook | str | None,
        *,
        deadline_s: float = DEADLINE_S,
        max_unscored: float | None = None,
    ) -> Hook:
        """A hook as it is, or one of a reward model or its name; None asks the environment."""
        if isinstance(model, Hook):
            return model
        if model is None:
            return cls.from_env()
        if isinstance(model, str):
            name = model
            return cls(lambda: load_named(name), deadline_s=deadline_s, max_unscored=max_unscored)
        ready = model
        return cls(lambda: ready, deadline_s=deadline_s, max_unscored=max_unscored)

    async def aclose(self) -> None:
        """Close the model's connections and end the loop's thread. Idempotent."""
        with self._lock:
            loop, model = self._loop, self._model
            self._loop = self._model = None
        if loop is None:
            return
        if model is not None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(model.aclose(), loop))
        loop.call_soon_threadsafe(loop.stop)

    def _close_at_exit(self) -> None:
        with contextlib.suppress(Exception):  # the process ends either way
            asyncio.run(asyncio.wait_for(self.aclose(), 2))

    @property
    def model(self) -> RewardModel:
        """The reward model, loaded at its first use."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    @property
    def gateway(self) -> RemoteRM | None:
        """The model where members of one group may be asked for in several calls, else None."""
        return cast(RemoteRM, self.model) if self.model.traits.joins_groups else None

    async def judge_all(self, examples: Sequence[Example]) -> list[Judged]:
        """Judge examples together; those that fail or are late have no verdict."""
        return await self.on_loop(self._judge_all(examples))

    def check_criteria(self) -> None:
        """Raise `ConfigError` if the model leaves criteria out of what it reads."""
        if not self.model.traits.takes_criteria:
            raise ConfigError(
                f"the hook is given criteria, which {self.model.fingerprint} does not read; use a "
                "judge of the format met, met_one or pointwise_criteria (docs/criteria.md)"
            )

    async def reach(self) -> None:
        """Raise `EndpointError` within ten seconds if the model is a gateway that is not there."""
        if self.gateway is not None:
            await self.on_loop(self._reach(self.gateway))

    async def _reach(self, gateway: RemoteRM) -> None:
        try:
            async with asyncio.timeout(_REACH_S):
                await gateway.open()
        except TimeoutError:
            raise EndpointError(
                f"cannot reach {gateway.fingerprint}: no answer within {_REACH_S:g} s; check the "
                "address, and that `spct serve` runs there"
            ) from None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the hook's own loop, for callers that do not await."""
        return asyncio.run_coroutine_threadsafe(work, self._own_loop()).result()

    async def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the hook's own loop; cancelling the caller cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._own_loop()))

    async def within_deadline(self, work: Coroutine[Any, Any, T]) -> T | str:
        """The result of work that asks the model, or why there is none."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await work
        except TimeoutError:
            trouble = self.gateway.trouble if self.gateway else None
            return f"not within {self._deadline_s:g} s" + (f": {trouble}" if trouble else "")
        except (EngineError, DataError, FormatError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def count(self, is_scored: Sequence[bool]) -> None:
        """Note which responses got a reward; raise where too few of the last ones did."""
        self._recent.extend(is_scored)
        failed = self._recent.count(False)
        if failed and not any(is_scored):
            log.warning("none of %d responses got a reward", len(is_scored))
        if self._max_unscored is None or len(self._recent) < MIN_WINDOW:
            return
        share = failed / len(self._recent)
        if share > self._max_unscored:
            raise TrainError(
                f"{share:.0%} of the last {len(self._recent)} responses got no reward; the limit "
                f"is {self._max_unscored:.0%}. See the judge's log; training on would be blind"
            )

    async def _judge_all(self, examples: Sequence[Example]) -> list[Judged]:
        model = self.model
        tasks = [self.within_deadline(model.judge(example)) for example in examples]
        results = await asyncio.gather(*tasks)
        judged = [Judged(None, one) if isinstance(one, str) else Judged(one) for one in results]
        whys = Counter(one.why for one in judged if one.why)
        for why, n in whys.most_common(5):
            log.warning("no reward for %d of %d examples: %s", n, len(examples), why)
        return judged

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="spct-reward", daemon=True
                ).start()
                atexit.register(self._close_at_exit)
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
