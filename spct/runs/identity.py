"""The name of an example that has none: a digest of its content (standard library only).

Sample seeds depend on the example's id, so equal questions draw equal seeds wherever they are
asked: through the gateway, through a hook, today or tomorrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

from spct.types import Message


def content_id(
    query: Sequence[Message], responses: Sequence[str], reference: str | None = None
) -> str:
    """A name that depends on the content alone, the order of the responses included."""
    turns = [[turn.role, turn.content] for turn in query]
    content = json.dumps([turns, list(responses), reference], ensure_ascii=True)
    return sha256(content.encode()).hexdigest()[:32]
