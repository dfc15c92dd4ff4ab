"""The meta RM: a one-logit head that says how likely a trajectory is to be correct.

Its data are trajectories of the RFT stage and of the trained model itself, right and wrong ones,
non-hinted only (a hinted critique reads differently from what will be judged); the label is the
outcome rule. Unscored trajectories never vote, so they are left out and counted. The loss is binary
cross-entropy through transformers' `Trainer` (TRL's `RewardTrainer` is Bradley-Terry). The paper
does not state its class balance; here the rarer class may be weighed up, and both counts are
reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.errors import ExtraMissing, TrainError
from spct.models.encode import load_tokenizer
from spct.train.config import MetaConfig
from spct.train.fitting import Row, encode, fitting
from spct.train.heads import adapted_head
from spct.train.outcome import correct, gold_problem
from spct.train.pairs import Counts
from spct.train.resume import begin
from spct.train.sft import TrainReport, batch_arguments, run_to_end, set_attention
from spct.types import Example, Trajectory
from spct.votes.guided import meta_conversation

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class MetaFunnel(Counts):
    """What became of the trajectories offered as meta RM data.

    `skipped` are those of examples whose gold cannot decide, by what is wrong with it.
    """

    offered: int = 0
    hinted: int = 0
    unscored: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    right: dict[str, int] = field(default_factory=dict)  # by source
    wrong: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Rows written."""
        return sum(self.right.values()) + sum(self.wrong.values())

    def check(self) -> None:
        """Raise `TrainError` if no trajectory is left to learn from."""
        if not self.kept:
            raise TrainError(
                f"labelling trajectories for the meta RM: none is left ({self}); expected scored "
                "judgements that were given no hint, of examples whose gold has one best response"
            )


def meta_rows(
    pairs: Iterable[tuple[Example, Trajectory]], source: str, funnel: MetaFunnel
) -> list[Row]:
    """Label trajectories by the rule; `source` says which model wrote them."""
    rows: list[Row] = []
    seen: set[tuple[str, tuple[int, ...], str]] = set()
    for example, trajectory in pairs:
        funnel.offered += 1
        judgement = trajectory.judgement
        key = (example.id, trajectory.prompt.order, trajectory.completion.text)
        if trajectory.prompt.hint is not None:
            funnel.hinted += 1
        elif judgement is None:
            funnel.unscored += 1
        elif problem := gold_problem(example.gold, example.n):
            funnel.skipped[problem] = funnel.skipped.get(problem, 0) + 1
        elif key in seen:
            funnel.duplicates += 1
        else:
            seen.add(key)
            label = correct(judgement.scores, example.gold or ())
            counts = funnel.right if label else funnel.wrong
            counts[source] = counts.get(source, 0) + 1
            rows.append(meta_row(example, trajectory, source, label=label))
    return rows


def meta_row(example: Example, trajectory: Trajectory, source: str, *, label: bool) -> Row:
    """One labelled conversation."""
    conversation = meta_conversation(example, trajectory)
    return {
        "messages": [{"role": m.role, "content": m.content} for m in conversation],
        "label": int(label),
        "example_id": example.id,
        "source": source,
    }


def pos_weight(labels: Sequence[int]) -> float:
    """What a positive counts against a negative so that both classes weigh the same in all."""
    positives = sum(labels)
    if not 0 < positives < len(labels):
        raise TrainError(
            f"balancing meta RM labels: got {positives} right of {len(labels)} trajectories; "
            "expected both classes; sample more trajectories, or at a higher temperature"
        )
    return (len(labels) - positives) / positives


def train(
    model: str,
    rows: Sequence[Row],
    out: Path,
    config: MetaConfig,
    about: Mapping[str, Any] | None = None,
) -> TrainReport:
    """Train the head (and backbone) on labelled rows and save it to `out`; resumes."""
    try:
        import torch
        from accelerate import PartialState  # type: ignore[import-untyped]
        from datasets import Dataset  # type: ignore[import-untyped]
        from transformers import (
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
        )
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    tokenizer = load_tokenizer(model)  # the scorers' own: it pads with what ends no conversation
    found = fitting(rows, tokenizer, config.max_length, lambda row: row["messages"])
    found.check(f"training the meta RM from {model!r}", config.max_length)
    weight = pos_weight([r["label"] for r in found.kept])
    begin(out, "meta", model, config, found.kept, about)
    head = adapted_head(model, tokenizer, config)
    loss_weight = torch.tensor(weight if config.balance else 1.0)

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits_B = outputs["logits"].squeeze(-1).float()
        return bce(logits_B, labels.float(), loss_weight.to(logits_B.device), num_items_in_batch)

    trainer = Trainer(
        model=head,
        args=TrainingArguments(
            output_dir=str(out),
            **batch_arguments(config, PartialState(cpu=config.use_cpu).num_processes),
            remove_unused_columns=False,
            train_sampling_strategy="group_by_length",  # padding is paid for
        ),
        train_dataset=Dataset.from_list(
            [{**encode(tokenizer, r["messages"]), "labels": r["label"]} for r in found.kept]
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=loss,
    )
    tokenizer.save_pretrained(str(out))
    set_attention(config, head)
    return run_to_end(trainer, out, found)


def bce(
    logits_B: torch.Tensor,
    labels_B: torch.Tensor,
    positive_weight: torch.Tensor,
    n_items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Binary cross-entropy, positives weighed; the mean over the batch, or over `n_items` of it."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    total = binary_cross_entropy_with_logits(
        logits_B, labels_B, pos_weight=positive_weight, reduction="sum"
    )
    return total / (len(labels_B) if n_items is None else n_items)
