"""Logits at one position by transformers: the reference, and what a trainer reads with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spct.engines.plain import templated
from spct.engines.readouts.packing import SHARED, Packed, packed
from spct.types import Message

if TYPE_CHECKING:
    import torch
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
        """The rests packed behind what they share, where the model takes such a mask."""
        import torch

        with torch.inference_mode():
            rows: Iterator[torch.Tensor]
            if _takes_masks(self.model):
                rows = (row for one in packed(shared, rests) for row in self._packed(one))
            else:
                rows = self._each(shared, rests)
            found = []
            for row, labels in zip(rows, wanted, strict=True):
                p = row.float().softmax(-1)
                found.append([float(p[label].sum()) for label in labels])
        return found

    def _packed(self, row: Packed) -> torch.Tensor:
        """Logits (rests, V) at the last position of each."""
        import torch

        device = self.model.device
        ids, places = (torch.tensor([one], device=device) for one in (row.ids, row.places))
        masks = {}
        if len(row.last) > 1:
            owners = torch.tensor(row.owners, device=device)
            is_seen = ((owners == SHARED) | (owners[:, None] == owners)).tril()
            hidden = torch.finfo(self.model.dtype).min
            mask = torch.zeros(is_seen.shape, dtype=self.model.dtype, device=device)
            masks["attention_mask"] = mask.masked_fill(~is_seen, hidden)[None, None]
        last = torch.tensor(row.last, device=device)
        logits: torch.Tensor = self.model(
            input_ids=ids, position_ids=places, use_cache=False, logits_to_keep=last, **masks
        ).logits
        return logits[0]

    def _each(
        self, shared: Sequence[int], rests: Sequence[Sequence[int]]
    ) -> Iterator[torch.Tensor]:
        """One forward over the shared prefix, its cache copied per rest."""
        import copy

        import torch

        cache = None
        if shared:
            ids = torch.tensor([list(shared)], device=self.model.device)
            cache = self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        for rest in rests:
            ids = torch.tensor([list(rest)], device=self.model.device)
            # a copy: a forward appends to the cache that it is given
            past = {} if cache is None else {"past_key_values": copy.deepcopy(cache)}
            logits = self.model(input_ids=ids, use_cache=bool(shared), logits_to_keep=1, **past)
            yield logits.logits[0, -1]


def _takes_masks(model: PreTrainedModel) -> bool:
    """Whether a mask of ours says all that a token sees: no window, no state that goes on."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    is_plain = config._attn_implementation in ("sdpa", "eager") and not model._is_stateful
    return is_plain and layers == {"full_attention"} and not slides
