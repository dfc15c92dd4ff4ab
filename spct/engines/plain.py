"""Texts that hold no special token of the model that reads them.

A chat template puts messages between special tokens. A response that writes one of them, such as
the end of a turn, would end its turn and speak as somebody else, so those inside a message are
broken up first. All other text is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from spct.errors import TemplateRefused
from spct.types import Prompt


def special_tokens(tokenizer: Any) -> set[str]:
    """The special tokens of a transformers tokenizer, named ones and added ones."""
    added = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    return added | set(tokenizer.all_special_tokens)


class Plain:
    """Breaks up some special tokens in texts: `<|im_end|>` becomes `< |im_end|>`."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # a token of one character or of blanks is text as well, in some vocabularies
        known = {token for token in tokens if len(token.strip()) > 1}
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def text(self, text: str) -> str:
        """The text without a special token in it."""
        return self._pattern.sub(lambda m: f"{m[0][:1]} {m[0][1:]}", text)

    def messages(self, prompt: Prompt) -> list[dict[str, str]]:
        """The prompt's messages in the form that chat templates take."""
        return [{"role": m.role, "content": self.text(m.content)} for m in prompt.messages]


def templated(tokenizer: Any, turns: Sequence[dict[str, str]], **how: Any) -> Any:
    """What a chat template writes; `TemplateRefused` where it refuses these turns."""
    try:
        return tokenizer.apply_chat_template(list(turns), **how)
    except Exception as error:  # a template is a program: it raises what it likes
        roles = ", ".join(turn["role"] for turn in turns)
        raise TemplateRefused(
            f"the model's chat template cannot write the turns {roles}: {error!s:.300}"
        ) from error
