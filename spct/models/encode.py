"""Conversations to token ids: one way for training, scoring and checking, so that they agree.

The chat template writes the whole conversation (BOS included, once) and nothing is added to it.
Special tokens inside a message are broken up first: a response that writes the end-of-turn token
would otherwise end its turn and speak as somebody else. Ordinary text is left as it is, because a
head is sensitive to wording that a judge would read over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spct.engines.hf_load import load_tokenizer as load_chat_tokenizer
from spct.engines.plain import Plain, special_tokens, templated
from spct.errors import ConfigError, ContextOverflow, FormatError
from spct.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Conversation = tuple[Message, ...]


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder; refuse one that cannot write conversations or pad."""
    tokenizer = load_chat_tokenizer(model)
    _choose_pad(tokenizer, model)
    tokenizer.padding_side = "right"
    return tokenizer


def _choose_pad(tokenizer: PreTrainedTokenizerBase, model: str) -> None:
    """Pad with a special token that ends no conversation.

    transformers finds the position of the reward by the padding token's id, in training and in
    scoring, so a token that also ends conversations would move it by one.
    """
    try:
        ids = _encoded(tokenizer, [{"role": "user", "content": "a"}])
        token_of = tokenizer.convert_tokens_to_ids
        pad = None if tokenizer.pad_token is None else token_of(tokenizer.pad_token)
    except (FormatError, TypeError, ValueError) as error:
        raise ConfigError(
            f"loading the tokenizer of {model!r}: {error}; the chat template or the special tokens "
            "in its folder are damaged: fetch the model again"
        ) from error
    if pad is not None and pad != ids[-1]:
        return
    specials = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    known = dict.fromkeys([*tokenizer.all_special_tokens, *specials])
    for token in known:
        if token_of(token) != ids[-1]:
            tokenizer.pad_token = token
            return
    raise ConfigError(
        f"loading the tokenizer of {model!r}: it has no special token but the one that ends each "
        "turn, so nothing can pad; set `pad_token` in its tokenizer_config.json"
    )


def _encoded(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> list[int]:
    # With return_dict the template's own BOS stays the only one: tokenising the text that it writes
    # would put a second in front.
    ids: list[int] = templated(tokenizer, turns, return_dict=True)["input_ids"]
    if not ids:
        raise FormatError("the model's chat template writes nothing for a conversation")
    return ids


class Encoder:
    """Writes conversations with a tokenizer's chat template; refuses what exceeds `max_length`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self._plain = Plain(special_tokens(tokenizer))

    def text(self, conversation: Conversation) -> str:
        """The conversation as the chat template writes it."""
        return str(templated(self.tokenizer, self._turns(conversation), tokenize=False))

    def ids(self, conversation: Conversation) -> list[int]:
        """Its token ids, however many."""
        return _encoded(self.tokenizer, self._turns(conversation))

    def fitting(self, conversation: Conversation) -> list[int]:
        """Its token ids; `ContextOverflow` if they are too many: a cut text is another text."""
        ids = self.ids(conversation)
        if len(ids) > self.max_length:
            raise ContextOverflow(
                f"scoring a conversation of {len(ids)} tokens: the model takes {self.max_length}; "
                "shorten it or use a model with a longer context (nothing is ever cut)"
            )
        return ids

    def _turns(self, conversation: Sequence[Message]) -> list[dict[str, str]]:
        return [{"role": m.role, "content": self._plain.text(m.content)} for m in conversation]
