"""Samples to examples and back (pure): groups are runs of equal prompts, equal texts are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from spct.errors import DataError
from spct.runs.identity import content_id
from spct.types import Example, Message

Turns = str | Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """One prompt's samples: their rows, and which response of the example each row is."""

    example: Example
    rows: tuple[int, ...]
    index: tuple[int, ...]


def text_of(completion: Turns) -> str:
    """A completion's text: itself, or the assistant's turns of a message list."""
    if isinstance(completion, str):
        return completion
    parts = [_content(turn) for turn in completion if turn.get("role") == "assistant"]
    return "\n\n".join(part for part in parts if part)


def query_of(prompt: Turns) -> tuple[Message, ...]:
    """A prompt as a query; a tool's result is a user turn, because the judge must see it."""
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    turns = []
    for turn in prompt:
        content = _content(turn)
        match turn.get("role"):
            case "system" | "developer":
                turns.append(Message("system", content))
            case "user":
                turns.append(Message("user", content))
            case "tool":
                turns.append(Message("user", f"Result of a tool:\n{content}"))
            case "assistant":
                turns.append(Message("assistant", content))
            case role:
                raise DataError(f"a turn of the prompt has the role {role!r}; expected user, ...")
    return tuple(turns)


def _content(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


def runs_of(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    references: Sequence[str | None] | None = None,
    group_size: int | None = None,
) -> list[Run]:
    """One example a run of equal prompts; a run of several groups is cut after `group_size`."""
    rows = range(len(prompts))
    keys = [(query_of(prompts[i]), references[i] if references else None) for i in rows]
    runs = []
    for (query, reference), found in groupby(rows, key=lambda i: keys[i]):
        together = list(found)
        size = group_size or len(together)
        for start in range(0, len(together), size):
            part = together[start : start + size]
            runs.append(_run(query, reference, part, [text_of(completions[i]) for i in part]))
    return runs


def _run(
    query: tuple[Message, ...], reference: str | None, rows: Sequence[int], texts: Sequence[str]
) -> Run:
    distinct = list(dict.fromkeys(texts))
    id = content_id(query, distinct, reference)
    example = Example(id, query, tuple(distinct), reference=reference)
    return Run(example, tuple(rows), tuple(distinct.index(text) for text in texts))
