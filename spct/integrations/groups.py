"""Samples to examples and back (pure): groups are runs of equal prompts, equal texts are one.

A sample that a text judge cannot see whole (an image, a turn of an unknown role) is refused, and
the others of its group are judged without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from spct.data.chat.conversation import is_query, read_messages, read_response
from spct.data.criteria import Negative, Polarity, read_criteria
from spct.data.criteria_files import read_criteria_file
from spct.errors import ConfigError, DataError
from spct.runs.identity import content_id
from spct.types import Criteria, Example, Message
from spct.votes.criteria import faults_of

Turns = str | Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """One prompt's samples: their rows, and which response of the example each row is.

    `n_rows` counts the refused rows too: it is what the trainer's group size is compared with.
    """

    example: Example
    rows: tuple[int, ...]
    index: tuple[int, ...]
    n_rows: int


@dataclass(frozen=True, slots=True)
class Grouped:
    """The runs of a batch, and why a row is in none of them."""

    runs: list[Run] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def text_of(completion: Turns) -> str:
    """A completion's text: itself, or everything that its turns say."""
    if isinstance(completion, str):
        return completion
    # a policy that said nothing gave an empty answer
    return read_response(list(completion), "completion") if len(completion) else ""


def query_of(prompt: Turns) -> tuple[Message, ...]:
    """A prompt as a query; raise `DataError` where it does not end in words of the user."""
    turns = read_messages(prompt if isinstance(prompt, str) else list(prompt), "prompt")
    if not is_query(turns):
        raise DataError(
            f"prompt: ends with a {turns[-1].role} turn of {len(turns[-1].content)} characters, "
            "expected a user turn that is not empty"
        )
    return turns


def runs_of(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    references: Sequence[str | None] | None = None,
    group_size: int | None = None,
    criteria: Sequence[Criteria | None] | None = None,
) -> Grouped:
    """One example for each run of equal prompts; `group_size` cuts a run of several groups."""
    grouped = Grouped()
    keys: list[tuple[tuple[Message, ...] | str, str | None, Criteria | None]] = []
    texts: dict[int, str] = {}
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        reference = references[row] if references else None
        listed = criteria[row] if criteria else None
        try:
            keys.append((query_of(prompt), reference, listed))
            texts[row] = text_of(completion)
        except DataError as error:
            grouped.refused[row] = str(error)
            if len(keys) == row:  # the prompt: equal ones are one run, none of which is judged
                keys.append((repr(prompt), reference, listed))
    for key, found in groupby(range(len(keys)), key=lambda row: keys[row]):
        query, reference, listed = key
        together = list(found)
        size = group_size or len(together)
        for start in range(0, len(together), size):
            part = together[start : start + size]
            rows = [row for row in part if row in texts]
            if rows and not isinstance(query, str):
                grouped.runs.append(_run(query, reference, listed, rows, texts, len(part)))
    return grouped


def _run(
    query: tuple[Message, ...],
    reference: str | None,
    criteria: Criteria | None,
    rows: Sequence[int],
    texts: dict[int, str],
    n_rows: int,
) -> Run:
    distinct = list(dict.fromkeys(texts[row] for row in rows))
    id = content_id(query, distinct, reference)
    example = Example(id, query, tuple(distinct), reference=reference, criteria=criteria)
    return Run(example, tuple(rows), tuple(distinct.index(texts[row]) for row in rows), n_rows)


def read_lists(
    values: Sequence[Any],
    general: Criteria | None = None,
    *,
    where: str = "criteria",
    negative: Negative | None = None,
) -> list[Criteria | None]:
    """Each row's list of criteria, in any form that files of rows may have, and the general ones.

    A row without a list has the general ones alone, or none. `negative` says what weights below
    zero mean. Raises `DataError` with all that is wrong with a list.
    """
    known: dict[str, Criteria | None] = {}  # a dataset repeats a list for each sample of a prompt
    found = []
    for value in values:
        key = repr(value)
        if key not in known:
            own = (
                None
                if value is None or value == []
                else read_criteria(where, value, Polarity(negative))
            )
            known[key] = joined(own, general)
        found.append(known[key])
    return found


def joined(own: Criteria | None, general: Criteria | None) -> Criteria | None:
    """A list with the general criteria after it; `DataError` where two have one name."""
    if own is None or general is None:
        return own or general
    both = Criteria((*own.items, *general.items), own.source)
    if faults := faults_of(both):
        raise DataError(f"criteria with the general ones: {'; '.join(faults)}")
    return both


def general_list(named: str | Sequence[Any] | None) -> Criteria | None:
    """The general criteria of a hook: items, or the name of a file with one list for all."""
    if named is None:
        return None
    if not isinstance(named, str):
        return read_criteria("general_criteria", named)
    file = read_criteria_file(named)
    if file.common is None:
        raise ConfigError(f"general_criteria {named!r} holds lists by query, expected one for all")
    return file.common
