"""Run the synthetic study and write docs/study.md: `python -m recipes.synthetic.study --out docs`.

Draw the world, start from the shipped base, and let `spct.train.pipeline` do the rest: cold start,
RFT data, RFT, RL, meta RM, evaluation on unseen queries. The ablations run beside it, in a second
process; each has half the cores, because models of this size gain little from a second one.
`--budget ci` is the same study in a fifth of the time. A killed run continues where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from recipes.synthetic.budgets import BUDGETS, Budget
from recipes.synthetic.rows import HERE, SEED, cold_rows
from recipes.synthetic.world import draw_examples
from recipes.synthetic.write import ablation_folder, write_study
from spct.runs.codec import dump_example
from spct.settings import read_toml, validated
from spct.train.pipeline import PipelineConfig, run
from spct.train.rft import write_rows
from spct.types import Example


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as JSON lines in our own schema."""
    write_rows((dump_example(e) for e in examples), path)


def prepare(root: Path, budget: Budget) -> None:
    """Draw the files and lay the shipped base beside them, unless they are there."""
    root.mkdir(parents=True, exist_ok=True)
    if (root / "base").is_dir():
        return
    for name, principles in (("cold.jsonl", True), ("cold-without-principles.jsonl", False)):
        rows = cold_rows(budget.cold_rows, principles=principles)
        write_rows(rows, root / name)
    write_examples(root / "rft.jsonl", draw_examples(SEED, budget.rft_examples, "rft"))
    write_examples(root / "rl.jsonl", draw_examples(SEED, budget.rl_examples, "rl"))
    write_examples(root / "dev.jsonl", draw_examples(SEED, 200, "dev", "dev"))
    write_examples(root / "test.jsonl", draw_examples(SEED, budget.test_examples, "test", "test"))
    shutil.copytree(HERE / "weights", root / "base")


def pipeline_config(root: Path, budget: Budget, **changes: Any) -> PipelineConfig:
    """config.toml with the study's paths, a budget's steps, and an ablation's changes."""
    values = read_toml(HERE / "config.toml")
    files = values["files"]
    for key, name in files.items():
        folder = HERE if name.endswith(".txt") else root
        files[key] = str(folder / name)
    for table, settings in budget.settings.items():
        values[table].update(settings)
    for key, value in changes.items():
        if isinstance(value, dict):
            values[key].update(value)
        else:
            values[key] = value
    return validated(PipelineConfig, values, "the study's settings")


def ablations(root: Path, budget: Budget) -> dict[str, PipelineConfig]:
    """One pipeline an ablation; what it shares with the study is taken from the study's folders."""
    run_folder = root / "run"
    light = {"full": (), "k_others": 4, "guided": (), "skip": ("base", "cold_start")}
    last = {**light, "skip": ("base", "cold_start", "rft")}

    def variant(name: str, stages: list[str], **changes: Any) -> PipelineConfig:
        files = {"out": str(ablation_folder(root, name)), **changes.pop("files", {})}
        merged = {"evaluate": light, **changes}
        return pipeline_config(root, budget, files=files, stages=stages, **merged)

    cold = {"base": str(run_folder / "cold_start")}
    rft_only = ["rft_data", "rft", "evaluate"]
    everything = ["cold_start", "rft_data", "rft", "rl", "evaluate"]
    bare = str(root / "cold-without-principles.jsonl")
    changes: dict[str, dict[str, Any]] = {
        "without hints": {"stages": rft_only, "files": cold, "rft_data": {"hinted": False}},
        "without non-hinted": {
            "stages": rft_only, "files": cold, "rft_data": {"non_hinted": False},
        },
        "without RFT": {"stages": ["rl", "evaluate"], "files": cold},
        "without principles": {
            "stages": everything,
            "files": {"cold_start": bare, "general": bare},
            "evaluate": last,
        },
    }  # fmt: skip
    return {name: variant(name, **change) for name, change in changes.items()}


def half_the_cores() -> None:
    """What a worker process sets first: two of them share the machine."""
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


def study(root: Path, budget: Budget) -> Iterator[tuple[str, dict[str, Any]]]:
    """The reports of the study ("full"), then of each ablation, as they come."""
    own_start, *others = reversed(ablations(root, budget).items())
    context = get_context("spawn")  # a fork would inherit torch's threads
    with ProcessPoolExecutor(2, mp_context=context, initializer=half_the_cores) as pool:
        shared = pool.submit(run, pipeline_config(root, budget, stages=["cold_start"]))
        found = {own_start[0]: pool.submit(run, own_start[1])}
        shared.result()  # the others start from this stage's model
        full = pool.submit(run, pipeline_config(root, budget))
        found |= {name: pool.submit(run, config) for name, config in others}
        yield "full", full.result()
        for name in reversed(found):
            yield name, found[name].result()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study within its budget and write its page and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of study.md")
    parser.add_argument("--work", type=Path, default=Path("runs/synthetic"), help="run folder")
    parser.add_argument("--budget", choices=sorted(BUDGETS), default="full")
    parser.add_argument("--no-ablations", action="store_true")
    chosen = parser.parse_args(argv)
    budget, root = BUDGETS[chosen.budget], chosen.work / chosen.budget
    prepare(root, budget)
    chosen.out.mkdir(parents=True, exist_ok=True)
    alone = chosen.no_ablations
    parts = [("full", run(pipeline_config(root, budget)))] if alone else study(root, budget)
    reports: dict[str, dict[str, Any]] = {}
    for name, report in parts:
        reports[name] = report
        write_study(chosen.out, root, chosen.budget, reports)  # each as soon as it is there


if __name__ == "__main__":
    main()
