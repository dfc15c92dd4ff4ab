"""Heads on a frozen backbone: each conversation is read once, then a linear head is fitted to it.

What the head would read is kept in `features.safetensors`, so a killed run goes on and a finished
one only fits again (linear.py). What is saved is an adapter folder with a head and no adapters, so
the base is not copied. With `layer`, a `config.json` beside it says how many layers to load.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spct.engines.checkpoint import HEADS
from spct.errors import ConfigError, ExtraMissing, TrainError
from spct.models.batches import length_sorted
from spct.models.head import new_head
from spct.models.model_card import ModelCard
from spct.train import heads
from spct.train.config import HeadConfig
from spct.train.fitting import Fitting
from spct.train.linear import Features, choose, fit
from spct.train.resume import room_for
from spct.train.sft import TrainReport, set_attention

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FEATURES = "features.safetensors"


@dataclass(frozen=True, slots=True)
class IdPair:
    """Two token sequences of one query of which the head should put the first above the second."""

    first: list[int]
    second: list[int]
    query: Hashable
    margin: float = 0.0


def train(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Fitting[IdPair],
    out: Path,
    config: HeadConfig,
    card: ModelCard,
    *,
    dev: Sequence[IdPair] = (),
    both_orders: bool = False,
) -> TrainReport:
    """Read every sequence once, fit the head and save the model to `out`; resumes."""
    pairs = rows.kept
    try:
        import torch
        from accelerate import PartialState  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("accelerate", "train") from error
    head = new_head(model, seed=config.seed, layers=config.layer)
    head.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    set_attention(config, head)
    name = _linear(head)
    state = PartialState(cpu=config.use_cpu)
    with state.main_process_first():  # the others find the features written
        resumed = str(out / FEATURES) if (out / FEATURES).is_file() else None
        pooled_N_H, row_of = _pooled(head.to(state.device), name, [*pairs, *dev], out, config)
    known = Features(
        pooled_N_H[[row_of[tuple(p.first)] for p in (*pairs, *dev)]],
        pooled_N_H[[row_of[tuple(p.second)] for p in (*pairs, *dev)]],
        torch.tensor([p.margin for p in (*pairs, *dev)], dtype=torch.float64),
        both_orders,
    )
    features = known.rows(range(len(pairs)))
    penalty, history = choose(features, [p.query for p in pairs], config.seed)
    weights_H, n_iterations = fit(features, penalty)
    loss = float(features.loss(weights_H))
    final = {"loss": loss, "accuracy": features.accuracy(weights_H), "penalty": penalty}
    if dev:
        unseen = known.rows(range(len(pairs), len(pairs) + len(dev)))
        final["eval_loss"] = float(unseen.loss(weights_H))
        final["eval_accuracy"] = unseen.accuracy(weights_H)
    history.append({"step": n_iterations, **final})
    print("fitted", *(f"{k} {v:.4g}" for k, v in final.items()), file=sys.stderr, flush=True)
    if state.is_main_process:
        _save(head, name, weights_H, out, config)
        heads.write_beside(out, tokenizer, history, card, steps=n_iterations, loss=loss)
    return heads.report_of(rows, out, n_iterations, loss, resumed)


def _linear(head: PreTrainedModel) -> str:
    """The name of the head's one linear layer."""
    import torch

    for name in HEADS:
        if isinstance(getattr(head, name, None), torch.nn.Linear):
            return name
    raise ConfigError(
        f"frozen = true: the head of {type(head).__name__} is not one linear layer; expected "
        "one, because the fit is linear; train it with frozen = false"
    )


def _pooled(
    head: PreTrainedModel, name: str, pairs: Sequence[IdPair], out: Path, config: HeadConfig
) -> tuple[torch.Tensor, dict[tuple[int, ...], int]]:
    """The head's input for every sequence, and the row of each; goes on where a kill left it."""
    import torch
    from safetensors.torch import load_file, save_file

    row_of = {tuple(ids): 0 for pair in pairs for ids in (pair.first, pair.second)}
    row_of = {ids: row for row, ids in enumerate(row_of)}
    sequences, n_most = list(row_of), config.micro_batch_size
    batches = list(
        length_sorted(
            [len(ids) for ids in sequences], max_batch=n_most, max_tokens=n_most * config.max_length
        )
    )
    linear, path = getattr(head, name), out / FEATURES
    kept = {"pooled": torch.zeros(len(sequences), linear.in_features), "done": torch.tensor(0)}
    if path.is_file():
        kept = load_file(path)
    setattr(head, name, torch.nn.Identity())  # so the model's own pooling comes out
    head.train(False)
    for i in range(int(kept["done"]), len(batches)):
        kept["pooled"][batches[i]] = _read(head, [sequences[j] for j in batches[i]], config)
        kept["done"] = torch.tensor(i + 1)
        if (i + 1) % config.save_steps == 0 or i + 1 == len(batches):
            with room_for(out):
                save_file(kept, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        if (i + 1) % config.log_steps == 0:
            print(f"read batch {i + 1}/{len(batches)}", file=sys.stderr, flush=True)
    setattr(head, name, linear)
    return kept["pooled"].double(), row_of


def _read(
    head: PreTrainedModel, sequences: Sequence[Sequence[int]], config: HeadConfig
) -> torch.Tensor:
    """One forward of one padded batch."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    pad = head.config.get_text_config().pad_token_id
    rows = [torch.tensor(ids) for ids in sequences]
    ids_B_T = pad_sequence(rows, batch_first=True, padding_value=pad).to(head.device)
    mask_B_T = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    with (
        torch.inference_mode(),
        torch.autocast(head.device.type, torch.bfloat16, enabled=config.bf16),
    ):
        outputs = head(input_ids=ids_B_T, attention_mask=mask_B_T.to(head.device))
    pooled_B_H: torch.Tensor = outputs.logits.float().cpu()
    if not pooled_B_H.isfinite().all():
        raise TrainError(
            "reading features of a frozen backbone: got numbers that are not finite; expected "
            "finite ones; the weights are damaged, or bf16 overflows (set bf16 = false)"
        )
    return pooled_B_H


def _save(
    head: PreTrainedModel, name: str, weights_H: torch.Tensor, out: Path, config: HeadConfig
) -> None:
    """Write the head as an adapter folder without adapters, so that the base is not copied."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import DUMMY_TARGET_MODULES

    linear = getattr(head, name)
    with torch.no_grad():
        linear.weight.copy_(weights_H[None])
        if linear.bias is not None:
            linear.bias.zero_()
    nothing = LoraConfig(task_type="SEQ_CLS", target_modules=DUMMY_TARGET_MODULES)
    with room_for(out):
        get_peft_model(head, nothing).save_pretrained(str(out))
    if config.layer is not None:
        head.config.save_pretrained(str(out))
