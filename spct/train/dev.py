"""Accuracy on a dev set while RL runs, greedy, with the responses in both orders.

A judge that prefers a position looks good in one order and bad in the other, so both are logged,
with the share of examples that are right in both. Single responses have one order and count alike
in all three. The judgements of each evaluation stay as a run folder: what they say is the first
thing to look at when a figure moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from spct.core.plan import Call
from spct.core.settle import read, settle
from spct.data.prepare import overlap
from spct.errors import DataError
from spct.measure.estimator import by, credits_at
from spct.runs.run import open_run
from spct.train.config import RlConfig
from spct.train.outcome import gold_problem
from spct.train.sampling import Formats
from spct.types import JSON, Example, SamplingParams, Trajectory, Verdict
from spct.votes.vote import mean_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

EVALUATIONS = "evaluations"  # the folder of the judgements, a run a step


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


def judged_both_ways(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dev: DevSet,
    formats: Formats,
    max_tokens: int,
) -> dict[str, Verdict]:
    """Judge the dev set greedily: sample 0 of a verdict is as given, sample 1 reversed."""
    from spct.engines.hf import HFEngine

    engine = HFEngine.around(model, tokenizer, "dev")
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    drawn: dict[str, list[Trajectory]] = {e.id: [] for e in dev.examples}
    for index, step in enumerate((1, -1)):
        calls = [
            Call(formats.of(e).render(e, tuple(range(e.n))[::step]), (index,), (index,))
            for e in dev.examples
        ]
        replies = engine.complete([call.prompt for call in calls], params)
        for e, call, reply in zip(dev.examples, calls, replies, strict=True):
            drawn[e.id] += read(call, [reply], formats.of(e), "dev")
    return {id: settle(id, found, mean_scores, 2) for id, found in drawn.items()}


def both_orders(examples: Sequence[Example], verdicts: Mapping[str, Verdict]) -> BothOrders:
    """The accuracy of each order alone and of both."""
    alone = [
        {id: settle(id, [v.trajectories[i]], mean_scores, 1) for id, v in verdicts.items()}
        for i in (0, 1)
    ]
    return accuracy_of(examples, *alone)


def keep(
    out: Path, step: int, dev: DevSet, verdicts: Mapping[str, Verdict], about: Mapping[str, JSON]
) -> None:
    """Write an evaluation's judgements as a run, `out/evaluations/step-N`, to be read in `view`."""
    folder = out / EVALUATIONS / f"step-{step:06d}"
    (out / EVALUATIONS).mkdir(parents=True, exist_ok=True)
    identity = {"engine": f"{out.name} at step {step}", "vote": "mean", "temperature": 0.0, **about}

    async def write() -> None:
        with open_run(out, folder.name, identity, {}, at=folder) as store:
            for position, example in enumerate(dev.examples):
                await store.put_verdict(verdicts[example.id], example, position)

    asyncio.run(write())


def dev_callback(
    trainer: Any, dev: DevSet, formats: Formats, config: RlConfig, out: Path
) -> TrainerCallback:
    """Log the dev accuracy every `dev_steps` steps, and keep the judgements under `out`."""
    from transformers import TrainerCallback

    scale = formats.several.score_scale
    about: dict[str, JSON] = {
        "format": formats.several.fingerprint,
        "single_format": formats.single.fingerprint,
        "scale": [scale.low, scale.high],
        "max_tokens": config.max_completion_tokens,
        "orders": "as given, then reversed",
    }

    class LogDev(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % config.dev_steps:
                return
            model = trainer.accelerator.unwrap_model(trainer.model)
            was_training = model.training
            model.eval()
            verdicts = judged_both_ways(
                model, trainer.processing_class, dev, formats, config.max_completion_tokens
            )
            model.train(was_training)
            if state.is_world_process_zero:
                keep(out, state.global_step, dev, verdicts, about)
            measured = both_orders(dev.examples, verdicts)
            trainer.log(
                {
                    "dev/accuracy_forward": measured.forward,
                    "dev/accuracy_reversed": measured.reversed,
                    "dev/accuracy_both": measured.both,
                    "dev/n": len(dev.examples),
                }
            )

    return LogDev()
