"""The one decoder over transformers: for inference, for rollouts and for the dev check.

Samples of many prompts decode together. A prompt that several samples share is computed once, and
its keys and values are copied to them. Each sample has its own random numbers, drawn from its own
seed (Gumbel-max: the token of the largest logit / temperature + noise is a draw from the softmax),
so neither batch nor order changes what is sampled, up to the rounding of the model's arithmetic.
Finished samples leave the batch.

Shape letters: _B samples still in the batch, _U distinct prompts, _T tokens, _V vocabulary.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from spct.types import SamplingParams

# Leaving out finished rows copies the cache, so they go when a fifth of the batch has ended.
FULL = 0.8


@dataclass(slots=True)
class Row:
    """One sample while it is decoded: its tokens and, if asked for, their log probabilities."""

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[tuple[int, float, dict[int, float]]] = field(default_factory=list)
    stopped: bool = False
    abandoned: bool = False  # set from another thread, at any step

    @classmethod
    def of(cls, prompt_ids: Sequence[int], params: SamplingParams, seed: int | None) -> Row:
        """A sample that has not begun; without a seed it gets one by chance."""
        seed = secrets.randbits(63) if seed is None else seed
        # on the CPU even for a model on a GPU: then a seed means the same draws everywhere
        return cls(tuple(prompt_ids), params, torch.Generator().manual_seed(seed % 2**63))

    @property
    def is_done(self) -> bool:
        """Whether it ended by itself or at its token limit, or nobody waits for it any more."""
        return self.stopped or self.abandoned or len(self.ids) >= self.params.max_tokens

    @property
    def size(self) -> int:
        """The most tokens that it can come to."""
        return len(self.prompt_ids) + self.params.max_tokens


# no_grad and not inference_mode: a model in training must not keep tensors that autograd refuses
@torch.no_grad()
def decode(
    model: Any,
    rows: Sequence[Row],
    ends: frozenset[int],
    text_of: Callable[[Sequence[int]], str] = lambda ids: "",
) -> None:
    """Sample every row to its end, in place.

    `ends` are the tokens that end a reply; `text_of` is needed where rows have stop strings.
    """
    device = next(model.parameters()).device
    prompts = list(dict.fromkeys(row.prompt_ids for row in rows))
    place = {ids: i for i, ids in enumerate(prompts)}
    owners_B = torch.tensor([place[row.prompt_ids] for row in rows], device=device)
    # prompts stand at the right, so that every row's next token has the same place
    ids_U_T = _right_aligned(prompts).to(device)
    mask_U_T = _right_aligned([[1] * len(ids) for ids in prompts]).to(device)
    cache: Any = DynamicCache(config=model.config)  # its stubs ask for a LongTensor of old
    logits_B_V = _forward(model, ids_U_T, mask_U_T, cache)[owners_B]
    cache.reorder_cache(owners_B)  # not batch_select_indices, which linear attention lacks
    mask_B_T, live = mask_U_T[owners_B], list(rows)
    while True:
        tokens_B = _draw(live, logits_B_V)
        for row in live:
            if row.abandoned:  # perhaps before its first token
                continue
            stop = row.params.stop
            row.stopped = row.ids[-1] in ends or (
                bool(stop) and any(mark in text_of(row.ids) for mark in stop)
            )
        going = [i for i, row in enumerate(live) if not row.is_done]
        if not going:
            return
        mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones(len(live), 1)], dim=1)
        if len(going) < FULL * len(live):
            kept = torch.tensor(going, device=device)
            cache.reorder_cache(kept)
            tokens_B, mask_B_T, live = tokens_B[kept], mask_B_T[kept], [live[i] for i in going]
        logits_B_V = _forward(model, tokens_B[:, None], mask_B_T, cache)


def _forward(model: Any, tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """Run the model over new tokens (B, T) and return the logits of the last position, (B, V)."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    out = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = out.logits[:, -1].float()
    return logits


def _right_aligned(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])


def _draw(rows: Sequence[Row], logits_B_V: Tensor) -> Tensor:
    """Sample each row's next token and record it, unless the row has ended before."""
    tokens_B = _sample(rows, logits_B_V)
    going = [(i, row) for i, row in enumerate(rows) if not row.is_done]
    tokens = tokens_B.tolist()
    for i, row in going:
        row.ids.append(tokens[i])
    asked = [(i, row) for i, row in going if row.params.top_logprobs is not None]
    if asked:
        _record(asked, tokens, logits_B_V[[i for i, _ in asked]].log_softmax(-1))
    return tokens_B


def _record(asked: Sequence[tuple[int, Row]], tokens: Sequence[int], logprobs: Tensor) -> None:
    """Keep the log probabilities (at temperature 1) of the sampled tokens and the likeliest."""
    most = max(row.params.top_logprobs or 0 for _, row in asked)
    best = logprobs.topk(min(max(most, 1), logprobs.shape[1]))
    own = torch.tensor([[tokens[i]] for i, _ in asked], device=logprobs.device)
    found = (logprobs.gather(1, own)[:, 0].tolist(), best.indices.tolist(), best.values.tolist())
    for (i, row), logprob, ids, values in zip(asked, *found, strict=True):
        n_top = row.params.top_logprobs or 0
        top = dict(zip(ids[:n_top], values[:n_top], strict=True))
        row.logprobs.append((tokens[i], logprob, {**top, tokens[i]: logprob} if n_top else {}))


def _sample(rows: Sequence[Row], logits_B_V: Tensor) -> Tensor:
    """One token per row: a draw by Gumbel-max with the row's own noise, or the likeliest."""
    device, vocabulary = logits_B_V.device, logits_B_V.shape[1]
    heats = [row.params.temperature for row in rows]
    if not any(heats):
        return logits_B_V.argmax(-1)
    noise_B_V = torch.stack(
        [torch.empty(vocabulary).exponential_(generator=row.generator) for row in rows]
    ).to(device)
    if len(set(heats)) == 1:
        return (_nucleus(rows, logits_B_V / heats[0]) - noise_B_V.log()).argmax(-1)
    heat_B = torch.tensor(heats, device=device)
    scaled_B_V = _nucleus(rows, logits_B_V / heat_B.clamp(min=1e-6)[:, None])
    drawn_B = (scaled_B_V - noise_B_V.log()).argmax(-1)
    return torch.where(heat_B == 0, logits_B_V.argmax(-1), drawn_B)


def _nucleus(rows: Sequence[Row], logits_B_V: Tensor) -> Tensor:
    """The logits without what lies outside the share `top_p` of the probability."""
    if all(row.params.top_p == 1.0 for row in rows):
        return logits_B_V
    top_p = torch.tensor([row.params.top_p for row in rows], device=logits_B_V.device)[:, None]
    ordered, tokens = logits_B_V.softmax(-1).sort(dim=-1, descending=True)
    kept = (ordered.cumsum(-1) - ordered < top_p) | (top_p == 1.0)
    kept = torch.zeros_like(kept).scatter(1, tokens, kept)
    return logits_B_V.masked_fill(~kept, float("-inf"))
