"""Train the judge: `python -m recipes.smollm2_135m.run --budget cpu --work runs/smollm2`.

Convert the base (the default GGUF, or the file that SPCT_BASE names), build the data, run the
stages. A killed run continues where it was. On a CPU the cold start and RFT run in a process a
core: on two cores a step takes 4.6 s against 5.2 s in one process of two threads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.smollm2_135m.mix import HERE, SIZES, prepare
from spct.engines.export import export_model
from spct.settings import read_toml, validated
from spct.train import sft
from spct.train.config import SftConfig
from spct.train.pipeline import PipelineConfig, run

NOMINAL_MINUTES = {"cpu": 140, "gpu": 25}  # of the budgets' stages, as they stand in the files


def convert(out: Path) -> None:
    """Write the default GGUF as a transformers folder (float16 safetensors), once."""
    if (out / "tokenizer.json").is_file():
        return
    export_model(out, os.environ.get("SPCT_BASE"))


def pipeline_config(root: Path, budget: str, minutes: float | None = None) -> PipelineConfig:
    """The budget's TOML file with the paths of this run, its steps scaled to `minutes`."""
    values = read_toml(HERE / f"{budget}.toml")
    first = values.pop("first", None)
    for stage in ("cold_start", "rft", "rl", "meta"):
        values[stage]["max_steps"] = scaled(values[stage]["max_steps"], budget, minutes)
    places = {"out": root / "run", "base": root / ("first" if first else "format")}
    for key, name in values["files"].items():
        folder = HERE if name.endswith(".txt") else root / "data"
        values["files"][key] = str(places.get(key, folder / name))
    return validated(PipelineConfig, values, f"{budget}.toml")


def scaled(steps: int, budget: str, minutes: float | None) -> int:
    """The steps that fit into `minutes` if all of them fit into the budget's nominal time."""
    return steps if minutes is None else max(1, round(steps * minutes / NOMINAL_MINUTES[budget]))


def first_config(
    budget: str, cold_start: SftConfig, minutes: float | None = None
) -> SftConfig | None:
    """The settings of the cold start's first pass: its own where `[first]` says so, or None."""
    changes = read_toml(HERE / f"{budget}.toml").get("first")
    if changes is None:
        return None
    steps = scaled(changes["max_steps"], budget, minutes)
    settings = {**cold_start.model_dump(), **changes, "max_steps": steps}
    return validated(SftConfig, settings, f"{budget}.toml")


def learn_format(base: Path, root: Path, config: SftConfig) -> None:
    """The beginning of the cold start: whole judgements, one pass."""
    out, rows = root / "format", sft.read_rows(root / "data" / "format.jsonl")
    if not (out / "adapter_model.safetensors").is_file():
        one_pass = config.model_copy(update={"max_steps": len(rows) // config.batch_size})
        sft.train(str(base), rows, out, one_pass)


def learn_first(root: Path, config: SftConfig) -> None:
    """The cold start's rows in small batches: fast steps for what is easy to find."""
    rows = sft.read_rows(root / "data" / "cold.jsonl")
    sft.train(str(root / "format"), rows, root / "first", config)


def cores(config: SftConfig) -> int:
    """Processes for a training: a core each, and a micro batch each."""
    return min(os.cpu_count() or 1, config.batch_size // config.micro_batch_size)


def train_apart(argv: Sequence[str], stage: str, processes: int) -> None:
    """Train one stage through torchrun, as `--only` does in each of its processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    recipe = ["-m", "recipes.smollm2_135m.run", *argv, "--only", stage]
    subprocess.run([*launcher, *recipe], check=True)


def run_apart(config: PipelineConfig, argv: Sequence[str]) -> None:
    """The stages up to RFT, the supervised ones each in a process a core."""
    out = Path(config.files.out)
    for before, stage in (((), "cold_start"), (("cold_start", "rft_data"), "rft")):
        run(config.model_copy(update={"stages": before}))
        if not (out / stage / "done.json").is_file():
            train_apart(argv, stage, cores(getattr(config, stage)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", choices=sorted(SIZES), default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--minutes", type=float, help="Scales the steps of every stage.")
    parser.add_argument("--only", choices=("first", "cold_start", "rft"), help="Then stop.")
    chosen = parser.parse_args(arguments)
    root = chosen.work / chosen.budget
    config = pipeline_config(root, chosen.budget, chosen.minutes)
    first = first_config(chosen.budget, config.cold_start, chosen.minutes)
    if chosen.only == "first" and first is None:
        parser.error(f"the {chosen.budget} budget has no first pass: take another --only")
    convert(chosen.work / "base")
    prepare(root / "data", chosen.budget)
    if chosen.only == "first" and first:
        learn_first(root, first)
        return
    if chosen.only:
        run(config, only=[chosen.only])
        return
    learn_format(chosen.work / "base", root, first or config.cold_start)
    if first and not (root / "first" / "adapter_model.safetensors").is_file():
        train_apart(arguments, "first", cores(first))
    if config.cold_start.use_cpu:
        run_apart(config, arguments)
    run(config)


if __name__ == "__main__":
    main()
