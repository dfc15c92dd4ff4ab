"""Judging on a Ray cluster: whole judges as actors, behind the one judging loop.

`RayJudge` is to `judge_into` what a model is: each example goes to the actor with the least in
flight, and the verdict comes back to the driver, which alone writes the run. So progress, order,
checkpoints by id and the exit codes are those of every run. A call through Ray costs as much as a
judgement's own work, so examples go out, and verdicts come back, as many in one call as there are.
An actor that dies is started again by Ray; it does not know what it is asked for, is given it once
more, and judges it from its own cache of replies where the run's folder is on a disk that it
reaches. Ray's own LLM stage keeps one output for a prompt, and its HTTP stage does not try
again: that is why a judge stands in the actor.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spct import __version__
from spct.config import Config, RayConfig
from spct.errors import ConfigError, EngineError, ExtraMissing, SpctError
from spct.models.judges import build_judge
from spct.protocols import RewardModel, Traits
from spct.runs.codec import Record, dump_example, load_example
from spct.runs.engines import recorded
from spct.runs.judging import judged
from spct.runs.packed import Packed
from spct.runs.rows import packed
from spct.runs.saving import Saving
from spct.runs.store import Store
from spct.types import Example

LINGER_S = 0.02  # how long a verdict waits for company: far below any judgement
OBJECTS = 200 * 2**20  # bytes of Ray's shared memory on one machine: examples pass through it
STARTS = {  # for a node that is started here
    # seconds that it may take: a busy machine needs more than Ray's 10
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_gcs_server_request_timeout_seconds": "180",
    # Ray's 15 puts its actors behind all other work of the machine, where they hardly run
    "RAY_worker_niceness": "0",
}


class Actor:
    """One judge in a process of Ray. `cache` is a folder for its replies, or None."""

    def __init__(self, settings: Mapping[str, Any], versions: str, cache: str | None) -> None:
        if versions != versions_here():
            raise ConfigError(
                f"a Ray worker has {versions_here()}, the driver {versions}: install the same on "
                "every node, or give Ray a runtime environment"
            )
        self._model = build_judge(Config.model_validate(settings))
        self._judge: RewardModel = self._model
        self._saving = Saving(self._model)
        self._cache = cache
        self._store: Store | None = None
        self._opening, self._is_open = asyncio.Lock(), False
        self._tasks: dict[str, asyncio.Task[Packed]] = {}  # of examples that nobody took yet
        self._news = asyncio.Event()

    async def ready(self) -> str:
        """Open the judge; the fingerprint of what it judges with."""
        async with self._opening:
            if not self._is_open:
                await self._model.open()
                self._is_open = True
                if self._cache is not None and Path(self._cache).parent.parent.is_dir():
                    self._store = Store.open(self._cache, self._model.identity())
                    self._judge, _ = recorded(self._model, self._store)
        return self._model.fingerprint

    @property
    def judge_here(self) -> RewardModel:
        """The judge with its cache, for callers in the actor's own process."""
        return self._judge

    async def hand(self, examples: Sequence[Record]) -> None:
        """Begin to judge examples, as `dump_example` wrote them, but for those that are begun."""
        for example in examples:
            if (name := str(example["id"])) not in self._tasks:
                task = self._tasks[name] = asyncio.create_task(self._judged(example))
                task.add_done_callback(lambda _: self._news.set())

    async def take(self, ids: Sequence[str]) -> tuple[list[Packed], list[str]]:
        """What is finished, once there is something, and which of `ids` are not known here."""
        unknown = [name for name in ids if name not in self._tasks]
        if not unknown:
            await self._news.wait()
            await asyncio.sleep(LINGER_S)
        self._news.clear()
        done = [name for name, task in self._tasks.items() if task.done()]
        return [self._tasks.pop(name).result() for name in done], unknown

    async def _judged(self, example: Record) -> Packed:
        await self.ready()
        verdict = await judged(self._judge, load_example(example))
        return packed(verdict, example, self._saving.of(verdict))


def versions_here() -> str:
    """What driver and workers must have in common."""
    return f"spct {__version__} on Python {'.'.join(platform.python_version_tuple()[:2])}"


class Link:
    """The driver's end of one actor, whose calls `got` waits for."""

    def __init__(self, actor: Any, got: Callable[[Any], Awaitable[Any]]) -> None:
        self._actor, self._got = actor, got
        self._out: dict[str, tuple[Record, asyncio.Future[Packed]]] = {}
        self._new: list[str] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[None] | None = None

    @property
    def n_out(self) -> int:
        """How many examples are there."""
        return len(self._out)

    async def judge(self, example: Example) -> Packed:
        """Judge one example; those of one turn of the loop go out together."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Packed] = loop.create_future()
        self._out[example.id] = dump_example(example), done
        self._new.append(example.id)
        if len(self._new) == 1:
            loop.call_soon(self._hand_new)
        if self._taking is None or self._taking.done():
            self._taking = loop.create_task(self._take())
        try:
            return await done
        finally:
            self._out.pop(example.id, None)

    def _hand_new(self) -> None:
        ids, self._new = self._new, []
        if ids:
            call = asyncio.get_running_loop().create_task(self._hand(ids))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _hand(self, ids: Sequence[str]) -> None:
        with self._failing():
            records = [self._out[name][0] for name in ids if name in self._out]
            await self._got(self._actor.hand.remote(records))

    async def _take(self) -> None:
        with self._failing():
            while self._out:
                self._hand_new()  # or the actor would not know them
                ids = list(self._out)  # not empty: one that starts again would know none, and wait
                await asyncio.sleep(0)
                found, unknown = await self._got(self._actor.take.remote(ids))
                for verdict in found:
                    _, done = self._out.pop(verdict.example_id, (None, None))
                    if done is not None and not done.done():
                        done.set_result(verdict)
                if unknown:
                    await self._hand(unknown)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong with a call is told to everybody who waits for this actor."""
        try:
            yield
        except Exception as error:
            for _, done in self._out.values():
                if not done.done():
                    done.set_exception(error)
            self._out.clear()


class RayJudge:
    """Judges through actors.

    The address is that of a cluster, `auto` for the one around this machine, or `local` for one of
    this machine alone.
    """

    def __init__(self, config: Config, model: RewardModel, folder: Path, on: RayConfig) -> None:
        for name, value in STARTS.items():
            os.environ.setdefault(name, value)
        try:
            import ray  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise ExtraMissing("ray", "scale") from error
        self._ray, self._model = ray, model
        self.concurrency = config.judge.concurrency * on.actors
        address, actors, gpus = str(on.address), on.actors, on.gpus
        where: dict[str, Any] = {"address": address}
        if address == "local":
            where |= {"num_cpus": actors, "object_store_memory": OBJECTS}
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **where)
        except Exception as error:  # Ray raises bare ones where a node does not start
            raise ConfigError(f"--ray {address}: {' '.join(str(error).split())[:300]}") from error
        made = ray.remote(Actor)
        how = {"max_restarts": -1, "max_task_retries": -1, "num_gpus": gpus}
        how |= {"num_cpus": 1, "max_concurrency": 2 * config.judge.concurrency + 8}
        caches = folder / "ray"
        caches.mkdir(exist_ok=True)
        self._actors = [
            made.options(**how).remote(config.model_dump(), versions_here(), str(caches / str(i)))
            for i in range(actors)
        ]
        self._links = [Link(actor, self._got) for actor in self._actors]

    @property
    def fingerprint(self) -> str:
        """The judge's own, as every actor must have it."""
        return self._model.fingerprint

    @property
    def traits(self) -> Traits:
        """The judge's own."""
        return self._model.traits

    async def open(self) -> None:
        """Wait for the actors; raise `ConfigError` where one judges with something else."""
        for actor in self._actors:
            found = await self._got(actor.ready.remote())
            if found != self.fingerprint:
                raise ConfigError(
                    f"a Ray worker judges with {found}, expected {self.fingerprint}: its "
                    "environment names another endpoint or model"
                )

    async def judge(self, example: Example) -> Packed:
        """Judge one example in the actor with the least in flight."""
        return await min(self._links, key=lambda link: link.n_out).judge(example)

    async def _got(self, reference: Any) -> Any:
        try:
            return await reference
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SpctError):
                raise error.cause from None
            raise EngineError(f"a Ray worker failed: {str(error.cause)[:500]}") from error
        except self._ray.exceptions.RayError as error:
            words = " ".join(str(error).split())
            raise EngineError(f"a Ray worker failed: {words[:500]}") from error

    def close(self) -> None:
        """Stop the actors and leave the cluster. Idempotent."""
        with suppress(Exception):
            for actor in self._actors:
                self._ray.kill(actor)
        self._ray.shutdown()
