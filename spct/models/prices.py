"""From the setting `price` to the price of the model that answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spct.config import Config, EngineConfig
from spct.errors import ConfigError, did_you_mean
from spct.settings import read_toml, validated
from spct.votes.price import Price


def price_of(config: EngineConfig) -> Price | None:
    """What the tokens of this engine's model cost; None where no price is set."""
    told = config.price
    if told is None or not told.endswith(".toml"):
        return None if told is None else Price.parse(told)
    table = read_toml(Path(told))
    names = [name for name, prices in table.items() if isinstance(prices, dict)]
    if len(names) != len(table) or not names:
        raise ConfigError(f"--price {told}: expected a table [model] of prices for each model")
    if config.model is None and len(names) == 1:
        return Price.of(table[names[0]], f"{told} [{names[0]}]")
    if config.model not in names:
        meant = did_you_mean(str(config.model), names)
        raise ConfigError(
            f"--price {told}: it has no table for the model {config.model!r}{meant} (it has "
            f"{', '.join(names[:20])}); name the model with --model"
        )
    return Price.of(table[config.model], f"{told} [{config.model}]")


def prices_named(specs: Mapping[str, str]) -> dict[str, Price]:
    """The prices of models by their labels: of config files whose [engine] sets one."""
    found: dict[str, Price] = {}
    for label, spec in specs.items():
        path = Path(spec).expanduser()
        table = read_toml(path).get("engine") if path.suffix == ".toml" else None
        if isinstance(table, dict) and (price := price_of(validated(EngineConfig, table, spec))):
            found[label] = price
    return found


def priced(config: Config, share: float = 1.0) -> Config:
    """The settings with the price in words in place of a file, so that a run keeps it.

    `share` is what is paid of it, as through a batch API.
    """
    price = price_of(config.engine)
    if price is None:
        return config
    price = Price(price.input * share, price.cached * share, price.output * share)
    engine = config.engine.model_copy(update={"price": str(price)})
    return config.model_copy(update={"engine": engine})
