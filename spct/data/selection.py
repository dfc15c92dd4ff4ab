"""Which of the examples are taken."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator

from spct.errors import ConfigError, DataError
from spct.types import Example


def with_ids(examples: Iterable[Example], ids: Collection[str], name: str) -> Iterator[Example]:
    """The examples of these ids; raise `DataError` for one that is not there."""
    missing = set(ids)
    for example in examples:
        if example.id in missing:
            missing.remove(example.id)
            yield example
    if missing:
        raise DataError(f"selecting from {name}: got no examples with the ids {sorted(missing)}")


def shuffled(examples: Iterable[Example], seed: int) -> Iterator[Example]:
    """All of them in another order; they are held in memory."""
    held = list(examples)
    random.Random(seed).shuffle(held)
    yield from held


def check_options(schema: str, limit: int | None, span: tuple[int, int] | None) -> None:
    """Refuse options that no file could be read with."""
    if schema not in ("auto", "spct"):
        from spct.data.layouts.table import ALIASES, SCHEMAS

        if schema not in SCHEMAS and schema not in ALIASES:
            known = ", ".join(SCHEMAS)
            raise ConfigError(f"--schema: got {schema!r}, expected auto or one of {known}")
    if limit is not None and limit < 0:
        raise ConfigError(f"--limit: got {limit}, expected 0 or more")
    if span is not None and not 0 <= span[0] <= span[1]:
        raise ConfigError(f"--range: got {span[0]}:{span[1]}, expected a:b with 0 <= a <= b")
