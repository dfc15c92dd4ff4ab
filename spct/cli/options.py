"""Every setting of a config as a command-line option, made from its field and description."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from spct.config import Config, Origins, Settings, resolve

# Settings whose flag is not simply their own name.
FLAGS = {
    ("engine", "kind"): ("--engine",),
    ("engine", "model"): ("--model", "-m"),
    ("engine", "max_concurrency"): ("--max-concurrency", "-j"),
    ("judge", "k"): ("--samples", "-k"),
}
CONFIG_FILE = typer.Option("--config", "-c", help="A TOML file with the sections engine and judge.")


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `config` and `origins` one option for each setting of `Config`.

    Flags win over SPCT_SECTION_KEY variables, those over the file of --config, that over defaults.
    """

    @functools.wraps(command)
    def run(**given: Any) -> None:
        flags = {
            section: {key: given.pop(f"{section}__{key}", None) for key in settings.model_fields}
            for section, settings in _sections().items()
        }
        config, origins = resolve(Config, flags=flags, file=given.pop("config_file"))
        command(config=config, origins=origins, **given)

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name not in ("config", "origins")
    ]
    file = inspect.Parameter(
        "config_file",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, CONFIG_FILE],
    )
    settings = [
        _option(section, key, field)
        for section, cls in _sections().items()
        for key, field in cls.model_fields.items()
        if get_origin(_bare(field.annotation)) is not dict  # tables are for config files
    ]
    run.__signature__ = inspect.Signature([*own, file, *settings])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, file, *settings]}
    return run


def _sections() -> dict[str, type[Settings]]:
    return {name: field.annotation for name, field in Config.model_fields.items()}  # type: ignore[misc]


def _option(section: str, key: str, field: FieldInfo) -> inspect.Parameter:
    names = FLAGS.get((section, key), (f"--{key.replace('_', '-')}",))
    kind = _bare(field.annotation)
    if kind is bool:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    shown = "" if field.default is None else f" [default: {field.default}]"
    option = typer.Option(
        *names,
        help=f"{field.description}{shown}",
        rich_help_panel=f"Settings: {section}",
        show_default=False,
    )
    return inspect.Parameter(
        f"{section}__{key}",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _bare(annotation: Any) -> Any:
    """The type without `| None` and without constraints."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def shown_settings(config: Config, origins: Origins) -> list[tuple[str, str, str]]:
    """Each setting's dotted key, value and origin."""
    return [
        (f"{section}.{key}", repr(value), origins[f"{section}.{key}"])
        for section, settings in config
        for key, value in settings
    ]
