"""Which endpoints a run names: on the command line, or in a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spct.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, and how much it bears beside the others."""

    base_url: str
    weight: float = 1.0


def places(urls: Sequence[str], file: str | None = None) -> str | Sequence[Endpoint] | None:
    """One address, or several endpoints; a file of one is replicas too, of which one is there."""
    if file is not None:
        if urls:
            raise ConfigError("naming endpoints: give either --base-url or --endpoints")
        return read_endpoints(file)
    return [Endpoint(url) for url in urls] if len(urls) > 1 else next(iter(urls), None)


def read_endpoints(file: str) -> list[Endpoint]:
    """Read a file of endpoints: `http://host:8000/v1 [weight]` a line; # begins a comment."""
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"reading --endpoints {file}: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            weight = float(words[1]) if len(words) > 1 else 1.0
        except ValueError:
            weight = math.nan
        if len(words) > 2 or not 0 < weight < math.inf:
            raise ConfigError(
                f"{file}:{number}: got {line.strip()!r}, expected an address and, after a space, "
                "perhaps a weight above 0"
            )
        found.append(Endpoint(words[0], weight))
    if not found:
        raise ConfigError(f"reading --endpoints {file}: it names no endpoint")
    return found
