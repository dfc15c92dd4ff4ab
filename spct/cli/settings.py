"""`spct config`: every setting, its value, and where the value comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from spct.cli.options import shown_settings, takes_settings
from spct.config import Config, Origins
from spct.models.judges import with_defaults


@takes_settings
def settings(
    config: Config,
    origins: Origins,
    as_json: Annotated[bool, typer.Option("--json", help="One object on standard output.")] = False,
) -> None:
    """Show every setting with its value and origin: flag, environment, file or default.

    What is left to spct is shown as it comes out here: the engine, and the judge that is shipped.
    """
    given, config = dict(config), with_defaults(config)
    origins = origins | {
        f"{section}.{key}": "default, settled here"
        for section, values in config
        for key, value in values
        if value != getattr(given[section], key)
    }
    if as_json:
        print(json.dumps(config.model_dump(), indent=2))
        return
    rows = shown_settings(config, origins)
    wide = [max(len(row[i]) for row in rows) for i in range(2)]
    for key, value, origin in rows:
        print(f"{key:{wide[0]}}  {value:{wide[1]}}  {origin}")
