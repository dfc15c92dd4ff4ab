"""The decision readout: a model tuned so that its labels' logits say which response is better.

Each response is read alone ("is this good, yes or no?"); z is the log odds of yes over no at the
answer position. Responses of one query are packed into rows (packing.py). Loss of a pair:
-log sigmoid(z_better - z_worse), plus `log_score` times the mean cross-entropy of all labels, so
that yes means good and a single response can be judged. Logits are computed at the answer positions
for the labels' few tokens only: the head over a 49k vocabulary is a third of a step otherwise.

With LoRA above the lowest `lora_skip_layers` layers the lower states never change, and
`cache_states` keeps them once, in a file: training then runs the upper layers alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spct
from spct.data.prepare import split_by_prompt
from spct.engines.hf_load import load_causal, load_tokenizer
from spct.engines.readouts.asking import Wording
from spct.engines.readouts.decision import YES_NO
from spct.engines.readouts.hf import chat_ids, spellings
from spct.errors import ConfigError, ExtraMissing
from spct.measure.temperature import binary_ece, fit_temperature
from spct.models.decision import Asking
from spct.models.model_card import ModelCard, Template
from spct.train.config import DecisionConfig
from spct.train.heads import CHECKPOINTS, log_to_stderr
from spct.train.packing import Ids, Packed, Row, collate, rows_of
from spct.train.resume import begin, last_checkpoint, resume, room_for
from spct.train.sft import (
    TrainReport,
    batch_arguments,
    last_loss,
    lora,
    set_attention,
)
from spct.train.watch import write_metrics
from spct.types import Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

    from spct.train.readout import Readout, StatesCache


CALIBRATION_ROWS = 150  # as many as one number needs


def encoder(
    asking: Asking, wording: Wording, tokenizer: PreTrainedTokenizerBase
) -> Callable[[Example, int], Ids]:
    """How the prompt about one response is written as ids, each once."""
    known: dict[tuple[str, str | None, str], Ids] = {}

    def ids(example: Example, i: int) -> Ids:
        key = (str(example.query), example.reference, example.responses[i])
        if key not in known:
            one = Example(
                example.id, example.query, (example.responses[i],), reference=example.reference
            )
            state = asking.state.render(one, (0,)).messages[0].content
            messages = wording.messages(state, asking.question, range(2))
            known[key] = tuple(chat_ids(tokenizer, messages))
        return known[key]

    return ids


def losses(z_S: torch.Tensor, batch: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    """Bradley-Terry over the pairs, and the log score over all sides; weighted and plain mean."""
    from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

    labels_S, weight_P = batch.labels_S.to(z_S), batch.weight_P.to(z_S)
    pairwise = z_S.sum() * 0
    if len(weight_P):
        lost_P = -logsigmoid(z_S[batch.better_P] - z_S[batch.worse_P])
        pairwise = (lost_P * weight_P).sum() / weight_P.sum()
    return pairwise, binary_cross_entropy_with_logits(z_S, labels_S)


def label_ids(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The spellings of yes and of no."""
    found = [spellings(tokenizer, label) for label in YES_NO]
    if not all(found):
        raise ConfigError(
            "training a decision model: 'yes' or 'no' is more than one token of this vocabulary"
        )
    return found


def train(
    model: str,
    examples: Sequence[Example],
    out: Path,
    config: DecisionConfig,
    asking: Asking,
    wording: Wording,
) -> TrainReport:
    """Tune `model` on the examples, fit its temperature and save both to `out`; resumes."""
    try:
        from accelerate import PartialState  # type: ignore[import-untyped]
        from datasets import Dataset  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    from spct.train.readout import mixed_adapters

    tokenizer = load_tokenizer(model)
    held_out = [e for e in examples if is_calibration(e, config.calibration)]
    fitted = [e for e in examples if not is_calibration(e, config.calibration)]
    ids_of = encoder(asking, wording, tokenizer)
    rows, funnel = rows_of(fitted, ids_of, config.max_length, config.row_tokens)
    print(f"training: {funnel}", file=sys.stderr)
    funnel.check(config.max_length)
    begin(out, "decision", model, config, rows)
    readout = starting_readout(model, tokenizer, config)
    cache = _cache(readout, rows, out, tokenizer, config) if config.cache_states else None
    trainer = _trainer_class(readout, rows, cache, int(tokenizer.pad_token_id), config)(
        model=readout,
        args=_arguments(out, config),
        train_dataset=Dataset.from_dict(
            {"row": list(range(len(rows))), "length": [row.length for row in rows]}
        ),
        data_collator=lambda picked: {"rows": torch_ids(picked)},
    )
    log_to_stderr(trainer)
    resumed = last_checkpoint(out / CHECKPOINTS)
    with mixed_adapters(readout.model, config.bf16 and config.lora_rank > 0):
        resume(trainer, resumed)
    history, steps = trainer.state.log_history, trainer.state.global_step
    loss = last_loss(history)
    left_out = funnel.too_long, funnel.refused
    report = TrainReport(out, len(rows), left_out[0], steps, loss, resumed, left_out[1])
    if not PartialState().is_main_process:
        return report
    with room_for(out):
        readout.model.save_pretrained(str(out))
    unseen: list[Row] = []
    if held_out:
        unseen, _ = rows_of(held_out, ids_of, config.max_length, config.row_tokens)
    card = _card(model, rows, report, config, asking, wording)
    temperature, ece = _calibrated(readout, unseen[:CALIBRATION_ROWS], int(tokenizer.pad_token_id))
    tokenizer.save_pretrained(str(out))
    write_metrics(history, out)
    card.model_copy(update={"temperature": temperature, "calibration_error": ece}).write(out)
    return report


def _arguments(out: Path, config: DecisionConfig) -> TrainingArguments:
    from accelerate import PartialState
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        **batch_arguments(config, PartialState(cpu=config.use_cpu).num_processes),
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        max_grad_norm=1.0,
        ddp_find_unused_parameters=False,
    )


def _card(
    model: str,
    rows: Sequence[Row],
    report: TrainReport,
    config: DecisionConfig,
    asking: Asking,
    wording: Wording,
) -> ModelCard:
    """What it was trained from and on; the calibration comes after."""
    return ModelCard(
        paradigm="decision",
        base=model,
        steps=report.steps,
        n_pairs=sum(len(row.pairs) for row in rows),
        max_length=config.max_length,
        loss=report.loss,
        template=Template.of(asking.state),
        wording=wording.template,
        question=asking.question.instructions,
        settings=config.model_dump(mode="json"),
        spct_version=spct.__version__,
    )


def is_calibration(example: Example, share: float) -> bool:
    """Whether an example's query belongs to the calibration split: a hash of the query decides."""
    split = split_by_prompt(example, {"train": 1 - share, "dev": share}, "calibration")
    return share > 0 and split == "dev"


def torch_ids(picked: Sequence[dict[str, int]]) -> torch.Tensor:
    """The numbers of a batch's rows."""
    import torch

    return torch.tensor([one["row"] for one in picked])


def starting_readout(
    model: str, tokenizer: PreTrainedTokenizerBase, config: DecisionConfig
) -> Readout:
    """The model with its adapters, and the labels' rows of its head."""
    import torch

    from spct.train.readout import Readout, compile_layers

    loaded: Any = load_causal(model, torch.bfloat16 if config.bf16 else torch.float32)
    if adapters := lora(config):
        from peft import get_peft_model

        torch.manual_seed(config.seed)
        loaded = get_peft_model(loaded, adapters)
    set_attention(config, loaded)
    if config.compile_layers:
        compile_layers(loaded, config.use_cpu)
    return Readout(loaded, label_ids(tokenizer), lowest=config.lora_skip_layers)


def _cache(
    readout: Readout,
    rows: Sequence[Row],
    out: Path,
    tokenizer: PreTrainedTokenizerBase,
    config: DecisionConfig,
) -> StatesCache:
    from spct.train.readout import StatesCache

    if not (config.lora_rank and config.lora_skip_layers):
        raise ConfigError(
            "cache_states keeps the states below the trained layers: it needs lora_rank and"
            " lora_skip_layers above 0"
        )
    decoder: Any = readout.__dict__["decoder"]
    cache = StatesCache(out / "states", rows, int(decoder.config.hidden_size))
    cache.fill(decoder, config.lora_skip_layers, int(tokenizer.pad_token_id))
    return cache


def _trainer_class(
    readout: Readout, rows: Sequence[Row], cache: StatesCache | None, pad: int, config: Any
) -> type[Trainer]:
    """A trainer whose loss reads sides; it saves and loads the model inside the readout."""
    from transformers import Trainer

    class DecisionTrainer(Trainer):
        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> Any:
            which = inputs["rows"].tolist()
            batch = collate([rows[i] for i in which], pad)
            z_S = model(batch, None if cache is None else cache.of(which))
            pairwise, score = losses(z_S, batch)
            loss = pairwise + config.log_score * score
            # the trainer divides by the accumulated batches only where it counts items itself
            loss = loss / self.args.gradient_accumulation_steps
            return (loss, {"z": z_S}) if return_outputs else loss

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            readout.model.save_pretrained(output_dir or self.args.output_dir)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            load_weights(readout.model, Path(resume_from_checkpoint))

    return DecisionTrainer


def load_weights(model: Any, folder: Path) -> None:
    """Load what `save_pretrained` wrote: adapters, or the whole model."""
    from safetensors.torch import load_file

    adapter = folder / "adapter_model.safetensors"
    if adapter.is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(adapter))
    else:
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)


def _calibrated(readout: Readout, rows: Sequence[Row], pad: int) -> tuple[float, float | None]:
    """The temperature of unseen rows, and the calibration error with it; 1 and None of too few."""
    import torch

    if sum(len(row.pairs) or len(row.labels) for row in rows) < 2:  # one says nothing
        return 1.0, None
    readout.train(False)
    margins: list[float] = []
    golds: list[int] = []
    rows = sorted(rows, key=lambda row: row.length)
    for start in range(0, len(rows), 8):
        batch = collate(rows[start : start + 8], pad)
        with torch.inference_mode():
            z_S = readout(batch)
        margins += (z_S[batch.better_P] - z_S[batch.worse_P]).tolist()
        golds += [1] * len(batch.better_P)
        for z, label, b in zip(z_S.tolist(), batch.labels_S.tolist(), batch.row_S, strict=True):
            if not rows[start + int(b)].pairs:
                margins.append(z)
                golds.append(int(label))
    temperature = fit_temperature(margins, golds)
    return temperature, binary_ece([m / temperature for m in margins], golds)
