"""The short way in for Python: one call, settings by name, no event loop needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spct.core.plan import content_id
from spct.errors import ConfigError, DataError, did_you_mean
from spct.protocols import Engine, RewardModel
from spct.types import Example, Message, Verdict

if TYPE_CHECKING:
    from spct.config import Config
    from spct.train.rft import Funnel

T = TypeVar("T")


def judge(
    query: str | Sequence[Message],
    responses: Sequence[str],
    *,
    reference: str | None = None,
    engine: Engine | None = None,
    **settings: Any,
) -> Verdict:
    """Judge the responses to a query and return the verdict.

    `settings` are those of `spct config`, without their section: k=8, model="...", vote="majority".
    Without any, the endpoint of OPENAI_BASE_URL judges, or else the embedded model. An engine that
    is passed in stays open; one made here is closed. In an async program use `GenerativeRM`.
    """
    from spct.data.chat.conversation import is_query
    from spct.models.judges import build_judge

    turns = (Message("user", query),) if isinstance(query, str) else tuple(query)
    if not is_query(turns):
        raise DataError("judge() got a query that does not end with words of the user")
    id = content_id(turns, responses, reference)
    example = Example(id, turns, tuple(responses), reference=reference)
    model = build_judge(_config(settings), engine)
    return run_sync(_judge_all(model, [example], close=engine is None))[0]


def judge_all(model: RewardModel, examples: Iterable[Example]) -> list[Verdict]:
    """Judge many examples at once; verdicts in the order of the examples. The model is closed."""
    return run_sync(_judge_all(model, list(examples), close=True))


async def _judge_all(
    model: RewardModel, examples: Sequence[Example], *, close: bool
) -> list[Verdict]:
    try:
        await model.open()
        found = {verdict.example_id: verdict async for verdict in model.judge_many(examples)}
        return [found[example.id] for example in examples]
    finally:
        if close:
            await model.aclose()


def bench(
    models: Sequence[str], benchmarks: Sequence[str | Path], out: Path, **settings: Any
) -> dict[str, Any]:
    """Measure reward models, by name, on benchmarks or files of examples; the report.

    `out` becomes a run folder with report.md, figures and every judgement; the same call continues
    it. `settings` are those of `spct bench`: samples=(1, 4), limit=("100",), resamples=...
    """
    from spct.measure.command import run_bench
    from spct.measure.config import BenchConfig
    from spct.settings import validated

    named = {"benchmarks": tuple(map(str, benchmarks)), **settings}
    return run_bench(models, validated(BenchConfig, named, "bench()"), out)[1]


def rft(examples: Iterable[Example], engine: Engine, out: Path, **settings: Any) -> Funnel:
    """Draw judgements of examples with gold and write those that teach to `out`/rows.jsonl.

    Rejective fine-tuning (section 3.1): what is wrong, unreadable or too easy is left out, and the
    funnel counts why. `settings` are those of `spct data rft`: n_samples=3, temperature=0.7, ...
    """
    from spct.settings import validated
    from spct.train.config import RftDataConfig
    from spct.train.rft import build
    from spct.train.sampling import Formats

    config = validated(RftDataConfig, settings, "rft()")
    return run_sync(build(examples, engine, Formats(), config, out))


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    result: list[T | BaseException] = []

    def target() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:
            result.append(error)

    # A notebook's loop is running and cannot be re-entered: a loop of our own, in a thread.
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _config(settings: dict[str, Any]) -> Config:
    """Settings by bare name -> Config; an unknown name is an error with its nearest."""
    from spct.config import Config
    from spct.settings import resolve

    section_of = {key: name for name, section in Config() for key in type(section).model_fields}
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if key not in section_of:
            meant = did_you_mean(key, section_of)
            raise ConfigError(f"judge() got an unknown setting {key!r}{meant}")
        sections.setdefault(section_of[key], {})[key] = value
    return resolve(Config, flags=sections)[0]
