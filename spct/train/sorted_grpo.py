"""GRPO's trainer for a CPU: rollouts are scored in batches of like length, without the padding.

TRL pads a generation batch to its longest prompt and longest rollout and scores it as it stands. A
GPU hides that; on a CPU padding costs what tokens cost, and judgements of one and of five responses
stand in one batch. Here rows are sorted by length and scored a few at a time, each batch cut to
what it holds, then put back in place. The numbers are the same, so the loss is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from trl.trainer.grpo_trainer import GRPOTrainer

ROWS = 32  # of a batch: large enough for the matrix products, small enough for the caches


class SortedGRPOTrainer(GRPOTrainer):
    """TRL's trainer with per-token log probabilities computed by length."""

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        score = super()._get_per_token_logps_and_entropies
        others = {k: v for k, v in options.items() if k != "compute_entropy" and v}
        if others:  # images, auxiliary losses: not a judge's
            return score(model, input_ids, attention_mask, logits_to_keep, batch_size, **options)  # type: ignore[no-any-return]
        n_prompt = input_ids.shape[1] - logits_to_keep
        order = attention_mask.sum(1).argsort()
        logps, entropies = [], []
        for rows in torch.split(order, ROWS):
            used = attention_mask[rows].any(0).nonzero().squeeze(1)
            start, stop = min(int(used[0]), n_prompt - 1), max(int(used[-1]) + 1, n_prompt + 1)
            spare = (0, input_ids.shape[1] - stop)
            logp, entropy, _ = score(
                model,
                input_ids[rows, start:stop],
                attention_mask[rows, start:stop],
                stop - n_prompt,
                **options,
            )
            logps.append(pad(logp, spare))
            entropies.append(None if entropy is None else pad(entropy, spare))
        back = order.argsort()
        found = [e for e in entropies if e is not None]
        return torch.cat(logps)[back], torch.cat(found)[back] if found else None, None
