"""The one way from tokenised rows to a trained head: a fit on a frozen backbone, or a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spct.models.model_card import ModelCard
from spct.train import frozen
from spct.train.config import HeadConfig
from spct.train.frozen import IdPair
from spct.train.heads import check_dev, log_to_stderr, require_rows, run_to_end
from spct.train.resume import begin
from spct.train.sft import TrainReport, set_attention

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer


def train_head(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[IdPair],
    dev: Sequence[IdPair],
    out: Path,
    config: HeadConfig,
    card: ModelCard,
    trainer_of: Callable[[], Trainer],
    *,
    data: Sequence[object],
    n_offered: int,
    both_orders: bool = False,
) -> TrainReport:
    """Train head and, unless it is frozen, backbone; save the model with its card to `out`.

    `data` is what the rows were made of: a folder goes on with the same data only. `n_offered` is
    how many rows there would be if all of them fitted. `both_orders`: each side is labelled alone.
    """
    require_rows(len(rows), n_offered, config.max_length)
    check_dev({row.query for row in rows}, [row.query for row in dev])
    begin(out, card.paradigm, model, config, data)
    settings = config.model_dump(mode="json")
    card = card.model_copy(update={"n_pairs": len(rows), "settings": settings})
    n_too_long = n_offered - len(rows)
    if config.frozen:
        return frozen.train(
            model, tokenizer, rows, out, config, card,
            dev=dev, both_orders=both_orders, n_too_long=n_too_long,
        )  # fmt: skip
    trainer = trainer_of()
    set_attention(config, trainer.model)
    log_to_stderr(trainer)
    return run_to_end(trainer, tokenizer, out, card, n_too_long=n_too_long)
