"""The readout: `python -m recipes.smollm2_135m.readout --work runs/smollm2 --minutes 90`.

Trains a decision model on pairs of the licensed sets (a yes or no about each response) and measures
it on unseen prompts. The same command continues after a kill. Rows of each set are counted in
`SIZES`; UKP's are balanced by length, half of EVOUNA's and GSM8K's show the reference.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recipes.smollm2_135m.mix import (
    HERE,
    SEED,
    balanced,
    characters,
    in_split,
    longer_wins,
    shown,
    sub_lists,
)
from recipes.smollm2_135m.run import convert
from spct.data.prepare import has_best
from spct.engines.readouts.asking import Wording, load_wording
from spct.models.decision import Asking, asking
from spct.train import decision
from spct.train.config import DecisionConfig
from spct.types import Example

SIZES = {
    "truthfulqa": 5000, "evouna": 1500, "evouna_ref": 4000, "gsm8k": 1200, "gsm8k_ref": 1200,
    "ukp": 3000, "hh": 1400,
}  # fmt: skip
MAX_CHARS = 900


def pairs(split: str, max_chars: int = MAX_CHARS) -> dict[str, list[Example]]:
    """Pairs of every set in one split; a set that is not in SPCT_DATA is named and left out."""
    counts = {2: 60 if split == "train" else 6}
    answers = list(sub_lists(in_split("evouna_openqa", split), {2: 6}, max_chars))
    solutions = list(sub_lists(in_split("gsm8k_solutions", split), {2: 6}, 2 * max_chars))
    arguments = [e for e in in_split("ukp_convarg1", split) if characters(e) <= 2 * max_chars]
    talks = in_split("hh_harmless_base", split)
    return {
        "truthfulqa": list(sub_lists(in_split("truthfulqa_judgements", split), counts, max_chars)),
        "evouna": answers,
        "evouna_ref": [shown(e) for e in answers],
        "gsm8k": solutions,
        "gsm8k_ref": [shown(e) for e in solutions],
        "ukp": balanced(arguments, longer_wins),
        "hh": [e for e in talks if has_best(e) and characters(e) <= 2 * max_chars],
    }


def mixture(split: str, sizes: dict[str, int]) -> list[Example]:
    """At most these many pairs of each set, shuffled; ids say which set they are of."""
    rng = random.Random(SEED)
    chosen: list[Example] = []
    for name, found in pairs(split).items():
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
    """Two CPU cores with native bfloat16."""
    return DecisionConfig(
        max_steps=steps, warmup_steps=20, micro_batch_size=16, batch_size=16, max_length=512,
        lora_rank=16, lora_skip_layers=12, bf16=True, attention="sdpa", use_cpu=True,
        save_steps=50, log_steps=10, seed=SEED,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--steps", type=int, default=1100)
    chosen = parser.parse_args(argv)
    base = chosen.work / "base"
    convert(base)
    asked, wording = how()
    rows = mixture("train", SIZES)
    report = decision.train(
        str(base), rows, chosen.work / "readout", config(chosen.steps), asked, wording
    )
    print(json.dumps({"rows": report.n_rows, "steps": report.steps, "loss": report.loss}))


if __name__ == "__main__":
    main()
