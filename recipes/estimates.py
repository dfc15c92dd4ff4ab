"""Print what each recipe needs: `python -m recipes.estimates` (the table in docs/training.md)."""

from __future__ import annotations

from pathlib import Path

from spct.measure.tables import table
from spct.train.config import Optimisation, RlConfig, SftConfig, load_settings
from spct.train.estimate import DEVICES, architecture, fits, hours, needs

HERE = Path(__file__).parent
H100 = DEVICES["H100"]
# recipe, settings file, GPUs, mean tokens of prompt and completion
ROWS: tuple[tuple[str, str, int, int], ...] = (
    ("gemma2_27b", "rft", 128, 2500),
    ("gemma2_27b", "rl", 128, 2500),
    ("gemma2_27b", "rft", 8, 2500),
    ("gemma2_27b", "rft_lora", 8, 2500),
    ("gemma2_27b", "rl_lora", 8, 2500),
    ("qwen3_6_27b", "rft", 8, 2500),
    ("qwen3_6_27b", "rl", 8, 2500),
    ("qwen3_5_4b", "rft", 1, 2500),
    ("qwen3_5_4b", "rl", 1, 2500),
    ("qwen_0_6b", "rft", 1, 1800),
    ("qwen_0_6b", "rl", 1, 1800),
    ("qwen_0_6b", "rl_lora", 1, 1800),
)


def main() -> None:
    """Print the table as Markdown."""
    lines = []
    for recipe, name, n_gpus, mean_tokens in ROWS:
        kind: type[Optimisation] = RlConfig if name.startswith("rl") else SftConfig
        config = load_settings(HERE / recipe / f"{name}.toml", kind)
        found = architecture(
            HERE / recipe / "model.json", config.lora_rank, config.lora_skip_layers
        )
        need = needs(found, config, n_gpus)
        size, memory = f"{found.parameters / 1e9:.2f}B", f"{need.total:.0f}"
        time = hours(found, config, n_gpus=n_gpus, peak_tflops=H100.tflops, mean_tokens=mean_tokens)
        fit = "yes" if fits(need, H100) else "no"
        lines.append([recipe, name, str(n_gpus), size, memory, fit, f"{time:.1f}"])
    head = ["recipe", "settings", "GPUs", "parameters", "GiB a GPU", "fits 80 GB", "hours"]
    print(table(head, lines), end="")


if __name__ == "__main__":
    main()
