"""The reward model that a word on the command line means."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from spct.config import Config, read_toml, validated
from spct.errors import ConfigError
from spct.models.baselines import BASELINES, Baseline
from spct.types import RewardModel


def model_named(spec: str, seed: int, k: int) -> RewardModel:
    """A baseline, `default` (the embedded model), a TOML config, or a folder of a trained model.

    `seed` and `k` replace those of a config: they belong to the run.
    """
    if spec in BASELINES:
        return Baseline(spec, seed)
    if spec in ("default", "scripted") or Path(spec).suffix == ".toml":
        from spct.models.assemble import build_judge

        config = _config(spec)
        judge = config.judge.model_copy(update={"seed": seed, "k": k})
        return build_judge(config.model_copy(update={"judge": judge}))
    if not Path(spec).exists():
        known = [*BASELINES, "default", "scripted"]
        near = get_close_matches(spec, known, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(
            f"no reward model {spec!r}{meant}; expected one of {', '.join(known)}, a TOML config, "
            "or the folder of a trained model"
        )
    from spct.models.load import load_reward_model

    model = load_reward_model(spec, k=k)
    return model.with_(seed=seed) if "seed" in model.traits.settings else model


def _config(spec: str) -> Config:
    if spec == "default":
        return Config()
    if spec == "scripted":
        return validated(Config, {"engine": {"kind": "scripted"}}, spec)
    return validated(Config, read_toml(Path(spec)), spec)
