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
from spct.errors import DataError
from spct.runs.identity import content_id
from spct.types import Example, Message

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
) -> Grouped:
    """One example for each run of equal prompts; `group_size` cuts a run of several groups."""
    grouped = Grouped()
    keys: list[tuple[tuple[Message, ...] | str, str | None]] = []
    texts: dict[int, str] = {}
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        reference = references[row] if references else None
        try:
            keys.append((query_of(prompt), reference))
            texts[row] = text_of(completion)
        except DataError as error:
            grouped.refused[row] = str(error)
            if len(keys) == row:  # the prompt: equal ones are one run, none of which is judged
                keys.append((repr(prompt), reference))
    for (query, reference), found in groupby(range(len(keys)), key=lambda row: keys[row]):
        together = list(found)
        size = group_size or len(together)
        for start in range(0, len(together), size):
            part = together[start : start + size]
            rows = [row for row in part if row in texts]
            if rows and not isinstance(query, str):
                grouped.runs.append(_run(query, reference, rows, texts, len(part)))
    return grouped


def _run(
    query: tuple[Message, ...],
    reference: str | None,
    rows: Sequence[int],
    texts: dict[int, str],
    n_rows: int,
) -> Run:
    distinct = list(dict.fromkeys(texts[row] for row in rows))
    id = content_id(query, distinct, reference)
    example = Example(id, query, tuple(distinct), reference=reference)
    return Run(example, tuple(rows), tuple(distinct.index(texts[row]) for row in rows), n_rows)
