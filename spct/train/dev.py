"""Accuracy on a dev set while RL runs, greedy, with the responses in both orders.

A judge that prefers a position looks good in one order and bad in the other, so both are logged,
with the share of examples that are right in both. Single responses have one order and count alike
in all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from spct.core.plan import Call
from spct.core.settle import read, settle
from spct.core.vote import mean_scores
from spct.data.prepare import overlap
from spct.engines.ends import end_ids
from spct.errors import DataError
from spct.measure.estimator import by, credits_at
from spct.train.config import RlConfig
from spct.train.outcome import gold_problem
from spct.train.sampling import Formats
from spct.types import Completion, Example, Prompt, Usage, Verdict

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, TrainerCallback


@dataclass(frozen=True, slots=True)
class DevSet:
    """Examples that no training prompt shares a query with."""

    examples: tuple[Example, ...]


def dev_set(examples: Iterable[Example], train: Iterable[Example]) -> DevSet:
    """Check a dev (or test) set: usable gold, and no query that training has seen."""
    kept = tuple(examples)
    for example in kept:
        if problem := gold_problem(example.gold, example.n):
            raise DataError(f"reading unseen examples: {example.id!r} has {problem}; remove it")
    shared = overlap(train, kept).exact
    if shared:
        raise DataError(
            f"reading unseen examples: {len(shared)} of {len(kept)} queries are also training "
            f"prompts (first: {shared[0]!r}); expected none; split by prompt (spct data split)"
        )
    return DevSet(kept)


@dataclass(frozen=True, slots=True)
class BothOrders:
    """Greedy accuracy as given, reversed, and the share that is right in both at once."""

    forward: float
    reversed: float
    both: float


def accuracy_of(
    examples: Sequence[Example],
    forward: Mapping[str, Verdict],
    reversed: Mapping[str, Verdict],
) -> BothOrders:
    """The accuracy of every report (spct/measure): a tie earns its share, no verdict nothing.

    RL's own rule (train/outcome.py) is stricter: it pays nothing for a tie.
    """
    earned = [credits_at(examples, some, 1, by(mean_scores)) for some in (forward, reversed)]
    both = [a == b == 1.0 for a, b in zip(*earned, strict=True)]
    return BothOrders(fmean(earned[0]), fmean(earned[1]), fmean(both))


def generate_greedy(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_tokens: int,
    batch_size: int = 64,
) -> list[Completion]:
    """Greedy replies of the model in memory (the engines load weights from a folder instead)."""
    import torch

    texts = [
        str(tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in p.messages],
            add_generation_prompt=True,
            tokenize=False,
        ))
        for p in prompts
    ]  # fmt: skip
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    replies: dict[int, Completion] = {}
    device = next(model.parameters()).device
    for start in range(0, len(by_length), batch_size):
        chosen = by_length[start : start + batch_size]
        inputs = tokenizer(
            [texts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(device)
        ends = end_ids(tokenizer, getattr(model, "generation_config", None))
        with torch.no_grad():
            out_B_T = model.generate(  # type: ignore[operator]
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_tokens,
                do_sample=False,
            )
        for i, ids in zip(chosen, out_B_T[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            ended = not ends.isdisjoint(ids)
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            usage = Usage(0, len(ids), 1)
            replies[i] = Completion(text, "stop" if ended else "length", usage=usage)
    return [replies[i] for i in range(len(texts))]


def both_orders(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dev: DevSet,
    formats: Formats,
    max_tokens: int,
) -> BothOrders:
    """Judge the dev set greedily in the given and the reversed order."""
    found = []
    for step in (1, -1):
        calls = [
            Call(formats.of(e).render(e, tuple(range(e.n))[::step]), (0,), (0,))
            for e in dev.examples
        ]
        replies = generate_greedy(model, tokenizer, [call.prompt for call in calls], max_tokens)
        found.append(
            {
                e.id: settle(e.id, read(call, [reply], formats.of(e), "dev"), mean_scores, 1)
                for e, call, reply in zip(dev.examples, calls, replies, strict=True)
            }
        )
    return accuracy_of(dev.examples, *found)


def dev_callback(trainer: Any, dev: DevSet, formats: Formats, config: RlConfig) -> TrainerCallback:
    """Log the dev accuracy every `dev_steps` steps."""
    from transformers import TrainerCallback

    class LogDev(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % config.dev_steps:
                return
            model = trainer.accelerator.unwrap_model(trainer.model)
            was_training = model.training
            model.eval()
            measured = both_orders(
                model, trainer.processing_class, dev, formats, config.max_completion_tokens
            )
            model.train(was_training)
            trainer.log(
                {
                    "dev/accuracy_forward": measured.forward,
                    "dev/accuracy_reversed": measured.reversed,
                    "dev/accuracy_both": measured.both,
                }
            )

    return LogDev()
