"""What the trainers of one-logit heads share: settings, a folder to begin and to finish in.

A folder holds `run.json` (resolved settings and a digest of the data, written before any work),
`checkpoints/` to resume from, and in the end the model: safetensors weights or a LoRA adapter,
tokenizer, `spct.json`, `metrics.jsonl` and the figure `curves`. The same command continues; another
command in the same folder is refused. Checkpoints hold optimizer states in the trainer's own
format; the model itself is safetensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import spct
from spct.errors import DataError, TemplateRefused
from spct.models.encode import Conversation, Encoder
from spct.models.head import new_head
from spct.models.model_card import ModelCard
from spct.train.config import HeadConfig, Optimisation
from spct.train.fitting import Fitting
from spct.train.resume import last_checkpoint, resume, save_whole
from spct.train.sft import TrainReport, batch_arguments, last_loss, lora
from spct.train.watch import curves, watch, write_metrics

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerBase, Trainer

CHECKPOINTS = "checkpoints"
P = TypeVar("P")
R = TypeVar("R")


def adapted_head(model: str, tokenizer: PreTrainedTokenizerBase, config: Optimisation) -> Any:
    """A fresh head on a backbone, with LoRA adapters below it if the config asks for them."""
    head = new_head(model, seed=config.seed)
    head.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if (adapters := head_lora(config)) is None:
        return head
    from peft import get_peft_model

    return get_peft_model(head, adapters)


def head_lora(config: Optimisation) -> LoraConfig | None:
    """LoRA on the backbone with the head trained in full; None: full tuning."""
    return lora(config, task="SEQ_CLS")


def encoded(
    encoder: Encoder,
    pairs: Iterable[P],
    both: Callable[[P], Sequence[Conversation]],
    row_of: Callable[[P, list[list[int]]], R],
    max_length: int,
) -> Fitting[R]:
    """Rows of the pairs whose two conversations can be read; the others are counted by reason."""
    found = Fitting[R]([])
    for pair in pairs:
        try:
            ids = [encoder.ids(conversation) for conversation in both(pair)]
        except TemplateRefused as error:
            found.refuse("a pair", error)
            continue
        if max(map(len, ids)) > max_length:
            found.n_too_long += 1
        else:
            found.kept.append(row_of(pair, ids))
    return found


def check_dev(train_queries: set[object], dev_queries: Sequence[object]) -> None:
    """Refuse a dev set that shares a query with the training set."""
    if shared := [query for query in dev_queries if query in train_queries]:
        raise DataError(
            f"reading the dev set: {len(shared)} of {len(dev_queries)} pairs have a query that is "
            f"also trained on (first: {shared[0]!r}); split by query (spct data split)"
        )


def trainer_arguments(config: HeadConfig, *, has_dev: bool) -> dict[str, Any]:
    """Batches, optimisation and evaluation, as every trainer of a head takes them."""
    from accelerate import PartialState  # type: ignore[import-untyped]

    arguments = batch_arguments(config, PartialState(cpu=config.use_cpu).num_processes)
    if not has_dev:
        return arguments
    return arguments | {
        "eval_strategy": "steps",
        "eval_steps": config.dev_steps or config.max_steps,
        "per_device_eval_batch_size": config.micro_batch_size,
    }


def log_to_stderr(trainer: Trainer) -> None:
    """Show the stage on standard error: standard output is for results."""
    watch(trainer, Path(str(trainer.args.output_dir)).parent)


def run_to_end(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    card: ModelCard,
    rows: Fitting[Any],
) -> TrainReport:
    """Train on from the last checkpoint; save the model with its card, metrics and curves."""
    resumed_from = last_checkpoint(out / CHECKPOINTS)
    resume(trainer, resumed_from)
    history, steps = trainer.state.log_history, trainer.state.global_step
    loss = last_loss(history)
    save_whole(trainer, out)
    if trainer.accelerator.is_main_process:
        (out / "training_args.bin").unlink(missing_ok=True)  # a pickle
        curves(history, out)
        write_beside(out, tokenizer, history, card, steps=steps, loss=loss)
    return report_of(rows, out, steps, loss, resumed_from)


def report_of(
    rows: Fitting[Any], out: Path, steps: int, loss: float | None, resumed_from: str | None
) -> TrainReport:
    """What was trained on, and what was left out of it and why."""
    n, too_long, refused = len(rows.kept), rows.n_too_long, rows.n_refused
    return TrainReport(out, n, too_long, steps, loss, resumed_from, refused)


def write_beside(
    out: Path,
    tokenizer: PreTrainedTokenizerBase,
    history: Sequence[dict[str, float]],
    card: ModelCard,
    *,
    steps: int,
    loss: float | None,
) -> None:
    """Write tokenizer, metrics and, last, the card: a folder with a card is a finished model."""
    tokenizer.save_pretrained(str(out))
    write_metrics(history, out)
    filled = {"steps": steps, "loss": loss, "spct_version": spct.__version__}
    card.model_copy(update=filled).write(out)
