"""`--reward-model`: any reward model by its name, in place of one made from the settings."""

from __future__ import annotations

from typing import Annotated

import typer

from spct.config import Config
from spct.errors import ConfigError
from spct.protocols import RewardModel
from spct.settings import Origins

Named = Annotated[
    str | None,
    typer.Option(
        "--reward-model",
        "--cascade",  # what fit-cascade writes is a reward model like any other
        help="Judge with this one: a trained folder, a .toml file (a cascade's too), length, "
        "first, random, a gateway's address, or owner/name on the hub.",
    ),
]
_FITTING = {"judge.k", "judge.seed", "judge.concurrency"}  # what any reward model can be told


def load_named(named: str, config: Config, origins: Origins) -> RewardModel:
    """The reward model that is named; settings that it would not look at are refused."""
    given = {key for key, origin in origins.items() if origin != "default"}
    if odd := sorted(given - _FITTING):
        raise ConfigError(
            f"--reward-model {named!r} brings its own settings, and {', '.join(odd)} would be "
            f"ignored ({origins[odd[0]]}): put them into its .toml file, or leave them out"
        )
    from spct.models.load import load_reward_model

    k = config.judge.k if "judge.k" in given else None
    seed = config.judge.seed if "judge.seed" in given else None
    model = load_reward_model(named, k=k, seed=seed)
    if "judge.concurrency" in given and "concurrency" in model.traits.settings:
        model = model.with_(concurrency=config.judge.concurrency)
    return model
