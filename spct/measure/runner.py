"""Reward models on benchmarks into one run folder; the same command continues it.

Each model, benchmark and mode is a part with a store of its own. A verdict that is stored with at
least the k asked for is never judged again, and the replies of a larger k include those of a
smaller one, so raising k or the limit draws only what is missing. Benchmarks with two orders show
each presentation as it stands (`orders="fixed"`), so that both orders are really judged.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spct.errors import ConfigError
from spct.measure.loading import Loaded
from spct.measure.rows import Mode, Part, without_texts
from spct.protocols import Engine, RewardModel
from spct.runs.engines import RecordingEngine
from spct.runs.folder import atomic_text
from spct.runs.identity import of_judgements
from spct.runs.judging import Tally, judge_into
from spct.runs.run import finished, look_back
from spct.runs.store import Store
from spct.types import Example, Verdict


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: models by label, and how to sample from those that sample."""

    models: Mapping[str, RewardModel]
    k: int
    greedy: bool = True
    fresh: bool = False
    accept_drift: bool = False
    retry_unscored: bool = False


# What shows a part while it is judged: its name, its tally, how many are left to judge.
Watch = Callable[[str, Tally, int], AbstractAsyncContextManager[None]]


def unwatched(part: str, tally: Tally, left: int) -> AbstractAsyncContextManager[None]:
    """Show nothing."""
    return nullcontext()


async def run_job(
    job: Job, benchmarks: Sequence[Loaded], folder: Path, watch: Watch = unwatched
) -> dict[str, list[Part]]:
    """Judge what is not stored yet; the parts of each benchmark by its name."""
    parts: dict[str, list[Part]] = {loaded.benchmark.name: [] for loaded in benchmarks}
    try:
        for label, model in job.models.items():
            await model.open()
            check_sizes(label, model, benchmarks)
            for loaded in benchmarks:
                greedy = job.greedy and loaded.benchmark.with_greedy
                for mode in _modes(model, greedy=greedy):
                    part = await _run_part(job, label, model, loaded, mode, folder, watch)
                    parts[loaded.benchmark.name].append(part)
    finally:
        for model in job.models.values():
            await model.aclose()
    return parts


def check_sizes(label: str, model: RewardModel, benchmarks: Sequence[Loaded]) -> None:
    """Refuse a benchmark of which the model takes nothing, before anything is spent.

    Where it takes some items, the others are unscored and counted, as any item's own fault is.
    """
    for loaded in benchmarks:
        sizes = sorted({example.n for example in loaded.examples})
        if not any(map(model.traits.takes, sizes)):
            raise ConfigError(
                f"{label} on {loaded.benchmark.title}: the model takes {_sizes_of(model)}, the "
                f"items have {', '.join(map(str, sizes))}; choose another model or benchmark"
            )


def _sizes_of(model: RewardModel) -> str:
    fewest, most = model.traits.min_responses, model.traits.max_responses
    if most is None:
        return f"{fewest} or more responses"
    return f"{fewest} to {most} responses" if fewest < most else f"{fewest} responses"


def _modes(model: RewardModel, *, greedy: bool) -> tuple[Mode, ...]:
    if not model.traits.gains_from_samples:
        return ("reward",)
    if model.identity()["temperature"] == 0:
        return ("greedy",)
    return ("greedy", "sampled") if greedy else ("sampled",)


async def _run_part(
    job: Job,
    label: str,
    model: RewardModel,
    loaded: Loaded,
    mode: Mode,
    folder: Path,
    watch: Watch,
) -> Part:
    where = folder / "parts" / slug(label) / slug(loaded.benchmark.name) / mode
    k = job.k if mode == "sampled" else 1
    identity = part_identity(model, loaded, mode)
    name = f"{label} on {loaded.benchmark.name}, {mode}"
    with Store.open(where, identity, fresh=job.fresh, accept_drift=job.accept_drift) as store:
        # A verdict on fewer samples than asked for now is judged again: its replies are stored, so
        # only the missing ones are drawn.
        again = look_back(store, retry_unscored=True).again if job.retry_unscored else {}
        wanted = loaded.by_id.keys() - {example_id for example_id, _ in again}
        verdicts = {v.example_id: without_texts(v) for v in finished(store, wanted, k)}
        n_before, started = len(verdicts), time.monotonic()
        recording = None if model.engine is None else RecordingEngine(model.engine, store, again)

        def seen(example: Example, verdict: Verdict) -> None:
            verdicts[example.id] = without_texts(verdict)

        tally, left = Tally(), len(loaded.examples) - n_before
        try:
            async with watch(name, tally, left):
                await judge_into(
                    drawing(model, k, mode, fixed=loaded.benchmark.two_orders, engine=recording),
                    loaded.examples,
                    put=store.put_verdict,
                    finished=frozenset(verdicts),
                    on_verdict=seen,
                    tally=tally,
                )
        finally:
            if len(verdicts) > n_before and (recording is None or recording.n_drawn):
                seconds = time.monotonic() - started
                _add_seconds(folder, name, seconds, len(verdicts) - n_before)
    return Part(label, mode, verdicts, {**identity, **_settings(model)})


def drawing(
    model: RewardModel, k: int, mode: Mode, *, fixed: bool, engine: Engine | None
) -> RewardModel:
    """The model as it is recorded: it draws all k, since rows and stopping are replayed."""
    wished: dict[str, Any] = {} if engine is None else {"engine": engine}
    wished |= {"k": k, "stopping": None}
    wished |= {"orders": "fixed"} if fixed else {}
    wished |= {"temperature": 0.0} if mode == "greedy" else {}
    known = model.traits.settings
    return model.with_(**{name: value for name, value in wished.items() if name in known})


def part_identity(model: RewardModel, loaded: Loaded, mode: Mode) -> dict[str, Any]:
    """All that a stored verdict depends on, except k and the selection of items."""
    identity: dict[str, Any] = {
        "benchmark": loaded.benchmark.name,
        "benchmark.sha256": loaded.sha256,
        "mode": mode,
        "model": model.fingerprint,
    }
    identity |= of_judgements(model.identity())
    if mode == "greedy":
        identity["temperature"] = 0.0
    if loaded.benchmark.two_orders and "orders" in identity:
        identity["orders"] = "fixed"
    return identity


def _settings(model: RewardModel) -> dict[str, Any]:
    """What re-voting needs to know; `judge` says which official rule holds."""
    found: dict[str, Any] = {}
    if "vote" in model.identity():
        found["vote"] = model.identity()["vote"]
    if model.traits.scale is not None:
        found |= {"scale": model.traits.scale, "judge": True}
    return found


def slug(name: str) -> str:
    """A name that is safe as a folder's; different names stay different."""
    safe = re.sub(r"[^A-Za-z0-9.=@-]+", "_", name).strip("._") or "model"
    if safe == name:
        return safe
    return f"{safe[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


# --- seconds, which no report's bytes depend on ---------------------------------------------------


def _add_seconds(folder: Path, name: str, seconds: float, n_items: int) -> None:
    """Add to timing.json; a session that drew nothing adds nothing."""
    timing = seconds_of(folder)
    before = timing.get(name, {"seconds": 0.0, "items": 0})
    timing[name] = {
        "seconds": round(before["seconds"] + seconds, 3),
        "items": before["items"] + n_items,
    }
    with atomic_text(folder / "timing.json") as file:
        file.write(json.dumps(timing, indent=2, sort_keys=True) + "\n")


def seconds_of(folder: Path) -> dict[str, Any]:
    """Seconds and judged items of each part so far."""
    path = folder / "timing.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def labels(specs: Iterable[str]) -> dict[str, str]:
    """A short unique label for each model spec: its file's or folder's name."""
    found: dict[str, str] = {}
    for spec in specs:
        path = Path(spec)
        label = path.stem if path.suffix == ".toml" else path.name or spec
        found[spec if label in found.values() else label] = spec
    return found
