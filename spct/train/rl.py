"""Rule-based online RL: GRPO on the outcome rule, a short assembly over TRL's `GRPOTrainer`.

A rollout earns +1 if its judgement is correct by Eq. 10 and -1 otherwise; unreadable or truncated
output is "otherwise", because here the judge is the policy. There is no format reward by default.
A group is G rollouts of the same prompt, so the responses are shuffled once a prompt (and anew in
each pass), not once a rollout as in voting.

Departures from the paper, or choices where it is silent: TRL's group standard deviation is the
sample's (n - 1) plus 1e-4, so advantages of one right of four are +1.5 and -0.5, not +1.73 and
-0.58; the KL term (k3 estimator, to the starting weights) stands inside the per-token mean; one
update a batch, so the clip is rarely felt. TRL's own defaults differ in loss type, KL weight and
scaling; every one of them is passed explicitly.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from spct.core.plan import order_of
from spct.engines.hf_load import load_tokenizer
from spct.errors import ConfigError, ExtraMissing, TrainError
from spct.protocols import Engine
from spct.runs.store import Store
from spct.train.adapters import saved_ends, starting_model
from spct.train.config import RlConfig
from spct.train.dev import DevSet, dev_callback
from spct.train.fitting import Row, fitting
from spct.train.outcome import gold_problem, is_tie, outcome_reward
from spct.train.resume import begin
from spct.train.reward import scores_of
from spct.train.rft import is_too_easy, stored
from spct.train.rollouts import Rollout, local_rollouts
from spct.train.sampling import Draw, Formats, draw_into
from spct.train.sft import TrainReport, batch_arguments, lora, run_to_end, set_attention
from spct.types import Completion, Example, SamplingParams, Usage

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

Reward = Callable[..., list[float | None]]
PATIENCE = 3  # logged steps in a row that must be without signal before a run is stopped


@dataclass(slots=True)
class RlFunnel:
    """Which examples became prompts, and why the others did not."""

    prompts: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def check(self, n_too_easy: int) -> None:
        """Raise `TrainError` if no prompt is left."""
        if not self.prompts:
            counts = {"too easy": n_too_easy, **self.skipped}
            raise TrainError(
                "choosing the prompts of RL: none is left "
                f"({', '.join(f'{n} {why}' for why, n in counts.items() if n) or 'no examples'}); "
                "expected examples whose gold has one best response, or 0/1 for a single one, and "
                "that the model does not always get right (drop_easy = false keeps those too)"
            )


def rl_rows(
    examples: Iterable[Example], formats: Formats, *, seed: int, passes: int = 1
) -> tuple[list[Row], RlFunnel]:
    """One prompt an example and pass, each pass in another random order of responses."""
    rows, funnel = [], RlFunnel()
    for example in examples:
        if problem := gold_problem(example.gold, example.n):
            funnel.skipped[problem] += 1
            continue
        fmt = formats.of(example)
        for i in range(passes):
            order = order_of(example, i, "random", seed)
            prompt = fmt.render(example, order)
            rows.append(
                {
                    "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
                    "order": list(order),
                    "gold": list(example.gold or ()),
                    "example_id": example.id,
                }
            )
    funnel.prompts = len(rows)
    random.Random(seed).shuffle(rows)
    return rows, funnel


async def hard_examples(
    examples: Sequence[Example], engine: Engine, formats: Formats, config: RlConfig, out: Path
) -> tuple[list[Example], int]:
    """The examples without those that `easy_samples` samples all get right, and how many were.

    Where gold cannot decide nothing is sampled, and the example stays for `rl_rows` to count.
    The samples are kept in the run folder `OUT.drawn` beside `out`: a killed filter goes on there.
    """
    params = SamplingParams(temperature=config.temperature, max_tokens=config.max_completion_tokens)
    what = Draw(config.easy_samples, params=params, seed=config.seed)
    usable = [e for e in examples if not gold_problem(e.gold, e.n)]
    await engine.open()  # an endpoint that serves one model names it
    with Store.open(out.with_name(f"{out.name}.drawn"), what.identity(engine, formats)) as store:
        await draw_into(store, usable, engine, formats, what, 64)
        easy = {
            example.id
            for example, trajectories in stored(store, usable)
            if is_too_easy(example, trajectories, config.easy_samples)
        }
    return [e for e in examples if e.id not in easy], len(easy)


def as_completion(text: str, ids: Sequence[int], eos_ids: frozenset[int], limit: int) -> Completion:
    """A rollout as a completion: without an end token at the limit it was truncated."""
    ended = len(ids) < limit or ids[-1] in eos_ids
    return Completion(text, "stop" if ended else "length", usage=Usage(0, len(ids), 1))


def make_rewards(formats: Formats, eos_ids: frozenset[int], config: RlConfig) -> list[Reward]:
    """The reward functions in TRL's form: the outcome rule, and the format reward if it is on."""
    limit = config.max_completion_tokens

    def scores_of_all(
        completions: Sequence[Any],
        ids: Sequence[Sequence[int]],
        orders: Sequence[Sequence[int]],
    ) -> list[tuple[float, ...] | None]:
        replies = (
            as_completion(reply[-1]["content"], tokens, eos_ids, limit)
            for reply, tokens in zip(completions, ids, strict=True)
        )
        return [
            scores_of(reply, order, formats.for_n(len(order)))
            for reply, order in zip(replies, orders, strict=True)
        ]

    def outcome(
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        order: Sequence[Sequence[int]],
        gold: Sequence[Sequence[float]],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        scores_B = scores_of_all(completions, completion_ids, order)
        rewards_B = [outcome_reward(s, g) for s, g in zip(scores_B, gold, strict=True)]
        log_metric("spct/correct", sum(r > 0 for r in rewards_B) / len(rewards_B))
        log_metric("spct/unscored", sum(s is None for s in scores_B) / len(scores_B))
        log_metric("spct/tie", sum(map(is_tie, scores_B)) / len(scores_B))
        return [*rewards_B]

    def readable(
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        order: Sequence[Sequence[int]],
        **_: Any,
    ) -> list[float | None]:
        scores_B = scores_of_all(completions, completion_ids, order)
        return [0.0 if scores is None else config.format_reward for scores in scores_B]

    return [outcome, readable] if config.format_reward else [outcome]


def trl_config(config: RlConfig, out: Path, n_processes: int, n_rewards: int = 1) -> GRPOConfig:
    """TRL's settings: each one that carries the method is explicit."""
    from trl.trainer.grpo_config import GRPOConfig

    server = (
        {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": config.vllm_server}
        if config.vllm_server
        else {"use_vllm": False}
    )
    return GRPOConfig(
        output_dir=str(out),
        **batch_arguments(config, n_processes),
        **server,
        num_generations=config.group_size,
        max_completion_length=config.max_completion_tokens,
        temperature=config.temperature,
        top_p=1.0,
        top_k=0,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",
        importance_sampling_level="token",
        multi_objective_aggregation="sum_then_normalize",
        reward_weights=[1.0] * n_rewards,
        mask_truncated_completions=False,
        sync_ref_model=False,
        disable_dropout=True,
        shuffle_dataset=True,
        remove_unused_columns=False,
    )


def check_server(config: RlConfig) -> None:
    """Ask the vLLM server for its health before any work: TRL waits for it four minutes."""
    if not config.vllm_server:
        return
    try:
        with urlopen(f"{config.vllm_server.rstrip('/')}/health", timeout=10):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"vllm_server = {config.vllm_server!r} does not answer ({error}); start it with `trl "
            "vllm-serve --model MODEL` on GPUs of its own, or leave vllm_server out"
        ) from error
    if find_spec("vllm") is None:
        raise ConfigError(
            "vllm_server is set, and TRL hands it the weights by vLLM's own code, which is not "
            "installed here; run `pip install 'trl[vllm]'`, or leave vllm_server out"
        )


def no_signal_callback(limit: float) -> TrainerCallback:
    """Stop a run whose groups all tie: every advantage is zero, so only the KL would train."""
    from transformers import TrainerCallback

    class StopWithoutSignal(TrainerCallback):
        silent = 0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            tied = (logs or {}).get("frac_reward_zero_std")
            if tied is None:
                return
            self.silent = self.silent + 1 if tied > limit else 0
            if self.silent >= PATIENCE:
                raise TrainError(
                    f"RL step {state.global_step}: {tied:.0%} of the groups tie in {PATIENCE} logs "
                    f"in a row (correct: {logs.get('spct/correct')}, unscored: "
                    f"{logs.get('spct/unscored')}); expected groups with right and wrong rollouts; "
                    "if all are right, take harder prompts; if all are unscored, tune (RFT) first, "
                    "set format_reward or raise max_completion_tokens; if all are wrong, tune first"
                )

    return StopWithoutSignal()


def _trainer_class(config: RlConfig) -> type[GRPOTrainer]:
    if config.use_cpu:
        from spct.train.sorted_grpo import SortedGRPOTrainer

        return SortedGRPOTrainer
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer


def train(
    model: str,
    rows: Sequence[Row],
    out: Path,
    config: RlConfig,
    formats: Formats,
    dev: DevSet | None = None,
    rewards: Sequence[Reward] | None = None,
    about: Mapping[str, Any] | None = None,
    rollouts: Rollout | None = None,
) -> TrainReport:
    """Train `model` on the prompts and save it to `out`; continue from its last checkpoint.

    `rollouts` samples in place of the policy: a sampler of another kind, or a scripted one.
    """
    try:
        from accelerate import PartialState  # type: ignore[import-untyped]
        from datasets import Dataset  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("trl", "train") from error
    check_server(config)
    tokenizer = load_tokenizer(model)
    room = config.max_length - config.max_completion_tokens
    found = fitting(rows, tokenizer, room, lambda row: row["prompt"])
    found.check(f"RL from {model!r} with {config.max_completion_tokens} tokens a rollout", room)
    begin(out, "rl", model, config, [formats.fingerprint, *found.kept], about)
    start = starting_model(model)
    rewards = rewards or make_rewards(formats, saved_ends(model, tokenizer), config)
    trainer = _trainer_class(config)(
        model=start,
        reward_funcs=[*rewards],
        args=trl_config(config, out, PartialState(cpu=config.use_cpu).num_processes, len(rewards)),
        train_dataset=Dataset.from_list(found.kept),
        processing_class=tokenizer,
        peft_config=lora(config) if start is model else None,
        callbacks=[no_signal_callback(config.max_zero_variance)],
        rollout_func=rollouts or local_rollouts(tokenizer, config),
    )
    set_attention(config, trainer.model, trainer.ref_model)
    if dev is not None and config.dev_steps:
        trainer.add_callback(dev_callback(trainer, dev, formats, config, out))
    return run_to_end(trainer, out, found)
