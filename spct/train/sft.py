"""Supervised tuning on accepted trajectories: a short assembly over TRL's `SFTTrainer`.

The loss covers the completion alone (the paper does not say whether it does). Rows longer than
`max_length` are skipped and counted rather than cut: half a judgement teaches a format without a
verdict. Rows come as chat-format `prompt` and `completion`, so a base model without a chat template
cannot be trained and is refused by name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.data.dropped import Dropped
from spct.data.faults import bad
from spct.data.files import read_objects
from spct.engines.hf_load import load_tokenizer
from spct.errors import ExtraMissing
from spct.train.adapters import starting_model
from spct.train.checks import batch_share, check_runnable, trackers
from spct.train.config import Optimisation, SftConfig, native_bfloat16
from spct.train.fitting import Fitting, Messages, Row, fitting
from spct.train.focus import focused
from spct.train.model_readme import write_card
from spct.train.resume import begin, last_checkpoint, resume, save_whole
from spct.train.watch import curves, watch, write_metrics

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerBase
    from trl.trainer.sft_trainer import SFTTrainer

IGNORED = -100  # the label of positions without a loss


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training stage did: rows in, rows skipped, steps, and the last logged loss."""

    out: Path
    n_rows: int
    n_too_long: int
    steps: int
    loss: float | None
    resumed_from: str | None = None
    n_refused: int = 0  # rows that the model's chat template cannot write


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a JSONL (or Parquet, gzip) file; a bad row is named by file and line."""
    return [row for _, row in read_objects(path)]


def read_chat_rows(path: Path, drop: Dropped | None = None) -> list[Row]:
    """The same of rows with a `prompt` and a `completion`; with `drop` bad ones are left out."""
    return [row for _, row in read_objects(path, _check_chat, drop)]


def _check_chat(place: str, row: Row) -> None:
    for name in ("prompt", "completion"):
        turns = row.get(name)
        if not isinstance(turns, list) or not turns or not all(map(_is_message, turns)):
            raise bad(place, name, turns, "a list of messages, each with a role and a text")


def read_labelled_rows(path: Path) -> list[Row]:
    """The rows of the meta RM, each with `messages` and a `label` of 0 or 1."""
    return [row for _, row in read_objects(path, _check_labelled)]


def _check_labelled(place: str, row: Row) -> None:
    turns, label = row.get("messages"), row.get("label")
    if not isinstance(turns, list) or not turns or not all(map(_is_message, turns)):
        raise bad(place, "messages", turns, "a list of messages, each with a role and a text")
    if isinstance(label, bool) or label not in (0, 1):
        raise bad(place, "label", label, "0 or 1, as spct data meta writes it")


def _is_message(turn: object) -> bool:
    return isinstance(turn, dict) and all(
        isinstance(turn.get(key), str) for key in ("role", "content")
    )


def completed(row: Row) -> Messages:
    """The conversation of a row with its completion."""
    return [*row["prompt"], *row["completion"]]


def batch_arguments(config: Optimisation, n_processes: int) -> dict[str, Any]:
    """Split the global batch into micro batches and accumulation; refuse a split that is uneven."""
    check_runnable(config, n_processes)
    if config.bf16 and config.use_cpu and not native_bfloat16():
        print("bf16 is emulated on this processor; float32 is far faster", file=sys.stderr)
    return {
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": batch_share(config, n_processes),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup_steps,
        "max_steps": config.max_steps,
        "bf16": config.bf16,
        "activation_checkpointing": config.gradient_checkpointing,  # its new name; TRL has it on
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "logging_steps": config.log_steps,
        "use_cpu": config.use_cpu,
        "seed": config.seed,
        "data_seed": config.seed,
        "report_to": trackers(config),
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def lora(config: Optimisation, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """LoRA on every linear layer (alpha = 2 x rank) above those skipped; None: full tuning."""
    if config.lora_rank == 0:
        return None
    from peft import LoraConfig

    skipped = "|".join(map(str, range(config.lora_skip_layers)))
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        target_modules="all-linear",
        exclude_modules=rf"(.*\.)?layers\.({skipped})\..*" if skipped else None,
        task_type=task,
    )


def set_attention(config: Optimisation, *models: Any) -> None:
    """Switch models (None: one that is not there) to the config's attention, if it names one."""
    for model in models:
        if model is not None and config.attention is not None:
            whole = model.get_base_model() if hasattr(model, "get_base_model") else model
            whole.set_attn_implementation(config.attention)


def last_loss(history: Sequence[dict[str, float]]) -> float | None:
    """The last loss in a trainer's log."""
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return losses[-1] if losses else None


def _columns(row: Row) -> Row:
    return {"prompt": row["prompt"], "completion": row["completion"]}


def run_to_end(trainer: Any, out: Path, rows: Fitting[Row]) -> TrainReport:
    """Train on from the last checkpoint in `out`, and save model and metrics there."""
    checkpoint = last_checkpoint(out)
    watch(trainer, out)
    resume(trainer, checkpoint)
    save_whole(trainer, out)
    if trainer.is_world_process_zero():
        (out / "training_args.bin").unlink(missing_ok=True)  # a pickle
        write_metrics(trainer.state.log_history, out)
        curves(trainer.state.log_history, out)
        write_card(out, len(rows.kept))
    return TrainReport(
        out=out,
        n_rows=len(rows.kept),
        n_too_long=rows.n_too_long,
        n_refused=rows.n_refused,
        steps=trainer.state.global_step,
        loss=last_loss(trainer.state.log_history),
        resumed_from=checkpoint,
    )


def train(
    model: str,
    rows: Sequence[Row],
    out: Path,
    config: SftConfig,
    about: Mapping[str, Any] | None = None,
) -> TrainReport:
    """Tune `model` on the rows and save it to `out`; continue from its last checkpoint if any."""
    try:
        from accelerate import PartialState  # type: ignore[import-untyped]
        from datasets import Dataset  # type: ignore[import-untyped]
        from trl.trainer.sft_config import SFTConfig as TrlConfig
    except ImportError as error:
        raise ExtraMissing("trl", "train") from error
    tokenizer = load_tokenizer(model)
    found = fitting(rows, tokenizer, config.max_length, completed)
    found.check(f"tuning {model!r}", config.max_length)
    begin(out, "tuning", model, config, found.kept, about)
    arguments = TrlConfig(
        output_dir=str(out),
        **batch_arguments(config, PartialState(cpu=config.use_cpu).num_processes),
        completion_only_loss=True,
        max_length=None,  # longer rows are already dropped; never cut
        packing=False,
        loss_type="nll",
        shuffle_dataset=True,
        train_sampling_strategy="group_by_length",  # padding is paid for
    )
    start = starting_model(model)
    trainer = _trainer_class(config)(
        model=start,
        args=arguments,
        train_dataset=Dataset.from_list(_dataset_rows(found.kept, tokenizer)),
        processing_class=tokenizer,
        peft_config=lora(config) if start is model else None,
    )
    set_attention(config, trainer.model)
    return run_to_end(trainer, out, found)


def _dataset_rows(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """What TRL is given: conversations, or ids and masks where a row has a focus."""
    if any("focus" in row for row in rows):
        return focused(rows, tokenizer)
    return [_columns(row) for row in rows]


def _trainer_class(config: SftConfig) -> type[SFTTrainer]:
    """TRL's trainer; on CPU one whose loss does not score the prompt's positions.

    Without Triton, TRL folds every position through the vocabulary and masks afterwards: two thirds
    of a step for SmolLM2-135M.
    """
    import torch
    from trl.trainer.sft_trainer import SFTTrainer

    if not config.use_cpu:
        return SFTTrainer

    class CompletionTrainer(SFTTrainer):
        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> Any:
            labels_B_T = inputs.pop("labels")
            first = int((labels_B_T != IGNORED).any(0).nonzero()[0])
            n_scored = labels_B_T.shape[1] - first
            outputs = model(**inputs, use_cache=False, logits_to_keep=n_scored + 1)
            loss = torch.nn.functional.cross_entropy(
                outputs.logits[:, :-1].flatten(0, 1).float(),
                labels_B_T[:, first:].flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            ) / (
                (labels_B_T != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            )
            if num_items_in_batch is not None:  # counted over all processes; gradients are averaged
                loss = loss * self.accelerator.num_processes
            return (loss, outputs) if return_outputs else loss

    return CompletionTrainer
