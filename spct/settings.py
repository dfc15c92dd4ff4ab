"""How settings are read: flag > environment (SPCT_SECTION_KEY) > TOML file > default, strictly.

A section is a frozen pydantic model. An unknown key is an error that names the nearest known one,
wherever it stands. `resolve` layers the sources, here and nowhere else, and says where each value
came from.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from spct.errors import NOT_UTF8, ConfigError, did_you_mean


class Settings(BaseModel):
    """Base of every section and stage: frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _split(cls, value: Any, info: ValidationInfo) -> Any:
        """Several values in one word: `-k 1,2,4`, or a variable of the environment."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, str) and get_origin(field.annotation) is tuple:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


S = TypeVar("S", bound=Settings)
_NUMBER = re.compile(r"-?[0-9.]+")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; every failure names the file."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # editors of Windows begin with a mark
    except OSError as error:
        raise ConfigError(
            f"cannot read the config file {str(path)!r}: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config file {str(path)!r} is not UTF-8{NOT_UTF8}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the config file {str(path)!r} is not valid TOML: {error}") from error


def validated(cls: type[S], data: Mapping[str, Any], where: str) -> S:
    """Build settings; an error names `where`, the dotted key, what was got and what is known."""
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(cls, e, where) for e in error.errors())) from None


def _explain(cls: type[Settings], error: Any, where: str) -> str:
    path = [str(part) for part in error["loc"]]
    dotted = ".".join(path)
    if error["type"] != "extra_forbidden":
        value = error["input"]  # a number from a flag is text, and reads better without quotes
        shown = value if isinstance(value, str) and _NUMBER.fullmatch(value) else repr(value)
        return f"{where}: {dotted} = {shown}: {error['msg']}"
    # Known keys are those beside it, at its own depth: `judge.kk` is near `k`, not near `judge`.
    known = _keys_beside(cls, path)
    meant = did_you_mean(path[-1], known)
    return f"{where}: unknown key {dotted!r}{meant} (known here: {', '.join(known)})"


def _keys_beside(cls: type[Settings], path: list[str]) -> list[str]:
    """The known keys at the level where the last part of `path` stands."""
    level: list[type[BaseModel]] = [cls]
    for part in path[:-1]:
        fields = [model.model_fields[part] for model in level if part in model.model_fields]
        level = [model for field in fields for model in models_in(field.annotation)]
    return sorted({key for model in level for key in model.model_fields})


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, such as the one in `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


Origins = dict[str, str]
Given = Iterator[tuple[str, Any]]


def resolve(
    cls: type[S],
    *,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    sets: Sequence[str] = (),
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
    own: str | None = None,
    elsewhere: Sequence[str] = (),
) -> tuple[S, Origins]:
    """Layer the sources of a config of sections; also return `section.key` -> origin.

    `flags` is {section: {key: value}}; None values were not given. `sets` are the texts of --set,
    `section.key=value` each. Keys without a section belong to the section `own`. Tables of a file
    that `elsewhere` names are other commands' and left alone.
    """
    merged: dict[str, Any] = {}
    origins: Origins = {}
    own_keys = set(_section(cls, own).model_fields) - set(cls.model_fields) if own else ()

    # Later layers put over earlier ones key by key: a flag replaces one key of a file's table.
    def lay(origin: str, items: Given) -> None:
        for dotted, value in items:
            if dotted.partition(".")[0] in own_keys:
                dotted = f"{own}.{dotted}"
            _put(merged, dotted, value, origin)
            origins[dotted] = origin

    if file is not None:
        tables = {k: v for k, v in read_toml(file).items() if k not in elsewhere}
        lay(f"file {file}", _leaves(cls, tables))
    lay("environment", _from_env(cls, os.environ if env is None else env, elsewhere))
    lay("flag --set", map(_assignment, sets))
    given = ((s, k, v) for s, d in (flags or {}).items() for k, v in d.items() if v is not None)
    lay("flag", ((f"{section}.{key}", value) for section, key, value in given))
    try:
        config = cls.model_validate(merged)
    except ValidationError as error:
        told = (_explain(cls, e, _origin(origins, e["loc"])) for e in error.errors())
        raise ConfigError("; ".join(told)) from None
    for dotted, _ in _leaves(cls, config.model_dump()):
        origins.setdefault(dotted, "default")
    return config, origins


def _origin(origins: Origins, loc: Sequence[str | int]) -> str:
    """Where the value, or a value of the table, at a place of the config came from."""
    parts = [str(part) for part in loc]  # pydantic adds the branch of a union, which is no key
    for n in range(len(parts), 0, -1):
        dotted = ".".join(parts[:n])
        for key, origin in origins.items():
            if key == dotted or key.startswith(f"{dotted}."):
                return origin
    return "settings"


def _put(tree: dict[str, Any], dotted: str, value: Any, origin: str) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{origin}: {dotted}: {table!r} is a value, expected a table")
    tree[key] = value


def _leaves(cls: type[BaseModel] | None, data: Mapping[str, Any], above: str = "") -> Given:
    """Each key of nested tables as `section.key`; a table that is one value stays whole."""
    for key, value in data.items():
        field = cls.model_fields.get(key) if cls else None
        models = models_in(field.annotation) if field else []
        if isinstance(value, Mapping) and models:
            yield from _leaves(models[0], value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _assignment(text: str) -> tuple[str, Any]:
    """Read `section.key=value`; the value is TOML, or a bare word such as cosine."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {text!r}: expected section.key=value, such as judge.k=4")
    try:
        return dotted.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return dotted.strip(), value.strip()


def _section(cls: type[BaseModel], name: str) -> type[BaseModel]:
    """The model of a section, or of one of its keys."""
    return models_in(cls.model_fields[name].annotation)[0]


def _from_env(cls: type[Settings], env: Mapping[str, str], elsewhere: Sequence[str]) -> Given:
    """SPCT_SECTION_KEY variables; one that starts like a section but names no key is an error."""
    sections = {*cls.model_fields, *elsewhere}
    for section, field in cls.model_fields.items():
        if not models_in(field.annotation):
            continue
        prefix = f"SPCT_{section.upper()}_"
        # SPCT_RFT_DATA_SEED is the seed of rft_data, not a key `data_seed` of rft.
        others = tuple(f"SPCT_{s.upper()}_" for s in sections if s.startswith(f"{section}_"))
        known = {f"{prefix}{key.upper()}": key for key in _section(cls, section).model_fields}
        for name in env:
            if not name.startswith(prefix) or name.startswith(others):
                continue
            if name not in known:
                meant = did_you_mean(name, known, shown="{}")
                raise ConfigError(f"unknown environment variable {name}{meant}")
            yield f"{section}.{known[name]}", env[name]
