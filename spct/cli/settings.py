"""`spct config`: every setting of every command, its value, and where the value comes from."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import create_model

from spct.cli.options import SECTIONS, File, Sets
from spct.config import Config
from spct.errors import ConfigError, did_you_mean
from spct.models.judges import with_defaults
from spct.settings import Origins, Settings, resolve


def settings(
    sections: Annotated[
        list[str] | None, typer.Argument(help="Sections to show, such as judge; else all of them.")
    ] = None,
    config_file: File = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object on standard output.")] = False,
) -> None:
    """Show the settings of every command with value and origin: file, environment or default.

    Checks a config file as a whole. What is left to spct is shown as it comes out here: the engine,
    and the judge that is shipped. On a command line flags win over all of these.

    Example: spct config judge serve --config spct.toml
    """
    for name in sections or ():
        if name not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise ConfigError(
                f"no section {name!r}{did_you_mean(name, SECTIONS)} (there are {known})"
            )
    every, origins = _every(config_file, sets or ())
    config = every.model_dump()
    chosen = {name: config[name] for name in sections or SECTIONS}
    if as_json:
        print(json.dumps(chosen, indent=2, default=str))
        return
    rows = [
        (f"{name}.{key}", repr(value), origins[f"{name}.{key}"])
        for name, values in chosen.items()
        for key, value in _flat(values, origins, name)
    ]
    wide = [max(len(row[i]) for row in rows) for i in range(2)]
    for key, value, origin in rows:
        print(f"{key:{wide[0]}}  {value:{min(wide[1], 40)}}  {origin}")


def _every(file: Path | None, sets: list[str] | tuple[()]) -> tuple[Settings, Origins]:
    """All sections, with the engine and the judge settled as `spct judge` would."""
    models: dict[str, type[Settings]] = {}
    for name, place in SECTIONS.items():
        module, _, cls = place.partition(":")
        models[name] = getattr(import_module(module), cls)
    kind: Any = create_model(  # type: ignore[call-overload]
        "Every", __base__=Settings, **{name: (cls, cls()) for name, cls in models.items()}
    )
    given: Any
    given, origins = resolve(kind, file=file, sets=sets)
    # What `spct judge` comes to here: the engine installed, the shipped judge's own settings.
    settled = with_defaults(Config(engine=given.engine, judge=given.judge))
    for section, values in settled:
        before = getattr(given, section)
        origins |= {
            f"{section}.{key}": "default, settled here"
            for key, value in values
            if value != getattr(before, key)
        }
    every: Settings = given.model_copy(update=dict(settled))
    return every, origins


def _flat(values: dict[str, object], origins: Origins, above: str) -> list[tuple[str, object]]:
    """Tables of a section as dotted keys, as they have an origin each."""
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, dict) and f"{above}.{key}" not in origins:
            inner = _flat(value, origins, f"{above}.{key}")
            found += [(f"{key}.{name}", one) for name, one in inner]
        else:
            found.append((key, value))
    return found
