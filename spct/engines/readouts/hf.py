"""Logits at one position by transformers: the reference, and what a trainer reads with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spct.engines.plain import templated
from spct.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def spellings(tokenizer: PreTrainedTokenizerBase, label: str) -> list[int]:
    """Ids of the single tokens that decode to a label, bare or after one space."""
    found = set()
    for text in (label, f" {label}"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            found.add(ids[0])
    return sorted(found)


def chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """A request's ids up to where the reply begins; special tokens inside it are broken up."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    encoded = templated(tokenizer, turns, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


class HFBackend:
    """A loaded causal model; the language-model head is applied at the last positions only."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
    ) -> None:
        self.name, self.model, self.tokenizer = f"hf:{name}", model, tokenizer
        self.context_length = int(model.config.get_text_config().max_position_embeddings)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The request's token ids."""
        return chat_ids(self.tokenizer, messages)

    def spellings(self, label: str) -> list[int]:
        """The label's single-token spellings."""
        return spellings(self.tokenizer, label)

    def masses(
        self,
        shared: Sequence[int],
        rests: Sequence[Sequence[int]],
        wanted: Sequence[list[list[int]]],
    ) -> list[list[float]]:
        """One forward over the shared prefix, its cache copied per rest."""
        import copy

        import torch

        with torch.inference_mode():
            cache = None
            if shared:
                ids = torch.tensor([list(shared)], device=self.model.device)
                cache = self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
            found = []
            for rest, labels in zip(rests, wanted, strict=True):
                ids = torch.tensor([list(rest)], device=self.model.device)
                # a copy: a forward appends to the cache that it is given
                past = {} if cache is None else {"past_key_values": copy.deepcopy(cache)}
                logits = self.model(input_ids=ids, use_cache=bool(shared), logits_to_keep=1, **past)
                p = logits.logits[0, -1].float().softmax(-1)
                found.append([float(p[label].sum()) for label in labels])
        return found
