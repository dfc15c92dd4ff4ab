"""What our parts of training cost: ratios of one run, on a tiny untrained judge.

    python benchmarks/train.py [--steps 30] [--examples 150] [--rounds 7] [--only reward dry-run]

1. An RL step with the outcome rule against the same TRL step with a constant reward (wanted: at
   most 1.05 x), and the time inside the rule (wanted: at most 1% of the step). The model is
   untrained, so every rollout runs to the token limit: equal work.
2. RFT data building against the engine's own loop over the same prompts, in generated tokens a
   second (wanted: at least 0.95 x). The builder also parses, stores each reply, rejects, writes.
3. The reward files of three trainers on judgements of about 1,000 characters (wanted: at most
   0.2 ms a reply).
4. `spct train rft --dry-run` and `train rl --dry-run` of 100,000 rows, as processes (wanted: at
   most 20 s).

The two of 1 and 2 take turns, step by step and build by build, because a shared machine drifts;
medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.synthetic.rows import study_formats, vocabulary_texts
from recipes.synthetic.teacher import judgement_text
from recipes.synthetic.tiny import save_new
from recipes.synthetic.world import draw_examples
from spct.core.plan import plan
from spct.engines.hf import HFEngine
from spct.engines.hf_load import load_tokenizer
from spct.integrations import outcome
from spct.runs.codec import dump_example
from spct.train import rft, rl
from spct.train.config import RftDataConfig, RlConfig
from spct.train.reward import Truth
from spct.types import SamplingParams


def step_seconds(model: str, steps: int, work: Path) -> dict[str, list[float]]:
    """Seconds of RL steps paid by the rule and by a constant in turns, but for the first two."""
    formats = study_formats()
    rows, _ = rl.rl_rows(draw_examples(0, 400, "bench"), formats, seed=0)
    config = RlConfig(
        batch_size=64, micro_batch_size=64, max_steps=2 * steps + 2, max_length=320,
        max_completion_tokens=64, learning_rate=1e-9, max_zero_variance=1.0, log_steps=1,
        save_steps=10_000, use_cpu=True,
    )  # fmt: skip
    (rule,) = rl.make_rewards(formats, frozenset({load_tokenizer(model).eos_token_id}), config)
    inside: list[float] = []
    turns = itertools.cycle((True, False))

    def take_turns(completions: list[Any], **batch: Any) -> list[float | None]:
        if not next(turns):
            return [1.0] * len(completions)
        start = time.perf_counter()
        paid = rule(completions=completions, **batch)
        inside.append(time.perf_counter() - start)
        return paid

    rl.train(model, rows, work / "rl", config, formats, rewards=[take_turns])
    logs = [json.loads(line) for line in (work / "rl/metrics.jsonl").read_text().splitlines()]
    seconds = [log["step_time"] for log in logs if "step_time" in log]
    return {
        "outcome rule": seconds[2::2], "constant": seconds[3::2], "inside the rule": inside[1:],
    }  # fmt: skip


async def build_rates(
    model: str, n_examples: int, rounds: int, work: Path
) -> dict[str, list[float]]:
    """Generated tokens a second of the builder and of the engine's own loop."""
    formats, examples = study_formats(), draw_examples(0, n_examples, "bench")
    config = RftDataConfig(n_samples=4, hinted=False, max_tokens=64, concurrency=256)
    engine = HFEngine(model, batch_size=256, max_batch_tokens=None, device="cpu")
    params = SamplingParams(temperature=config.temperature, max_tokens=config.max_tokens)

    async def bare() -> int:
        calls = [
            call
            for e in examples
            for call in plan(e, formats.of(e), config.n_samples, orders="random", seed=0)
        ]
        replies = await asyncio.gather(
            *(
                engine.sample(
                    c.prompt,
                    len(c.seeds),
                    SamplingParams(params.temperature, max_tokens=params.max_tokens, seeds=c.seeds),
                )
                for c in calls
            )
        )
        return sum(r.usage.completion_tokens for group in replies for r in group)

    rates: dict[str, list[float]] = {"builder": [], "engine's own loop": []}
    tokens = await bare()  # also warms up
    for i in range(rounds):
        start = time.perf_counter()
        await bare()
        rates["engine's own loop"].append(tokens / (time.perf_counter() - start))
        start = time.perf_counter()
        await rft.build(examples, engine, formats, config, work / f"rft-{i}")
        rates["builder"].append(tokens / (time.perf_counter() - start))
    return rates


def reward_milliseconds(n: int = 2000) -> dict[str, float]:
    """Milliseconds a reply of each trainer's reward, on whole judgements of a pair."""
    rng = random.Random(0)
    examples = [e for e in draw_examples(0, 400, "bench") if e.n > 1]
    picked = [rng.choice(examples) for _ in range(n)]
    orders = [rng.sample(range(e.n), e.n) for e in picked]
    texts = [
        "The criteria are weighed one by one. " * 20 + judgement_text(e, order, rng)
        for e, order in zip(picked, orders, strict=True)
    ]
    truths = [Truth(e.gold or (), tuple(o)).text() for e, o in zip(picked, orders, strict=True)]
    turns = [[{"role": "assistant", "content": text}] for text in texts]
    golds = [list(e.gold or ()) for e in picked]
    calls = {
        "TRL": lambda: outcome.trl_reward(turns, golds, orders),
        "verl": lambda: [
            outcome.compute_score("s", text, truth)
            for text, truth in zip(texts, truths, strict=True)
        ],
        "OpenRLHF": lambda: outcome.reward_func(texts, [""] * n, truths),
    }
    found = {}
    for name, call in calls.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        found[name] = 1000 * statistics.median(times) / n
    return found


def dry_run_seconds(work: Path, n: int = 100_000) -> dict[str, float]:
    """Seconds of `--dry-run` over so many rows, from the command to its end."""
    model = work / "dry-model"
    save_new(vocabulary_texts(), model)
    examples, formats, rng = draw_examples(0, 1000, "bench"), study_formats(), random.Random(0)
    rl_file, rft_file = work / "rl.jsonl", work / "rft.jsonl"
    chats = []
    for e in examples:
        order = tuple(range(e.n))
        asked = formats.of(e).render(e, order).messages[0].content
        said = judgement_text(e, order, rng)
        row = {
            "prompt": [{"role": "user", "content": asked}],
            "completion": [{"role": "assistant", "content": said}],
        }
        chats.append(json.dumps(row) + "\n")
    with rl_file.open("w") as pairs, rft_file.open("w") as rows:
        for i in range(n):
            again = replace(examples[i % 1000], id=str(i))
            pairs.write(json.dumps(dump_example(again)) + "\n")
            rows.write(chats[i % 1000])
    spct = [sys.executable, "-c", "from spct.cli.main import main; main()", "train"]
    found = {}
    for stage, file in (("rft", rft_file), ("rl", rl_file)):
        how = ["--model", str(model), "--out", str(work / "out"), "--dry-run", "--on", "H100"]
        small = ["--set", "batch_size=64", "--set", "micro_batch_size=8"]
        start = time.perf_counter()
        subprocess.run(
            [*spct, stage, str(file), *how, *small], check=True, stdout=subprocess.DEVNULL
        )
        found[stage] = time.perf_counter() - start
    return found


def compare_with_trl(model: str, chosen: argparse.Namespace, work: Path) -> None:
    """Print both comparisons."""
    rates = asyncio.run(build_rates(model, chosen.examples, chosen.rounds, work))
    seconds = step_seconds(model, chosen.steps, work)
    ours, theirs = (statistics.median(seconds[k]) for k in ("outcome rule", "constant"))
    print(f"RL step: outcome rule {ours:.2f} s, constant reward {theirs:.2f} s", end=" ")
    print(f"(medians of {len(seconds['constant'])} steps): {ours / theirs:.3f} x, wanted <= 1.05")
    inside = statistics.median(seconds["inside the rule"])
    print(f"         of which inside the rule {1000 * inside:.1f} ms", end=" ")
    print(f"for 64 rollouts: {inside / ours:.2%} of a step, wanted <= 1%")
    ours, theirs = (statistics.median(rates[k]) for k in ("builder", "engine's own loop"))
    print(f"RFT data: builder {ours:.0f} tokens/s, engine's own loop {theirs:.0f}", end=" ")
    print(f"(medians of {chosen.rounds}): {ours / theirs:.3f} x, wanted >= 0.95")


def main() -> None:
    """Measure all, or `--only` some of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--examples", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7)
    parts = ("trl", "reward", "dry-run")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "trl" in chosen.only:
            save_new(vocabulary_texts(), work / "model")
            compare_with_trl(str(work / "model"), chosen, work)
        if "reward" in chosen.only:
            told = ", ".join(f"{name} {ms:.3f}" for name, ms in reward_milliseconds().items())
            print(f"reward of a judgement, ms: {told}; wanted <= 0.2")
        if "dry-run" in chosen.only:
            told = ", ".join(f"{name} {s:.1f}" for name, s in dry_run_seconds(work).items())
            print(f"--dry-run of 100,000 rows, s: {told}; wanted <= 20")


if __name__ == "__main__":
    main()
