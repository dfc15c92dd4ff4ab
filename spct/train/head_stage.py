"""The one way from tokenised rows to a trained head: a fit on a frozen backbone, or a trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spct.models.model_card import ModelCard
from spct.train import frozen
from spct.train.config import HeadConfig
from spct.train.fitting import Fitting
from spct.train.frozen import IdPair
from spct.train.heads import check_dev, log_to_stderr, run_to_end
from spct.train.resume import begin
from spct.train.sft import TrainReport, set_attention

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer


def train_head(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Fitting[IdPair],
    dev: Fitting[IdPair],
    out: Path,
    config: HeadConfig,
    card: ModelCard,
    trainer_of: Callable[[], Trainer],
    *,
    data: Sequence[object],
    both_orders: bool = False,
) -> TrainReport:
    """Train head and, unless it is frozen, backbone; save the model with its card to `out`.

    `data` is what the rows were made of: a folder goes on with the same data only. `both_orders`:
    each side is labelled alone.
    """
    rows.check(f"training a head on {model!r}", config.max_length)
    check_dev({row.query for row in rows.kept}, [row.query for row in dev.kept])
    if dev.n_too_long or dev.n_refused:
        print(
            f"dev: of its pairs {dev.n_too_long} are too long and {dev.n_refused} are refused by "
            f"the chat template; the other {len(dev.kept)} are watched",
            file=sys.stderr,
        )
    begin(out, card.paradigm, model, config, data)
    settings = config.model_dump(mode="json")
    card = card.model_copy(update={"n_pairs": len(rows.kept), "settings": settings})
    if config.frozen:
        return frozen.train(
            model, tokenizer, rows, out, config, card, dev=dev.kept, both_orders=both_orders
        )
    trainer = trainer_of()
    set_attention(config, trainer.model)
    log_to_stderr(trainer)
    return run_to_end(trainer, tokenizer, out, card, rows)
