"""Put a trained adapter into the package: `python -m recipes.smollm2_135m.ship rl` (or readout).

Half precision (the embedded engines add it to F16 weights), peft's own file names, no path of this
machine, the templates that it was trained on. What `measure STAGE` found on the first pairs of the
subset goes into results.json, for `make reproduce`. The model card is written by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.smollm2_135m.measure import SUBSET, SUBSET_SIZE
from recipes.smollm2_135m.mix import HERE
from recipes.smollm2_135m.readout_tests import results as measured_readout
from spct.models.model_card import read_card
from spct.models.shipped import FOLDER as WEIGHTS
from spct.models.shipped import READOUT
from spct.runs.folder import atomic_text

BASE = "SmolLM2-135M-Instruct"
SETTINGS = "adapter_config.json"
TEMPLATES = ("pointwise.txt", "single.txt")
RESULTS = HERE / "results.json"


def ship(adapter: Path, out: Path, templates: Sequence[str] = TEMPLATES) -> None:
    """Write the adapter of a stage to `out` as it is shipped."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    if not all(bool(torch.isfinite(t).all()) for t in half.values()):
        raise ValueError(f"the adapter {str(adapter)!r} does not fit float16; train it again")
    out.mkdir(parents=True, exist_ok=True)
    save_file(half, out / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = json.loads((adapter / SETTINGS).read_text("utf-8"))
    settings["base_model_name_or_path"] = BASE
    (out / SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", "utf-8")
    for name in templates:
        shutil.copyfile(HERE / name, out / name)


def unpack(shipped: Path, base: Path, out: Path) -> None:
    """The shipped adapter as a stage's folder: with the path of its base here, and a tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shipped / "adapter_model.safetensors", out / "adapter_model.safetensors")
    settings = json.loads((shipped / SETTINGS).read_text("utf-8"))
    settings["base_model_name_or_path"] = str(base.resolve())
    (out / SETTINGS).write_text(json.dumps(settings), "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base / name, out / name)


def reported(greedy: Path) -> dict[str, dict[str, float]]:
    """What the subset's pairs earned in a stage's greedy row: set -> example id -> credit."""
    measured = json.loads(greedy.read_text("utf-8"))
    if missing := [name for name in SUBSET if name not in measured]:
        raise ValueError(f"{str(greedy)!r} lacks {', '.join(missing)}: run measure on them first")
    return {
        name: dict(list(zip(m["ids"], m["credits"]["1"], strict=True))[:SUBSET_SIZE])
        for name, m in ((name, measured[name]) for name in SUBSET)
    }


def ship_readout(trained: Path, measured: Mapping[str, Any], out: Path) -> None:
    """The readout's adapter, and its card with what was measured and no path of this machine."""
    card = read_card(trained)
    if card is None:
        raise ValueError(f"{str(trained)!r} has no card: its training has not ended")
    ship(trained, out, templates=())
    shares = {name: sum(m["readout"]) / len(m["readout"]) for name, m in measured.items()}
    rounded = {name: round(share, 3) for name, share in shares.items()}
    card.model_copy(update={"base": BASE, "measured": rounded}).write(out)


def main() -> None:
    """Ship a stage's adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("cold_start", "rft", "rl", READOUT))
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    chosen = parser.parse_args()
    results = json.loads(RESULTS.read_text("utf-8"))
    out = WEIGHTS
    if chosen.stage == READOUT:
        root, out = chosen.work.parent, WEIGHTS / READOUT
        measured = measured_readout(root / "results" / READOUT)
        ship_readout(root / READOUT, measured, out)
        results[READOUT] = {name: m["readout"][:SUBSET_SIZE] for name, m in measured.items()}
    else:
        results["shipped"] = reported(chosen.work / "results" / f"{chosen.stage}-greedy.json")
        ship(chosen.work / "run" / chosen.stage, WEIGHTS)
    with atomic_text(RESULTS) as file:
        file.write(json.dumps(results, indent=1) + "\n")
    size = (out / "adapter_model.safetensors").stat().st_size
    print(f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
