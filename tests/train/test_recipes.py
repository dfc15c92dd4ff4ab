"""Every recipe's settings load, and the architectures they estimate are the real ones."""

from pathlib import Path

import pytest

from spct.settings import Settings
from spct.train.config import MetaConfig, RftDataConfig, RlConfig, SftConfig, load_settings

RECIPES = Path(__file__).parents[2] / "recipes"
KINDS: dict[str, type[Settings]] = {
    "rft_data": RftDataConfig, "rft": SftConfig, "rl": RlConfig, "meta": MetaConfig,
}  # fmt: skip
FILES = sorted(p for p in RECIPES.glob("*/*.toml") if p.stem.removesuffix("_lora") in KINDS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_settings_file_of_a_recipe_is_valid(path: Path) -> None:
    settings = load_settings(path, KINDS[path.stem.removesuffix("_lora")])
    assert getattr(settings, "lora_rank", 0) > 0 or not path.stem.endswith("_lora")


def test_the_27b_recipe_has_the_papers_numbers() -> None:
    folder = RECIPES / "gemma2_27b"
    rft = load_settings(folder / "rft.toml", SftConfig)
    rl = load_settings(folder / "rl.toml", RlConfig)
    meta = load_settings(folder / "meta.toml", MetaConfig)
    assert (rft.learning_rate, rft.batch_size, rft.max_steps) == (5e-6, 1024, 900)
    assert (rl.learning_rate, rl.batch_size, rl.max_steps) == (4e-7, 512, 900)
    assert (rl.group_size, rl.beta, rl.format_reward) == (4, 0.08, 0.0)
    assert (meta.learning_rate, meta.batch_size) == (1e-5, 512)
    assert load_settings(folder / "rft_data.toml", RftDataConfig).n_samples == 3


def test_the_defaults_are_the_papers() -> None:
    assert (RlConfig().group_size, RlConfig().beta, RlConfig().format_reward) == (4, 0.08, 0.0)
    assert (SftConfig().learning_rate, SftConfig().batch_size) == (5e-6, 1024)
    assert RftDataConfig().n_samples == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [
        ("gemma2_27b", 27.227e9),
        ("qwen_0_6b", 0.596e9),
        ("smollm2_135m", 134.5e6),
        ("qwen3_5_4b", 4.206e9),
        ("qwen3_6_27b", 26.90e9),
    ],  # text alone, without the vision tower
)
def test_the_estimate_counts_the_real_architecture(recipe: str, parameters: float) -> None:
    pytest.importorskip("transformers")
    from spct.train.estimate import architecture

    found = architecture(RECIPES / recipe / "model.json", lora_rank=16)
    assert found.parameters == pytest.approx(parameters, rel=0.002)
    assert 0 < found.lora_parameters < 0.05 * found.parameters
    half = architecture(
        RECIPES / recipe / "model.json", lora_rank=16, skip_layers=found.layers // 2
    )
    assert half.lora_parameters == found.lora_parameters / 2


@pytest.mark.slow
def test_memory_falls_with_gpus_and_with_lora() -> None:
    pytest.importorskip("transformers")
    from spct.train.estimate import architecture, hours, needs

    folder = RECIPES / "gemma2_27b"
    a = architecture(folder / "model.json", lora_rank=32)
    full = load_settings(folder / "rl.toml", RlConfig)
    small = load_settings(folder / "rl_lora.toml", RlConfig)
    eight, sixteen = (needs(a, full, n) for n in (8, 16))
    sharded = ("weights", "gradients", "optimizer", "reference")
    eights, sixteens = (sum(getattr(n, part) for part in sharded) for n in (eight, sixteen))
    assert eights == pytest.approx(2 * sixteens)
    # 16 bytes a parameter and 2 of the reference, over 8 GPUs
    assert eights == pytest.approx(18 * a.parameters / 8 / 2**30)
    assert sum(getattr(needs(a, small, 8), part) for part in sharded) < 0.2 * eights
    assert hours(a, full, n_gpus=8, peak_tflops=989.0, mean_tokens=2500) > 0
