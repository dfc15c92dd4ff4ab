"""What fits: conversations in tokens, and the rows that a stage can train on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spct.engines.plain import templated
from spct.errors import TemplateRefused, TrainError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = dict[str, Any]  # a JSON row: chat-format `prompt` and `completion`, and where it comes from
Messages = Sequence[dict[str, str]]
T = TypeVar("T")


def token_count(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> int:
    """Count the tokens of a conversation as its chat template writes it."""
    return len(encode(tokenizer, messages)["input_ids"])


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    *,
    add_generation_prompt: bool = False,
) -> dict[str, list[int]]:
    """Token ids and attention mask of a conversation as its chat template writes it."""
    how = {"add_generation_prompt": add_generation_prompt, "return_dict": True}
    return dict(templated(tokenizer, messages, **how))


@dataclass(slots=True)
class Fitting(Generic[T]):
    """The rows to train on, and how many are not: too long, or refused by the chat template."""

    kept: list[T]
    n_too_long: int = 0
    n_refused: int = 0

    def refuse(self, what: str, error: TemplateRefused) -> None:
        """Count what the chat template cannot write; the first is shown."""
        if not self.n_refused:
            print(f"{what} is left out (others are counted): {error}", file=sys.stderr)
        self.n_refused += 1

    def check(self, what: str, limit: int) -> None:
        """Raise `TrainError` if nothing is left."""
        if not (self.kept or self.n_too_long or self.n_refused):
            raise TrainError(f"{what}: got no rows; what the data was filtered by left none")
        if not self.kept:
            raise TrainError(
                f"{what}: of its rows {self.n_too_long} have more than {limit} tokens and "
                f"{self.n_refused} are refused by the model's chat template; expected at least one "
                "to train on; raise max_length, or merge system turns into the user's"
            )


def fitting(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    turns: Callable[[Row], Messages],
) -> Fitting[Row]:
    """Keep the rows whose conversation the model's template writes in at most `limit` tokens."""
    found = Fitting[Row]([])
    for row in rows:
        try:
            n_tokens = token_count(tokenizer, turns(row))
        except TemplateRefused as error:
            found.refuse("a row", error)
            continue
        if n_tokens > limit:
            found.n_too_long += 1
        else:
            found.kept.append(row)
    return found
