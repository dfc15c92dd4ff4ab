"""The short way in for Python: one call, settings by name, no event loop needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from spct.core.plan import content_id
from spct.errors import ConfigError
from spct.types import Engine, Example, Message, Verdict

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
    turns = (Message("user", query),) if isinstance(query, str) else tuple(query)
    id = content_id(turns, responses, reference)
    example = Example(id, turns, tuple(responses), reference=reference)

    async def run() -> Verdict:
        from spct.models.judges import build_judge

        rm = build_judge(_config(settings), engine)
        try:
            await rm.open()
            return await rm.judge(example)
        finally:
            if engine is None:
                await rm.aclose()

    return run_sync(run())


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

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _config(settings: dict[str, Any]) -> Any:
    """Settings by bare name -> Config; an unknown name is an error with its nearest."""
    from difflib import get_close_matches

    from spct.config import Config, resolve

    sections: dict[str, dict[str, Any]] = {}
    section_of = {
        key: name
        for name, field in Config.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    }
    for key, value in settings.items():
        if key not in section_of:
            near = get_close_matches(key, section_of, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"judge() got an unknown setting {key!r}{meant}")
        sections.setdefault(section_of[key], {})[key] = value
    return resolve(Config, flags=sections)[0]
