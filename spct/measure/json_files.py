"""The JSON of every report: what measures return as plain values, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spct.measure.intervals import Interval
from spct.runs.folder import atomic_text


def plain(value: Any) -> Any:
    """JSON values: intervals as objects, floats to eight digits, NaN as null."""
    match value:
        case Interval():
            return plain(value._asdict())
        case float():
            return None if math.isnan(value) else round(value, 8)
        case dict() | Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def write_json(path: Path, value: Any) -> None:
    """Write a report that is complete or not there."""
    with atomic_text(path) as file:
        file.write(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: Sequence[Any]) -> None:
    """Write JSON lines."""
    with atomic_text(path) as file:
        for value in values:
            file.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
