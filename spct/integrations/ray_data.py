"""Judging as a stage of a Ray Data pipeline that is somebody's already: read, judge, write.

    rows = ray.data.read_parquet("s3://rows/")
    verdicts = rows.map_batches(
        JudgeBatch,
        fn_constructor_kwargs={"settings": {"engine": {...}, "judge": {"k": 4}}},
        compute=ray.data.ActorPoolStrategy(size=8, max_tasks_in_flight_per_actor=2),
        batch_size=64,
        batch_format="pyarrow",
    )
    verdicts.write_parquet("s3://verdicts/")

Ray holds back the reader, our client holds back requests. Rows are read as `spct.convert_rows` does
and come out as `spct export` writes them to Parquet. Ids must be unique over the whole data set:
nobody here sees all of it. `spct sample --ray` is the run with checkpoints, progress and exit codes
of its own; this is without them, but for the replies that a `cache` keeps for an actor's next life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.data.rows import convert_rows
from spct.integrations.ray_actors import Actor, versions_here
from spct.runs.codec import dump_example, dump_verdict
from spct.runs.judging import judge_into
from spct.runs.table import row, schema
from spct.types import Example, Verdict

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]


class JudgeBatch:
    """An actor class for `map_batches`: a whole judge by its settings (see `spct settings`).

    `cache` is a folder that all nodes reach; `versions` is the driver's, refused where they differ.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        cache: str | None = None,
        mapping: Mapping[str, str] | None = None,
        versions: str | None = None,
    ) -> None:
        import ray  # type: ignore[import-not-found, unused-ignore]

        name = ray.get_runtime_context().get_actor_id()  # the same after a restart
        kept = None if cache is None else str(Path(cache) / str(name))
        self._actor = Actor(settings, versions or versions_here(), kept)
        self._mapping = mapping
        self._loop = asyncio.new_event_loop()  # connections live as long as the actor

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The verdicts on a batch of rows, with their examples, in its order."""
        import pyarrow as pa

        examples = list(convert_rows(batch.to_pylist(), mapping=self._mapping))
        found = self._loop.run_until_complete(self._judged(examples))
        made = [
            row(dump_verdict(found[example.id]) | {"example": dump_example(example)})
            for example in examples
        ]
        return pa.Table.from_pylist(made, schema=schema())

    async def _judged(self, examples: list[Example]) -> dict[str, Verdict]:
        await self._actor.ready()
        found: dict[str, Verdict] = {}

        def keep(example: Example, verdict: Verdict) -> None:
            found[example.id] = verdict

        await judge_into(self._actor.judge_here, examples, on_verdict=keep)
        return found
