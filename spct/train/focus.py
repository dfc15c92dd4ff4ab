"""Rows whose loss covers parts of the completion: where the verdict is decided.

A judgement is eighty tokens of which a handful say who is better. Imitating all of them alike, a
small model learns the eighty and not the handful; a row with `focus`, character spans of its
completion, is learned there and at its end mark alone: a judgement that does not stop is unscored.
Rows without it are learned whole, as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from spct.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]


def focused(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Rows as TRL takes tokenised ones: ids, and a mask of what is learned."""
    return [_tokenised(row, tokenizer) for row in rows]


def _tokenised(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    def written(messages: Sequence[dict[str, str]], *, asks: bool = False) -> str:
        return cast("str", tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=asks
        ))  # fmt: skip

    prompt = written(row["prompt"], asks=True)
    whole = written(row["prompt"] + row["completion"])
    completion = row["completion"][-1]["content"]
    if not whole.startswith(prompt + completion):
        raise DataError(
            f"focusing the row of example {row.get('example_id')!r}: the chat template does not "
            "write prompt and completion one after the other; remove `focus` from the rows"
        )
    end_mark = (len(completion), len(whole) - len(prompt))
    spans = [
        (len(prompt) + a, len(prompt) + b) for a, b in [*_checked(row, len(completion)), end_mark]
    ]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    mask = [
        int(any(start < b and end > a for a, b in spans))
        for start, end in encoded["offset_mapping"]
    ]
    return {"input_ids": list(encoded["input_ids"]), "completion_mask": mask}


def _checked(row: dict[str, Any], length: int) -> list[Span]:
    spans = [tuple(span) for span in row.get("focus", [(0, length)])]
    if not spans or any(len(s) != 2 or not 0 <= s[0] < s[1] <= length for s in spans):
        raise DataError(
            f"focusing the row of example {row.get('example_id')!r}: got focus = {spans!r}, "
            f"expected [start, end) spans inside the completion's {length} characters"
        )
    return cast("list[Span]", spans)
