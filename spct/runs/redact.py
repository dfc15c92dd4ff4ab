"""A verdict's record without a word of its texts: numbers, orders, votes and reasons stay.

Texts become their lengths. What could be turned back into text (token ids, log probabilities) and
what anybody may have put beside an example (`meta`) is left out.
"""

from __future__ import annotations

import re
from typing import Any

_WORD = re.compile(r"\w")
_KEPT = frozenset(
    {"id", "key", "outcome", "votes", "sampling", "finish_reason", "reason", "role", "mark"}
    | {"kind", "source"}  # of criteria: words of ours
)
_LEFT_OUT = frozenset({"token_ids", "logprobs", "meta", "decisions"})


def without_texts(value: Any) -> Any:
    """JSON values with every text replaced by its length."""
    match value:
        case str():
            return hidden(value)
        case list():
            return [without_texts(item) for item in value]
        case dict():
            return {
                key: item if key in _KEPT else without_texts(item)
                for key, item in value.items()
                if key not in _LEFT_OUT
            }
        case _:
            return value


def hidden(text: str) -> str:
    """A text's length in its place."""
    return f"[{len(text)} characters]" if _WORD.search(text) else text
