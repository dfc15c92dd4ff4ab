"""`--map FIELD=COLUMN`: what a layout cannot know, said in one line or in a TOML file.

    query=instruction,input            several texts are one user turn, an empty line between them
    response=output                    the one response; responses=a,b or a list column for several
    system=sys_prompt, history=turns   turns before the query; system=a,b for several texts
    query=request.input                a field inside an object, or inside each object of a list
    gold=winner:model_a,model_b,tie    the words of a verdict: first, second, then ties
    gold=label:1,0                     of one response: the good value, then the bad one
    gold=score_a,score_b  rank=ranks   numbers per response; a lower rank is better

Fields of other layouts (`prompt`, `chosen`, `rejected`, ...) rename columns, and the layout is then
found as ever. In TOML a value is a column, a list of columns, or {column = ..., words = [...]};
names with commas or colons can be said there alone.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spct.errors import ConfigError, did_you_mean

# Read by this mapping itself.
OWN = (
    "id",
    "query",
    "system",
    "history",
    "responses",
    "response",
    "gold",
    "rank",
    "reference",
    "subset",
    "criteria",
)
# Columns of other layouts that a file may have under other names.
RENAMED = (
    "prompt",
    "instruction",
    "input",
    "chosen",
    "rejected",
    "completions",
    "completion",
    "label",
    "helpfulness",
    "response_1",
    "response_2",
    "preference_strength",
    "conversation_a",
    "conversation_b",
    "winner",
    "messages",
    "rejected_response",
)
FIELDS = OWN + RENAMED
_WITH_WORDS = ("gold",)
_OF_ONE = ("id", "history", "reference", "subset", "criteria")


class Mapped(NamedTuple):
    """Where a field comes from, and what the words of a verdict are, if any are given."""

    columns: tuple[str, ...]
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = f":{','.join(self.words)}" if self.words else ""
        return ",".join(self.columns) + words


Given = Mapping[str, str | Mapped]  # as `read_examples` takes it


def parse_mapping(pairs: Sequence[str]) -> dict[str, Mapped]:
    """Read `--map` values such as `query=question`, or names of TOML files that hold them."""
    mapping: dict[str, Mapped] = {}
    for pair in pairs:
        field, found, told = pair.partition("=")
        read = {field: told} if found else _toml(pair)
        for name, value in as_mapping(read).items():
            if name in mapping:
                raise ConfigError(f"reading --map: the field {name!r} is mapped twice")
            mapping[name] = value
    return _checked(mapping)


def as_mapping(given: Given | None) -> dict[str, Mapped]:
    """The mapping in one form; a field that no layout has is refused."""
    mapping: dict[str, Mapped] = {}
    for field, value in (given or {}).items():
        if field not in FIELDS:
            known, hint = ", ".join(FIELDS), did_you_mean(field, FIELDS)
            raise ConfigError(
                f"mapping columns with --map: got the field {field!r}, expected one of {known}"
                f"{hint}"
            )
        mapping[field] = value if isinstance(value, Mapped) else _parsed(field, value)
    return _checked(mapping)


def _checked(mapping: dict[str, Mapped]) -> dict[str, Mapped]:
    if "response" in mapping and "responses" in mapping:
        raise ConfigError("mapping columns with --map: give either response or responses")
    if "gold" in mapping and "rank" in mapping:
        raise ConfigError("mapping columns with --map: give either gold or rank")
    for field, source in mapping.items():
        if len(source.columns) > 1 and (field in _OF_ONE or source.words):
            got = f"{field}={source}"
            raise ConfigError(f"mapping columns with --map: got {got!r}, expected one column")
    return mapping


def _parsed(field: str, told: str) -> Mapped:
    columns, colon, words = told.partition(":") if field in _WITH_WORDS else (told, "", "")
    names, said = columns.split(","), words.split(",")
    if not all(names) or (colon and (not all(said) or len(said) < 2)):
        form = "FIELD=COLUMN, or gold=COLUMN:WORD,WORD"
        raise ConfigError(f"reading --map: got {f'{field}={told}'!r}, expected {form}")
    return Mapped(tuple(names), tuple(said) if colon else ())


def _toml(path: str) -> dict[str, Mapped]:
    if not path.endswith(".toml"):
        raise ConfigError(f"reading --map: got {path!r}, expected FIELD=COLUMN or a TOML file")
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"reading --map {os.fspath(path)}: {err}") from err
    table = table["map"] if set(table) == {"map"} else table
    return {field: _of_toml(path, field, value) for field, value in table.items()}


def _of_toml(path: str, field: str, value: Any) -> Mapped:
    words: Any = ()
    columns = value
    if isinstance(value, dict) and set(value) <= {"column", "columns", "words"}:
        columns = value.get("column", value.get("columns"))
        words = value.get("words", ())
    columns = [columns] if isinstance(columns, str) else columns
    texts = (columns, list(words) if isinstance(words, list | tuple) else None)
    is_known = columns and all(
        isinstance(text, list) and all(isinstance(t, str | int) for t in text) for text in texts
    )
    if not is_known or (words and field not in _WITH_WORDS):
        raise ConfigError(
            f"reading --map {path}: {field}: got {value!r}, expected a column, a list of columns, "
            "or {column = ..., words = [...]} for gold"
        )
    return Mapped(tuple(map(str, columns)), tuple(map(_word, words)))


def _word(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def told(mapping: Mapping[str, Mapped]) -> list[str]:
    """The mapping as texts, for a run's identity: equal mappings give equal texts."""
    return [f"{field}={value}" for field, value in mapping.items()]
