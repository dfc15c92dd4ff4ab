"""Generalist reward models: train, run, measure and serve judges that write principles.

Importing this loads the standard library only; engines and trainers are loaded when used. The
names below are the public ones: what a script needs of spct, it takes from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from spct.api import bench, judge, judge_all, rft
from spct.core.format import NO_PRINCIPLES, PAIRWISE, POINTWISE, SINGLE, Format, load_format
from spct.core.generative import GenerativeRM
from spct.core.plan import Call, plan
from spct.core.settle import read, settle
from spct.core.vote import (
    Vote,
    expected_scores,
    majority,
    mean_scores,
    meta_top,
    meta_weighted,
)
from spct.types import (
    Completion,
    Engine,
    Example,
    Judgement,
    Message,
    Principle,
    Prompt,
    RewardModel,
    SamplingParams,
    Scorer,
    Traits,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

if TYPE_CHECKING:
    from spct.data.rows import read_examples
    from spct.engines.scripted import ScriptedEngine
    from spct.models.load import load_reward_model
    from spct.train.outcome import advantages, correct, outcome_reward

__all__ = [
    "NO_PRINCIPLES",
    "PAIRWISE",
    "POINTWISE",
    "SINGLE",
    "Call",
    "Completion",
    "Engine",
    "Example",
    "Format",
    "GenerativeRM",
    "Judgement",
    "Message",
    "Principle",
    "Prompt",
    "RewardModel",
    "SamplingParams",
    "Scorer",
    "ScriptedEngine",
    "Traits",
    "Trajectory",
    "Unscored",
    "Usage",
    "Verdict",
    "Vote",
    "advantages",
    "bench",
    "correct",
    "expected_scores",
    "judge",
    "judge_all",
    "load_format",
    "load_reward_model",
    "majority",
    "mean_scores",
    "meta_top",
    "meta_weighted",
    "outcome_reward",
    "plan",
    "read",
    "read_examples",
    "rft",
    "settle",
]

_LOADED_WHEN_USED = {
    "ScriptedEngine": "spct.engines.scripted",
    "advantages": "spct.train.outcome",
    "correct": "spct.train.outcome",
    "load_reward_model": "spct.models.load",
    "outcome_reward": "spct.train.outcome",
    "read_examples": "spct.data.rows",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module 'spct' has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_USED[name]), name)
