"""The four other paradigms, same data and backbone: `python -m recipes.smollm2_135m.baselines`.

Bradley-Terry, PairRM, CLoud and a pairwise LLM judge on the same base: each a LoRA of the same rank
on an accelerator; on the CPU budget the scalar ones are heads on the frozen base, because LoRA sees
a few hundred pairs there in the time. The report says how many rows each has seen. They are
measured on pairs without a reference (a scalar head has no place for one).
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from recipes.smollm2_135m.critiques import finding, judgement_text
from recipes.smollm2_135m.measure import load_tests, write_credits
from recipes.smollm2_135m.mix import HERE, SEED, written
from spct.core.generative import GenerativeRM
from spct.core.plan import order_of
from spct.data.prepare import select
from spct.data.rows import read_examples
from spct.engines.hf import HFEngine
from spct.measure.compare import verdicts_of
from spct.measure.rules import credit, gold_of
from spct.models.critique import CritiqueScalarRM
from spct.models.load import load_scorer
from spct.models.pairwise import PairwiseScalarRM
from spct.models.scalar import PointwiseScalarRM
from spct.protocols import RewardModel
from spct.settings import Settings, read_toml, validated
from spct.text.format import PAIRWISE, Format, load_format
from spct.train import cloud, pairwise, scalar, sft
from spct.train.config import CloudConfig, PairwiseConfig, ScalarConfig, SftConfig
from spct.train.fitting import Row
from spct.train.pairs import PairFunnel, pairs_of
from spct.types import Example, SamplingParams

SETS = ("truthfulqa", "evouna", "gsm8k", "ukp", "ukp_shorter", "pandalm", "llmbar")
PARADIGMS = ("bradley-terry", "pairwise", "cloud", "judge")


class BaselinesConfig(Settings):
    """Settings of the four trainers, and the examples that each may see."""

    examples: int = Field(400, gt=0, description="Examples of several responses.")
    bradley_terry: ScalarConfig = ScalarConfig()
    pairwise: PairwiseConfig = PairwiseConfig()
    cloud: CloudConfig = CloudConfig()
    judge: SftConfig = SftConfig()


def pair_examples(path: Path, count: int) -> list[Example]:
    """Pairs (a longer list becomes its best response and one other) that show no reference."""
    rng, found = random.Random(SEED), []
    for e in read_examples(path):
        if e.n < 2 or e.gold is None:
            continue
        best = e.gold.index(max(e.gold))
        other = rng.choice([i for i in range(e.n) if i != best])
        found.append(replace(select(e, sorted((best, other))), reference=None))
    return found[:count]


def with_critiques(examples: Sequence[Example]) -> list[Example]:
    """The label evidence as one short critique a response, for CLoud's critic."""
    return [
        replace(
            e,
            meta={
                **e.meta,
                "critiques": [f"The response {finding(e, i).said}." for i in range(e.n)],
            },
        )
        for e in examples
    ]


def judge_rows(examples: Sequence[Example], fmt: Format) -> list[Row]:
    """The cold start's judgements with the number of the best response as verdict."""
    rows = []
    for e in examples:
        order = order_of(e, 0, "random", SEED)
        text = judgement_text(e, order).rpartition("\n")[0]
        best = order.index((e.gold or ()).index(max(e.gold or ()))) + 1
        prompt = fmt.render(e, order).messages[0].content
        rows.append(written(prompt, f"{text}\nScores: \\boxed{{{best}}}", e.id))
    return rows


def train(
    name: str, base: str, examples: list[Example], config: BaselinesConfig, out: Path
) -> None:
    """Train one paradigm into `out`, unless it is there."""
    if (out / "trained").is_file():
        return
    pairs = pairs_of(examples, PairFunnel())
    match name:
        case "bradley-terry":
            scalar.train(base, scalar.conversation_pairs(pairs), out, config.bradley_terry)
        case "pairwise":
            pairwise.train(base, pairs, out, config.pairwise, fmt=pair_format())
        case "cloud":
            half = len(examples) // 2  # the head learns from examples that the critic has not seen
            cloud.train(
                base, with_critiques(examples[:half]), pairs_of(examples[half:], PairFunnel()), out,
                config.cloud, lambda folder: HFEngine(folder, batch_size=48, dtype="bfloat16"),
                fmt=critique_format(),
            )  # fmt: skip
        case _:
            sft.train(base, judge_rows(examples, judge_format()), out, config.judge)
    (out / "trained").touch()


def pair_format() -> Format:
    """What the pairwise head reads."""
    from spct.models.formats import PAIR

    return load_format(HERE / "pair.txt", PAIR)


def critique_format() -> Format:
    """What CLoud's critic reads: the single template, without its question for 0 or 1."""
    from spct.models.formats import CRITIQUE

    return load_format(HERE / "critique.txt", CRITIQUE)


def judge_format() -> Format:
    """What the pairwise LLM judge reads."""
    return load_format(HERE / "pairwise.txt", PAIRWISE)


def load(name: str, out: Path) -> RewardModel:
    """The trained paradigm behind the one interface."""
    match name:
        case "bradley-terry":
            return PointwiseScalarRM(load_scorer(out))
        case "pairwise":
            return PairwiseScalarRM(load_scorer(out), pair_format())
        case "cloud":
            return CritiqueScalarRM(
                HFEngine(out / "critic", batch_size=48, dtype="bfloat16"),
                load_scorer(out / "head"), critique_format(), k=1,
                params=SamplingParams(temperature=0.5, max_tokens=64),
            )  # fmt: skip
        case _:
            return GenerativeRM(
                HFEngine(out, batch_size=48, dtype="bfloat16"), judge_format(), k=1,
                params=SamplingParams(temperature=0.0, max_tokens=160), orders="random",
            )  # fmt: skip


async def credits_of(rm: RewardModel, examples: Sequence[Example]) -> list[float]:
    """What each example's verdict earns."""
    verdicts = await verdicts_of(rm, examples)
    return [credit(verdicts[e.id].rewards, gold_of(e)) for e in examples]


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paradigms", nargs="*", default=list(PARADIGMS))
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--limit", type=int, help="test items of each set")
    parser.add_argument("--examples", type=int, help="training examples, in place of the file's")
    chosen = parser.parse_args()
    config = validated(
        BaselinesConfig, read_toml(HERE / f"baselines_{chosen.work.name}.toml"), "baselines"
    )
    data, base = chosen.work / "data", str(chosen.work.parent / "base")
    count = chosen.examples or config.examples
    examples = pair_examples(data / "cold_examples.jsonl", count)
    tests = load_tests(data, SETS, chosen.limit)
    for name in chosen.paradigms:
        out = chosen.work / "baselines" / name
        train(name, base, examples, config, out)
        rm, found = load(name, out), {}
        for test, items in tests.items():
            credits = asyncio.run(credits_of(rm, items))
            found[test] = {"ids": [e.id for e in items], "credits": {"1": credits}}
            print(name, test, round(sum(credits) / len(credits), 3), flush=True)
        write_credits(chosen.work / "results" / f"{name}.json", found)


if __name__ == "__main__":
    main()
