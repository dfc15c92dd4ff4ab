"""The readout: `python -m recipes.smollm2_135m.readout --work runs/smollm2`.

Trains a decision model on lists of the licensed sets and on checkable instructions (a yes or no
about each response); `readout_tests.py` measures it on unseen prompts. The same command continues
after a kill. `SIZES` counts the lists of each set; UKP's pairs are balanced by length. A set that
is not in SPCT_DATA is named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from recipes.smollm2_135m.instructions import KNOWN, tasks
from recipes.smollm2_135m.mix import HERE, SEED, balanced, in_split, longer_wins, shown
from recipes.smollm2_135m.run import convert
from spct.data.prepare import has_best, select
from spct.engines.readouts.asking import Wording, load_wording
from spct.errors import DataError
from spct.models.decision import Asking, asking
from spct.train import decision
from spct.train.config import DecisionConfig, native_bfloat16
from spct.types import Example

SIZES = {
    "truthfulqa": 549, "evouna": 600, "evouna_ref": 1372, "gsm8k": 379, "gsm8k_ref": 200,
    "ukp": 2200, "hh": 1080, "instructions": 3000,
}  # fmt: skip
MAX_CHARS = 900  # of a query and one response
ANSWERS = 10  # of one TruthfulQA question: more questions teach more than more answers
PROCESSES = 2


def cut(example: Example, most: int, rng: random.Random) -> Example:
    """At most so many responses, best and worst in turn, in random order."""
    gold = example.gold or ()
    ranked = sorted(range(example.n), key=lambda i: (-gold[i], rng.random()))
    ends = [i for pair in zip(ranked, reversed(ranked), strict=True) for i in pair]
    kept = list(dict.fromkeys(ends))[:most]
    return select(example, rng.sample(kept, len(kept)))


def short(example: Example) -> bool:
    """Whether its longest response fits beside the query, and gold differs."""
    longest = sum(len(m.content) for m in example.query) + max(map(len, example.responses))
    return longest <= MAX_CHARS and len(set(example.gold or ())) > 1


def offered(split: str) -> dict[str, Callable[[], list[Example]]]:
    """How every set's lists of one split are read."""

    def of(name: str) -> list[Example]:
        return [e for e in in_split(name, split) if short(e)]

    def truthfulqa() -> list[Example]:
        rng = random.Random(SEED)
        return [cut(e, ANSWERS, rng) for e in of("truthfulqa_judgements")]

    def instructions() -> list[Example]:
        sources = [*in_split("truthfulqa_judgements", split), *in_split("evouna_openqa", split)]
        return list(tasks(sources, KNOWN, 2 * SIZES["instructions"], SEED))

    return {
        "truthfulqa": truthfulqa,
        "evouna": lambda: of("evouna_openqa"),
        "evouna_ref": lambda: [shown(e) for e in of("evouna_openqa")],
        "gsm8k": lambda: of("gsm8k_solutions"),
        "gsm8k_ref": lambda: [shown(e) for e in of("gsm8k_solutions")],
        "ukp": lambda: balanced(of("ukp_convarg1"), longer_wins),
        "hh": lambda: [e for e in of("hh_harmless_base") if has_best(e)],
        "instructions": instructions,
    }


def mixture(split: str, sizes: dict[str, int]) -> list[Example]:
    """At most these many lists of each set, shuffled; ids say which set they are of."""
    rng = random.Random(SEED)
    chosen: list[Example] = []
    for name, read in offered(split).items():
        try:
            found = read()
        except DataError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        some = rng.sample(found, min(sizes[name], len(found)))
        chosen += [replace(e, id=f"{name}/{e.id}", subset=name) for e in some]
    rng.shuffle(chosen)
    return chosen


def how() -> tuple[Asking, Wording]:
    """The state and the question that the readout is trained on."""
    return (
        asking("yes_no", HERE / "decision_questions.toml", HERE / "decision_state.txt"),
        load_wording(HERE / "decision.txt"),
    )


def config(steps: int) -> DecisionConfig:
    """For CPU cores, a process each: threads wait for each other on a busy one."""
    return DecisionConfig(
        max_steps=steps, warmup_steps=30, micro_batch_size=6, batch_size=12, max_length=400,
        row_tokens=400, lora_rank=16, lora_skip_layers=12, bf16=native_bfloat16(),
        attention="eager", compile_layers=shutil.which("g++") is not None,
        use_cpu=True, save_steps=40, log_steps=10, seed=SEED,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on: in a process a core, each of one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--steps", type=int, default=1500)
    arguments = sys.argv[1:] if argv is None else list(argv)
    chosen = parser.parse_args(arguments)
    convert(chosen.work / "base")
    if "RANK" not in os.environ:
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES)]
        command = [sys.executable, *launcher, "-m", "recipes.smollm2_135m.readout", *arguments]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return
    asked, wording = how()
    report = decision.train(
        str(chosen.work / "base"), mixture("train", SIZES), chosen.work / "readout",
        config(chosen.steps), asked, wording,
    )  # fmt: skip
    print(json.dumps({"rows": report.n_rows, "steps": report.steps, "loss": report.loss}))


if __name__ == "__main__":
    main()
