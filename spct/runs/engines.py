"""An engine over the store, which records every reply before it returns.

A reply's key covers all that it depends on: the engine's fingerprint, the example, the order shown,
the messages, the hint, the sampling parameters and its own seed (and, should two samples of a call
ever share a seed, which of them it is). Changing the parser, the vote or the number of samples
keeps every key; changing the prompt or the model changes them all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import sha256

from spct.core.orders import sample_seed
from spct.errors import EXAMPLE_FAULTS, ConfigError, EngineError
from spct.protocols import Engine, Probed, RewardModel
from spct.runs.rows import Reply, is_failed
from spct.runs.store import Store
from spct.types import Completion, Prompt, SamplingParams

Sample = tuple[str, int]  # an example's id and the seed that its plan gives to one sample
Again = dict[Sample, Completion]  # samples to draw once more, with the reply that does not count


def call_keys(fingerprint: str, prompt: Prompt, params: SamplingParams) -> list[bytes]:
    """Return one key per seed of `params`."""
    settings = (
        *(prompt.order, prompt.hint, params.temperature, params.top_p, params.max_tokens),
        *(params.top_logprobs, params.stop, params.grammar),
    )
    turns = [text for m in prompt.messages for text in (m.role, m.content)]
    shared = sha256()
    for text in (
        fingerprint,
        prompt.example_id,
        json.dumps(settings),
        params.grammar or "",
        *turns,
    ):
        data = text.encode("utf-8", "surrogatepass")
        shared.update(b"%d:" % len(data))  # so that no two lists of texts run together
        shared.update(data)
    keys, seen = [], Counter[int]()
    for seed in params.seeds:
        digest = shared.copy()
        digest.update(b"%d %d" % (seed, seen[seed]))
        seen[seed] += 1
        keys.append(digest.digest())
    return keys


def recorded(
    model: RewardModel, store: Store, again: Again | None = None
) -> tuple[RewardModel, RecordingEngine | None]:
    """The model with its replies recorded, and what records them; None if it asks no engine."""
    if model.engine is None:
        return model, None
    recording = RecordingEngine(model.engine, store, again)
    return model.with_(engine=recording), recording


class RecordingEngine(Engine):
    """An engine whose replies outlive the process: it draws only what the store does not hold.

    Those of `again` it draws once more, with another seed, and a good reply then takes the place of
    the one that was stored. `n_drawn` and `n_replayed` count completions. Closing it closes the
    engine, not the store.
    """

    def __init__(self, engine: Engine, store: Store, again: Again | None = None) -> None:
        self.n_drawn = 0
        self.n_replayed = 0
        self._engine = engine
        self._store = store
        self._again = again or {}
        self._in_flight: set[bytes] = set()

    @property
    def fingerprint(self) -> str:
        """The engine's own."""
        return self._engine.fingerprint

    @property
    def retries(self) -> int:
        """The engine's own."""
        return self._engine.retries

    @property
    def endpoints(self) -> Sequence[str]:
        """The engine's own."""
        return self._engine.endpoints

    async def open(self) -> None:
        """Open the engine."""
        await self._engine.open()

    async def probe(self, on_step: Callable[[str], None] | None = None) -> Probed | None:
        """Probe the engine."""
        return await self._engine.probe(on_step)

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Return stored completions and draw the missing ones, committed before they are seen."""
        keys = _checked_keys(self.fingerprint, prompt, n, params)
        if not self._in_flight.isdisjoint(keys):
            raise ConfigError(
                f"example {prompt.example_id!r} is being judged twice at once with the same seeds;"
                " ids must be unique in a run"
            )
        self._in_flight.update(keys)
        try:
            stored = self._store.replies(keys)
            # A reply that is another one by now was drawn again already, before a kill.
            rejected = {
                key: stored[key]
                for key, seed in zip(keys, params.seeds, strict=True)
                if key in stored and stored[key] == self._again.get((prompt.example_id, seed))
            }
            found = {key: reply for key, reply in stored.items() if key not in rejected}
            self.n_replayed += len(found)
            missing = [i for i, key in enumerate(keys) if key not in found]
            if missing:
                drawn = await self._draw(prompt, params, missing, keys, rejected)
                found |= drawn | {k: rejected[k] for k in rejected if is_failed(drawn[k])}
        finally:
            self._in_flight.difference_update(keys)
        return [found[key] for key in keys]

    async def aclose(self) -> None:
        """Close the engine."""
        await self._engine.aclose()

    async def _draw(
        self,
        prompt: Prompt,
        params: SamplingParams,
        missing: Sequence[int],
        keys: Sequence[bytes],
        rejected: Collection[bytes],
    ) -> dict[bytes, Completion]:
        """Ask for the missing ones; each is committed as it arrives, not when all are there."""
        wanted = [keys[i] for i in missing]
        seeds = [
            self._other_seed(prompt, params.seeds[i], keys[i])
            if keys[i] in rejected  # with the same seed it would come the same
            else params.seeds[i]
            for i in missing
        ]
        stored: set[int] = set()

        async def store(places: Sequence[int], completions: Sequence[Completion]) -> None:
            new = zip(places, completions, strict=True)
            replies = [Reply(wanted[at], seeds[at], one) for at, one in new]
            stored.update(places)
            await self._store.put_replies(prompt.example_id, replies, instead=bool(rejected))

        async def arrived(place: int, completion: Completion) -> None:
            if place not in stored:
                self.n_drawn += 1
                await store([place], [completion])

        asked = replace(params, seeds=tuple(seeds), on_completion=arrived)
        try:
            drawn = await self._engine.sample(prompt, len(seeds), asked)
        except EXAMPLE_FAULTS as error:  # this example's own failure, kept as evidence
            left = [at for at in range(len(seeds)) if at not in stored]
            await store(left, [Completion("", "error", error=str(error))] * len(left))
            raise
        left = [at for at in range(min(len(drawn), len(seeds))) if at not in stored]
        if left:
            self.n_drawn += len(left)
            await store(left, [drawn[at] for at in left])
        if len(drawn) != len(seeds):
            raise EngineError(
                f"asked {self.fingerprint} for {len(seeds)} completions of example"
                f" {prompt.example_id!r}, got {len(drawn)}; an engine must return exactly n"
            )
        return dict(zip(wanted, drawn, strict=True))

    def _other_seed(self, prompt: Prompt, seed: int, key: bytes) -> int:
        attempt = self._store.n_set_aside(key) + 1
        return sample_seed(seed, prompt.example_id, -1 - attempt)


def _checked_keys(fingerprint: str, prompt: Prompt, n: int, params: SamplingParams) -> list[bytes]:
    if len(params.seeds) != n:
        raise ConfigError(
            f"a stored sample needs a seed: asked for {n} completions of example"
            f" {prompt.example_id!r}, got the seeds {params.seeds!r}"
        )
    if any(not 0 <= seed < 2**63 for seed in params.seeds):
        raise ConfigError(f"a seed must be from 0 to 2**63 - 1, got {params.seeds!r}")
    return call_keys(fingerprint, prompt, params)
