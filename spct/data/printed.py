"""Messages and lists that a cell or a column holds as text: JSON, or as Python prints them.

A table has no other way to hold a conversation, and databases export it so. What NumPy prints has
no commas between its items and cannot be read back: the column counts as damaged.
"""

from __future__ import annotations

import ast
import json
from typing import Any

from spct.data.chat.conversation import KINDS

_MAX = 2**20  # characters of what Python printed; its parser takes a hundred times as much memory
_STARTS = ("[{", "{", "[ {", "array([{")
_HINTS = ("'role'", '"role"', "'from'", '"from"')  # what says that something is a message
_KEYS = (("role", "content"), ("from", "value"))
NUMPY = "it was printed by NumPy or pandas, which cannot be read back: write it as JSON"


def printed_messages(text: str) -> tuple[Any, str] | None:
    """The messages that a text holds, or what keeps them from being read; None for other texts."""
    if not text.startswith(_STARTS) or not any(hint in text for hint in _HINTS):
        return None
    value = printed(text)
    if value is not None:
        return (value, "") if _is_messages(value) else None
    is_numpy = text.startswith("array(") or ("}\n" in text and text.rstrip().endswith("]"))
    has_keys = any(all(f"'{k}':" in text for k in keys) for keys in _KEYS)
    return (None, NUMPY) if is_numpy and has_keys else None


def printed(text: str) -> Any:
    """The list or object that a text is, or None. What Python printed must print the same again.

    (Python reads `['a' 'b']`, which NumPy prints for two texts, as a list of one.)
    """
    try:
        value = json.loads(text)
        return value if isinstance(value, list | dict) else None
    except (ValueError, RecursionError):
        pass
    if len(text) > _MAX:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, list | dict) and repr(value) == text.strip() else None


def as_list(value: Any) -> list[Any] | None:
    """A list, also one that is written as text; None for anything else."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = printed(value)
    return value if isinstance(value, list) else None


def _is_messages(value: Any) -> bool:
    """Whether a value is one message or a list of them, each with a role that is known."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and _is_message(item) for item in items)


def _is_message(item: dict[str, Any]) -> bool:
    role = item.get("role", item.get("from"))
    return isinstance(role, str) and role.lower() in KINDS and len(item) > 1
