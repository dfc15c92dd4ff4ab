"""The pairwise head (PairRM): both responses in one sequence, one logit, transformers' `Trainer`.

Every pair enters twice, once in each order, with the label "the one shown first is better"; the
loss is binary cross-entropy. So the head sees each response equally often in each place. At
inference the two orders' logits are subtracted, which removes what position bias is left.
Departure from PairRM: that gives source and two candidates to an encoder with pair features; here
a causal backbone reads the conversation and both responses, and the last token is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.errors import ExtraMissing
from spct.models.encode import Encoder, load_tokenizer
from spct.models.formats import PAIR
from spct.models.model_card import ModelCard, Template
from spct.models.pairwise import pair_conversation
from spct.text.format import Format
from spct.train import heads
from spct.train.config import PairwiseConfig
from spct.train.fitting import Fitting
from spct.train.frozen import IdPair
from spct.train.head_stage import train_head
from spct.train.heads import CHECKPOINTS
from spct.train.meta_rm import bce
from spct.train.pairs import Pair
from spct.train.sft import TrainReport

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback


def train(
    model: str,
    pairs: Sequence[Pair],
    out: Path,
    config: PairwiseConfig,
    *,
    dev: Sequence[Pair] = (),
    fmt: Format = PAIR,
) -> TrainReport:
    """Train head and, unless it is frozen, backbone; save the pairwise model to `out`; resumes."""
    tokenizer = load_tokenizer(model)
    encoder = Encoder(tokenizer, config.max_length)
    rows = _rows(encoder, pairs, config.max_length, fmt)
    dev_rows = _rows(encoder, dev, config.max_length, fmt)
    card = ModelCard(
        paradigm="pairwise",
        base=model,
        steps=0,
        n_pairs=0,
        max_length=config.max_length,
        template=Template.of(fmt),
    )
    return train_head(
        *(model, tokenizer, rows, dev_rows, out, config, card),
        lambda: _trainer(model, tokenizer, rows.kept, out, config, dev_rows.kept),
        data=[fmt, *pairs, *dev],
        both_orders=True,
    )


def _trainer(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[IdPair],
    out: Path,
    config: PairwiseConfig,
    dev: Sequence[IdPair],
) -> Trainer:
    try:
        from datasets import Dataset  # type: ignore[import-untyped]
        from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    meter = _Meter()
    return Trainer(
        model=heads.adapted_head(model, tokenizer, config),
        args=TrainingArguments(
            output_dir=str(out / CHECKPOINTS),
            **heads.trainer_arguments(config, has_dev=bool(dev)),
            remove_unused_columns=False,
            label_names=["labels"],
        ),
        train_dataset=Dataset.from_list(_labelled(rows)),
        eval_dataset=Dataset.from_list(_labelled(dev)) if dev else None,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=meter.loss,
        compute_metrics=_dev_accuracy,
        callbacks=[_log_accuracy(meter)],
    )


def _rows(encoder: Encoder, pairs: Sequence[Pair], max_length: int, fmt: Format) -> Fitting[IdPair]:
    """Each pair with the better response shown first, and second; the unreadable are counted."""
    return heads.encoded(
        encoder,
        pairs,
        lambda p: (
            pair_conversation(p.example, p.chosen, p.rejected, fmt),
            pair_conversation(p.example, p.rejected, p.chosen, fmt),
        ),
        lambda p, ids: IdPair(ids[0], ids[1], query=p.example.query),
        max_length,
    )


def _labelled(rows: Sequence[IdPair]) -> list[dict[str, Any]]:
    """Two rows per pair, one in each order, with the label "the one shown first is better"."""
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
        for row in rows
        for ids, label in ((row.first, 1.0), (row.second, 0.0))
    ]


class _Meter:
    """The loss, and how often its logits were right since the last log line."""

    def __init__(self) -> None:
        self.right = self.seen = 0

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> Any:
        import torch

        logits_B, labels_B = outputs["logits"].squeeze(-1).float(), labels.float()
        if torch.is_grad_enabled():  # training; the dev set has its own metric
            self.right += int(((logits_B > 0) == (labels_B > 0.5)).sum())
            self.seen += len(labels_B)
        one = torch.ones((), device=logits_B.device)
        return bce(logits_B, labels_B, one, num_items_in_batch)

    def read(self) -> float:
        """The accuracy since the last reading."""
        accuracy = self.right / max(self.seen, 1)
        self.right = self.seen = 0
        return accuracy


def _dev_accuracy(prediction: Any) -> dict[str, float]:
    logits, labels = prediction.predictions.squeeze(-1), prediction.label_ids
    return {"accuracy": float(((logits > 0) == (labels > 0.5)).mean())}


def _log_accuracy(meter: _Meter) -> TrainerCallback:
    from transformers import TrainerCallback

    class LogAccuracy(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if "loss" in state.log_history[-1]:
                state.log_history[-1]["accuracy"] = meter.read()

    return LogAccuracy()
