"""The decision readout: a model tuned so that its labels' logits say which response is better.

Each response is read alone ("is this good, yes or no?"); z is the log odds of yes over no at the
answer position. Loss of a pair: -log sigmoid(z_better - z_worse), plus `log_score` times the mean
cross-entropy of both labels, so that yes means good and a single response can be judged; a row with
a 0/1 label has the latter alone. Logits are computed at the answer position for the labels' few
tokens only: the head over a 49k vocabulary is a third of a training step otherwise.

With LoRA above the lowest `lora_skip_layers` layers the lower states never change, and
`cache_states` keeps them once, in a file: training then runs the upper layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spct
from spct.data.prepare import split_by_prompt
from spct.engines.hf_load import load_tokenizer
from spct.engines.readouts.asking import Wording
from spct.engines.readouts.decision import YES_NO
from spct.engines.readouts.hf import chat_ids, spellings
from spct.errors import ConfigError, ExtraMissing, TrainError
from spct.measure.temperature import binary_ece, fit_temperature
from spct.models.decision import Asking
from spct.models.model_card import ModelCard, Template
from spct.train.config import DecisionConfig
from spct.train.heads import CHECKPOINTS, log_to_stderr
from spct.train.pairs import PairFunnel, pairs_of
from spct.train.resume import begin, last_checkpoint, resume
from spct.train.sft import (
    TrainReport,
    batch_arguments,
    last_loss,
    lora,
    set_attention,
    write_metrics,
)
from spct.types import Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Trainer

    from spct.train.readout import Readout, StatesCache


@dataclass(frozen=True, slots=True)
class Side:
    """One response as it is read: its token ids, and whether it is the good one."""

    ids: tuple[int, ...]
    label: int


@dataclass(frozen=True, slots=True)
class Row:
    """A pair, the better side first, or one labelled response."""

    sides: tuple[Side, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest side, which batches are sorted by."""
        return max(len(side.ids) for side in self.sides)


def rows_of(
    examples: Sequence[Example],
    asking: Asking,
    wording: Wording,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> tuple[list[Row], int]:
    """Every pair whose gold differs and every labelled single; how many were too long."""
    known: dict[tuple[str, str | None, str], tuple[int, ...]] = {}

    def ids(example: Example, i: int) -> tuple[int, ...]:
        key = (str(example.query), example.reference, example.responses[i])
        if key not in known:
            one = Example(
                example.id, example.query, (example.responses[i],), reference=example.reference
            )
            state = asking.state.render(one, (0,)).messages[0].content
            messages = wording.messages(state, asking.question, range(2))
            known[key] = tuple(chat_ids(tokenizer, messages))
        return known[key]

    several = [e for e in examples if e.n > 1]
    rows = []
    if several:
        for pair in pairs_of(several, PairFunnel()):
            better, worse = (ids(pair.example, i) for i in (pair.chosen, pair.rejected))
            rows.append(Row((Side(better, 1), Side(worse, 0))))
    for example in examples:
        if example.n == 1 and example.gold is not None and example.gold[0] in (0.0, 1.0):
            rows.append(Row((Side(ids(example, 0), int(example.gold[0])),)))
    kept = [row for row in rows if row.length <= max_length]
    if not kept:
        raise TrainError(
            f"training a decision model: none of {len(rows)} rows fits in {max_length} tokens; "
            "expected pairs whose gold differs, or single responses with gold 0 or 1"
        )
    return kept, len(rows) - len(kept)


def losses(
    z_S: torch.Tensor, labels_S: torch.Tensor, better_P: torch.Tensor, worse_P: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bradley-Terry over the pairs, and the log score over all sides; means."""
    from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

    pairwise = -logsigmoid(z_S[better_P] - z_S[worse_P]).mean() if len(better_P) else z_S.sum() * 0
    return pairwise, binary_cross_entropy_with_logits(z_S, labels_S)


def label_ids(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The spellings of yes and of no."""
    found = [spellings(tokenizer, label) for label in YES_NO]
    if not all(found):
        raise ConfigError(
            "training a decision model: 'yes' or 'no' is more than one token of this vocabulary"
        )
    return found


def collate(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """A batch of rows as right-padded sides, with the places of the pairs' two sides."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    sides = [side for row in rows for side in row.sides]
    ids = [torch.tensor(side.ids) for side in sides]
    starts, at = [], 0
    for row in rows:
        if len(row.sides) == 2:
            starts.append(at)
        at += len(row.sides)
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "lengths": torch.tensor([len(side.ids) for side in sides]),
        "labels": torch.tensor([float(side.label) for side in sides]),
        "better": torch.tensor(starts, dtype=torch.long),
    }


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
        from transformers import TrainingArguments
    except ImportError as error:
        raise ExtraMissing("transformers", "train") from error
    tokenizer = load_tokenizer(model)
    held_out = [e for e in examples if is_calibration(e, config.calibration)]
    fitted = [e for e in examples if not is_calibration(e, config.calibration)]
    rows, n_too_long = rows_of(fitted, asking, wording, tokenizer, config.max_length)
    begin(out, "decision", model, config, rows)
    readout = _readout(model, tokenizer, config)
    cache = _cache(readout, rows, out, tokenizer, config) if config.cache_states else None
    trainer = _trainer_class(readout, rows, cache, int(tokenizer.pad_token_id), config)(
        model=readout,
        args=TrainingArguments(
            output_dir=str(out / CHECKPOINTS),
            **batch_arguments(config, PartialState(cpu=config.use_cpu).num_processes),
            remove_unused_columns=False,
            train_sampling_strategy="group_by_length",
            length_column_name="length",
            max_grad_norm=1.0,
        ),
        train_dataset=Dataset.from_dict(
            {"row": list(range(len(rows))), "length": [row.length for row in rows]}
        ),
        data_collator=lambda picked: {"rows": torch_ids(picked)},
    )
    log_to_stderr(trainer)
    resumed = last_checkpoint(out / CHECKPOINTS)
    resume(trainer, resumed)
    readout.model.save_pretrained(str(out))
    history, steps = trainer.state.log_history, trainer.state.global_step
    temperature, ece = 1.0, None
    if held_out:
        unseen, _ = rows_of(held_out, asking, wording, tokenizer, config.max_length)
        temperature, ece = _calibrated(readout, unseen, int(tokenizer.pad_token_id))
    loss = last_loss(history)
    card = ModelCard(
        paradigm="decision",
        base=model,
        steps=steps,
        n_pairs=len(rows),
        max_length=config.max_length,
        loss=loss,
        template=Template.of(asking.state),
        wording=wording.template,
        question=asking.question.instructions,
        temperature=temperature,
        calibration_error=ece,
        settings=config.model_dump(mode="json"),
        spct_version=spct.__version__,
    )
    tokenizer.save_pretrained(str(out))
    write_metrics(history, out)
    card.write(out)
    return TrainReport(out, len(rows), n_too_long, steps, loss, resumed)


def is_calibration(example: Example, share: float) -> bool:
    """Whether an example's query belongs to the calibration split: a hash of the query decides."""
    split = split_by_prompt(example, {"train": 1 - share, "dev": share}, "calibration")
    return share > 0 and split == "dev"


def torch_ids(picked: Sequence[dict[str, int]]) -> torch.Tensor:
    """The numbers of a batch's rows."""
    import torch

    return torch.tensor([one["row"] for one in picked])


def _readout(model: str, tokenizer: PreTrainedTokenizerBase, config: DecisionConfig) -> Readout:
    """The model with its adapters, and the labels' rows of its head."""
    import torch
    from transformers import AutoModelForCausalLM

    from spct.train.readout import Readout

    dtype = torch.bfloat16 if config.bf16 else torch.float32
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    if adapters := lora(config):
        from peft import get_peft_model

        torch.manual_seed(config.seed)
        loaded = get_peft_model(loaded, adapters)
    set_attention(config, loaded)
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
    sequences = [side.ids for row in rows for side in row.sides]
    cache = StatesCache(out / "states", sequences, int(decoder.config.hidden_size))
    cache.fill(decoder, config.lora_skip_layers, int(tokenizer.pad_token_id))
    return cache


def _trainer_class(
    readout: Readout, rows: Sequence[Row], cache: StatesCache | None, pad: int, config: Any
) -> type[Trainer]:
    """A trainer whose loss reads sides; it saves and loads the model inside the readout."""
    from transformers import Trainer

    def read(module: Any, batch: dict[str, torch.Tensor], some: Sequence[Row]) -> torch.Tensor:
        z_S: torch.Tensor
        if cache is None:
            z_S = module(batch["lengths"], input_ids=batch["input_ids"])
        else:
            states = cache.of([side.ids for row in some for side in row.sides])
            z_S = module(batch["lengths"], states=states.to(batch["lengths"].device))
        return z_S

    class DecisionTrainer(Trainer):
        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> Any:
            some = [rows[i] for i in inputs["rows"].tolist()]
            batch = {k: v.to(inputs["rows"].device) for k, v in collate(some, pad).items()}
            z_S = read(model, batch, some)
            pairwise, score = losses(z_S, batch["labels"], batch["better"], batch["better"] + 1)
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


def _calibrated(readout: Readout, rows: Sequence[Row], pad: int) -> tuple[float, float]:
    """The temperature of unseen rows, and the calibration error with it."""
    import torch

    readout.train(False)
    margins: list[float] = []
    golds: list[int] = []
    for start in range(0, len(rows), 32):
        some = rows[start : start + 32]
        batch = collate(some, pad)
        with torch.inference_mode():
            z_S = readout(batch["lengths"], input_ids=batch["input_ids"])
        at = 0
        for row in some:
            if len(row.sides) == 2:
                margins.append(float(z_S[at] - z_S[at + 1]))
                golds.append(1)
            else:
                margins.append(float(z_S[at]))
                golds.append(row.sides[0].label)
            at += len(row.sides)
    temperature = fit_temperature(margins, golds)
    return temperature, binary_ece([m / temperature for m in margins], golds)
