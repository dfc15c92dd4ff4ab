"""What tokens cost (pure): US dollars per million, as the vendors' tables have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from spct.errors import ConfigError, did_you_mean
from spct.types import Usage

BATCH_SHARE = 0.5  # of the price, for what goes through a vendor's batch API
_KEYS = ("input", "cached", "output")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens: read, read from the endpoint's cache, and written."""

    input: float
    cached: float
    output: float

    @classmethod
    def of(cls, table: Mapping[str, object], where: str) -> Self:
        """Check a table of prices; `cached` is `input` where it is not there."""
        for key, value in table.items():
            if key not in _KEYS:
                known = ", ".join(_KEYS)
                raise ConfigError(
                    f"{where}: unknown key {key!r}{did_you_mean(key, _KEYS)} (known here: {known})"
                )
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value < math.inf:  # type: ignore[operator]
                raise ConfigError(
                    f"{where}: {key} = {value!r}, expected dollars per million tokens"
                )
        if missing := [key for key in ("input", "output") if key not in table]:
            raise ConfigError(f"{where}: {missing[0]} is missing (dollars per million tokens)")
        whole = {"cached": table["input"], **table}
        return cls(**{key: float(whole[key]) for key in _KEYS})  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `input=0.25,cached=0.03,output=2`."""
        pairs = [pair.partition("=")[::2] for pair in text.split(",")]
        try:
            table = {key.strip(): float(value) for key, value in pairs}
        except ValueError:
            form = "input=0.25,output=2 or a TOML file with a table for each model"
            raise ConfigError(f"--price {text!r}: expected {form}") from None
        return cls.of(table, "--price")

    def __str__(self) -> str:
        return ",".join(f"{key}={getattr(self, key):.12g}" for key in _KEYS)

    def cost(self, usage: Usage) -> float:
        """US dollars for this usage."""
        read = usage.prompt_tokens - usage.cached_tokens
        parts = (read, self.input), (usage.cached_tokens, self.cached)
        written = usage.completion_tokens, self.output
        return math.fsum(n * price for n, price in (*parts, written)) / 1e6

    def forecast(self, usage: Usage) -> str:
        """What it would cost in one line; what is to be written is an upper bound."""
        read, whole = self.cost(Usage(usage.prompt_tokens)), self.cost(usage)
        return f"cost: {read:,.2f} USD to read, at most {whole:,.2f} USD in all ({self})"

    def bill(self, usage: Usage) -> str:
        """The cost in one line, for people."""
        return (
            f"cost: {self.cost(usage):,.4f} USD for {usage.prompt_tokens:,} tokens read "
            f"({usage.cached_tokens:,} from a cache) and {usage.completion_tokens:,} written"
        )
