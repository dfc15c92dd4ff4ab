"""Every setting as a command-line option, made from its field: type, default and description.

A command says which settings it reads by its parameters: one whose type is `Settings` is a section
of the config (its name is the section's), one whose type is made of sections brings them all. The
command is called with the resolved sections. Its other parameters are options of its own.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import typer
from pydantic import create_model
from pydantic.fields import FieldInfo
from rich.markup import escape

from spct.errors import ConfigError
from spct.settings import Settings, models_in, resolve

# Flags that are not simply the setting's own name. A letter means one thing in every command: -k
# judgements per example, -j requests in flight, -m the model, -c the config file, -o the output.
FLAGS: Mapping[str, tuple[str, ...]] = {
    "engine.kind": ("--engine",),
    "engine.model": ("--model", "-m"),
    "engine.max_concurrency": ("--max-concurrency", "-j"),
    "judge.k": ("--samples", "-k"),
    "judge.concurrency": ("--examples-in-flight",),
    "rft_data.concurrency": ("--examples-in-flight",),
    "ray.address": ("--ray",),
    "ray.actors": ("--ray-actors",),
    "ray.gpus": ("--ray-gpus",),
    "bench.samples": ("--samples", "-k"),
    "bench.benchmarks": ("--benchmark", "-b"),
    "compare.samples": ("--samples", "-k"),
    "serve.max_concurrency": ("--examples-in-flight",),
    "serve.allowed_hosts": ("--allowed-host",),
}
_TRAINED = frozenset({"learning_rate", "batch_size", "max_steps", "lora_rank"})
# What people set first: shown by --help, everything else by --help-all.
MAIN: Mapping[str, frozenset[str]] = {
    "engine": frozenset({"kind", "model", "base_url"}),
    "judge": frozenset({"k", "vote"}),
    "bench": frozenset({"samples", "benchmarks", "limit"}),
    "compare": frozenset({"samples", "limit"}),
    "serve": frozenset(
        {"host", "port", "keys_file", "on_unscored", "template", "group_size", "served_name"}
    ),
    "rft_data": frozenset({"n_samples"}),
    "rft": _TRAINED,
    "rl": _TRAINED | {"group_size", "beta"},
    "meta": _TRAINED,
    "bradley_terry": _TRAINED,
    "pairwise": _TRAINED,
    "cloud": frozenset({"n_critiques"}),
}
TITLES = {"judge": "Judging", "engine": "Engine and network", "ray": "Ray", "serve": "Gateway"}
# Every section that some command reads, and where it is defined. One file may hold them all: a
# command leaves the tables of others alone, and `spct config` shows and checks the whole.
SECTIONS: Mapping[str, str] = {
    "engine": "spct.config:EngineConfig",
    "judge": "spct.config:JudgeConfig",
    "ray": "spct.config:RayConfig",
    "serve": "spct.serve.config:ServeConfig",
    "bench": "spct.measure.config:BenchConfig",
    "compare": "spct.measure.config:CompareConfig",
    "cold_start": "spct.train.config:SftConfig",
    "rft_data": "spct.train.config:RftDataConfig",
    "rft": "spct.train.config:SftConfig",
    "rl": "spct.train.config:RlConfig",
    "meta": "spct.train.config:MetaConfig",
    "bradley_terry": "spct.train.config:ScalarConfig",
    "pairwise": "spct.train.config:PairwiseConfig",
    "cloud": "spct.train.config:CloudConfig",
}


def show_all(context: typer.Context, wanted: bool) -> None:
    """Print the help with every option."""
    if wanted:
        for param in context.command.params:
            param.hidden = False  # type: ignore[attr-defined]
        print(context.get_help())
        raise typer.Exit


File = Annotated[
    Path | None, typer.Option("--config", "-c", help="A TOML file with a table for each section.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="<key=value>", help="One setting, such as judge.k=4; repeat it."),
]
HelpAll = Annotated[
    bool,
    typer.Option("--help-all", is_eager=True, callback=show_all, help="Show every option."),
]
Sections: TypeAlias = dict[str, type[Settings]]


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each setting of the sections that it takes.

    Flags win over SPCT_SECTION_KEY variables, those over the file of --config, that over defaults.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    wanted = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Settings)
    }
    # Keys at the top of a file belong to the command's own section: a stage's file of 0.1.0.
    single = [name for name, cls in wanted.items() if not _is_composite(cls)]
    sections = {k: v for name, cls in wanted.items() for k, v in _sections(name, cls).items()}
    sections |= {"engine": sections.pop("engine")} if "engine" in sections else {}  # last in help
    every = create_model(  # type: ignore[call-overload]
        "Sections", __base__=Settings, **{name: (cls, cls()) for name, cls in sections.items()}
    )

    # Typer reads the signature and the annotations that are set below, not this one.
    @functools.wraps(command)
    def run(**given: Any) -> None:
        flags: dict[str, dict[str, Any]] = {section: {} for section in sections}
        for section, key, field in _settings(sections):
            value = given.pop(f"{section}__{key}")
            flags[section][key] = _joined(value, field) if isinstance(value, list) else value
        config, origins = resolve(
            every,
            flags=flags,
            sets=given.pop("sets") or (),
            file=given.pop("config_file"),
            own=single[-1] if single else None,
            elsewhere=[name for name in SECTIONS if name not in sections],
        )
        for name, cls in wanted.items():
            parts = {part: getattr(config, part) for part in _sections(name, cls)}
            given[name] = cls(**parts) if _is_composite(cls) else parts[name]
        if "origins" in parameters:
            given["origins"] = origins
        del given["help_all"]
        command(**given)

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in parameters.items()
        if name not in wanted and name != "origins"
    ]
    made = [
        *own,
        _keyword("config_file", File),
        _keyword("sets", Sets),
        *(_option(section, key, field) for section, key, field in _settings(sections)),
        _keyword("help_all", HelpAll, default=False),
    ]
    run.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in made}
    return run


def _is_composite(cls: type[Settings]) -> bool:
    """Whether a model only joins sections, as `Config` joins engine and judge."""
    return all(
        isinstance(f.annotation, type) and issubclass(f.annotation, Settings)
        for f in cls.model_fields.values()
    )


def _sections(name: str, cls: type[Settings]) -> Sections:
    if not _is_composite(cls):
        return {name: cls}
    return {key: field.annotation for key, field in cls.model_fields.items()}  # type: ignore[misc]


def _settings(sections: Sections) -> Iterator[tuple[str, str, FieldInfo]]:
    """The settings that have flags; tables are for files and --set."""
    for section, cls in sections.items():
        for key, field in cls.model_fields.items():
            if get_origin(_bare(field.annotation)) is not dict and not models_in(field.annotation):
                yield section, key, field


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _option(section: str, key: str, field: FieldInfo) -> inspect.Parameter:
    """One flag. The settings read its text, so that every source fails with the same words."""
    dotted, bare = f"{section}.{key}", _bare(field.annotation)
    names = FLAGS.get(dotted, (f"--{key.removesuffix('_s').replace('_', '-')}",))
    if bare is bool:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    repeats = get_origin(bare) is tuple
    option = typer.Option(
        *names,
        help=_described(field),
        metavar=None if bare is bool else _metavar(bare),
        rich_help_panel=None
        if key in MAIN.get(section, ())
        else TITLES.get(section, f"Settings: {section}"),
        show_default=False,
    )
    kind = bool if bare is bool else list[str] if repeats else str
    return _keyword(f"{section}__{key}", Annotated[kind | None, option])


def _joined(values: list[str], field: FieldInfo) -> Any:
    """A flag given several times: the texts, or numbers that may stand in one word as well."""
    if not values:
        return None
    return tuple(values) if str in get_args(_bare(field.annotation)) else ",".join(values)


def _described(field: FieldInfo) -> str:
    """The description, then the words that may be given, then the default."""
    words = _words(_bare(field.annotation))
    choices = f" One of {', '.join(words)}." if len(words) > 1 else ""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    shown = "" if default is None or default is False else f" [default: {default}]"
    return f"{field.description}{choices}{shown}"


def _metavar(bare: Any) -> str:
    """What stands for the value: its type, or `name` for one of several words."""
    if get_origin(bare) is tuple:
        item = _bare(get_args(bare)[0])
        return "<text>" if item is str else f"<{item.__name__},...>"
    return {int: "<int>", float: "<float>", Path: "<path>", str: "<text>"}.get(bare, "<name>")


def _words(bare: Any) -> list[str]:
    return [str(word) for word in get_args(bare)] if get_origin(bare) is Literal else []


def _bare(annotation: Any) -> Any:
    """The type without `| None` and without constraints."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(parts[0])
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def finish(command: Any) -> Any:
    """Prepare the help of a loaded command and of those in it.

    Brackets are text, never mark-up; words to choose from stand in the text, where lines break
    between words; options of a panel of their own wait for --help-all.
    """
    for child in getattr(command, "commands", {}).values():
        finish(child)
    folded = any("--help-all" in param.opts for param in command.params)
    for param in command.params:
        kind = getattr(param, "type_descriptor", None)
        if kind is not None and kind.is_choice and param.metavar is None:
            param.metavar = "<name>"
            words = [str(getattr(choice, "value", choice)) for choice in kind.choices]
            param.help = f"{param.help or ''} One of {', '.join(words)}."
        # rich would read [default: 8] and spct[train] as style tags and print neither.
        if getattr(param, "help", None):
            param.help = escape(param.help)
        if kind is not None and _is_local(kind.annotation, param.name) and param.callback is None:
            param.callback = _local
        # Its own panel is what makes an option one of the many; hidden, and shown by --help-all.
        if folded and getattr(param, "rich_help_panel", None):
            param.hidden = True
    command.help = escape(command.help or "")
    return command


# Parameters that hold a path as text: of some, - may stand for a stream.
PATHS = frozenset(
    {"data", "out", "to", "train", "test", "sources"}
    | {"stop_file", "meta_file", "keys_file", "judgement_log"}
)
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")


def _is_local(annotation: Any, name: str) -> bool:
    """Whether a parameter names files of this machine: as paths, or as texts of those names."""
    inner = _bare(annotation)
    one = get_args(inner)[0] if get_origin(inner) is list else inner
    return one is Path or name.rpartition("__")[2] in PATHS


def _local(context: Any, param: Any, value: Any) -> Any:
    """Refuse an address where a path is expected: it would be taken for a folder named s3:."""
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if _ADDRESS.match(str(one)):
            shown = re.sub(":/+", "://", str(one))
            raise ConfigError(
                f"{param.opts[-1]} {shown!r}: an address; spct reads and writes files of this "
                "machine: copy it here first (aws s3 cp, gcloud storage cp, hf download), or "
                "mount the bucket"
            )
    return value


def folder_anywhere(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """For a parameter that writes files of this machine, or a folder at any address (with a /)."""
    return value if value.endswith("/") else _local(context, param, value)
