"""The Bradley-Terry head: a short assembly over TRL's `RewardTrainer`.

loss = -log sigmoid(r(chosen) - r(rejected) [- margin]), the mean over the pairs of a batch. The
conversations are tokenised here, with the function that scores them later, and rows that do not fit
are skipped and counted (TRL would drop them without a word). Passed explicitly because defaults
differ: float32 on CPU, no gradient checkpointing, no reward centring, dropout off. The paper states
neither learning rate nor steps of its BTRM; its data are the RL set without single responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.errors import ExtraMissing
from spct.models.encode import Conversation, Encoder, load_tokenizer
from spct.models.head import new_head
from spct.models.model_card import ModelCard
from spct.models.scalar import conversation
from spct.train import heads
from spct.train.config import ScalarConfig
from spct.train.fitting import Fitting
from spct.train.frozen import IdPair
from spct.train.head_stage import train_head
from spct.train.heads import CHECKPOINTS
from spct.train.pairs import Pair
from spct.train.sft import TrainReport

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import PreTrainedTokenizerBase
    from trl.trainer.reward_trainer import RewardTrainer


@dataclass(frozen=True, slots=True)
class ConversationPair:
    """Two conversations of which the first is the better one; `margin` in units of gold."""

    chosen: Conversation
    rejected: Conversation
    margin: float
    query: Conversation = field(repr=False)  # by it, pairs belong together


def conversation_pairs(pairs: Sequence[Pair]) -> list[ConversationPair]:
    """What a pointwise head reads of each pair."""
    return [
        ConversationPair(
            conversation(p.example, p.chosen),
            conversation(p.example, p.rejected),
            p.margin,
            p.example.query,
        )
        for p in pairs
    ]


def train(
    model: str,
    pairs: Sequence[ConversationPair],
    out: Path,
    config: ScalarConfig,
    *,
    dev: Sequence[ConversationPair] = (),
    card: ModelCard | None = None,
) -> TrainReport:
    """Train head and, unless it is frozen, backbone; save the scalar model to `out`; resumes.

    `card` says what the model is where it is not a plain Bradley-Terry model (CLoud's head).
    """
    tokenizer = load_tokenizer(model)
    encoder = Encoder(tokenizer, config.max_length)
    rows, dev_rows = _rows(encoder, pairs, config), _rows(encoder, dev, config)
    card = card or ModelCard(
        paradigm="bradley-terry", base=model, steps=0, n_pairs=0, max_length=config.max_length
    )
    return train_head(
        *(model, tokenizer, rows, dev_rows, out, config, card),
        lambda: _trainer(model, tokenizer, rows.kept, out, config, dev_rows.kept),
        data=[*pairs, *dev],
    )


def _trainer(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[IdPair],
    out: Path,
    config: ScalarConfig,
    dev: Sequence[IdPair],
) -> RewardTrainer:
    try:
        from trl.trainer.reward_config import RewardConfig
        from trl.trainer.reward_trainer import RewardTrainer
    except ImportError as error:
        raise ExtraMissing("trl", "train") from error
    arguments = RewardConfig(
        output_dir=str(out / CHECKPOINTS),
        **heads.trainer_arguments(config, has_dev=bool(dev)),
        max_length=None,  # longer rows are already dropped; never cut
        center_rewards_coefficient=None,
        disable_dropout=True,
    )
    return RewardTrainer(
        model=new_head(model, seed=config.seed),
        args=arguments,
        train_dataset=_dataset(rows, config),
        eval_dataset=_dataset(dev, config) if dev else None,
        processing_class=tokenizer,
        peft_config=heads.head_lora(config),
    )


def _rows(
    encoder: Encoder, pairs: Sequence[ConversationPair], config: ScalarConfig
) -> Fitting[IdPair]:
    """The pairs in tokens; those that cannot be read are left out and counted."""
    scale = config.margin_scale if config.use_margins else 0.0
    return heads.encoded(
        encoder,
        pairs,
        lambda p: (p.chosen, p.rejected),
        lambda p, ids: IdPair(ids[0], ids[1], query=p.query, margin=p.margin * scale),
        config.max_length,
    )


def _dataset(rows: Sequence[IdPair], config: ScalarConfig) -> Dataset:
    from datasets import Dataset

    columns: dict[str, Any] = {
        "chosen_ids": [row.first for row in rows],
        "rejected_ids": [row.second for row in rows],
    }
    if config.use_margins:
        columns["margin"] = [row.margin for row in rows]
    return Dataset.from_dict(columns)
