"""Generalist reward models: train, run, measure and serve judges that write principles.

Importing this loads the standard library only; engines and trainers are loaded when used. The
names below are the public ones: what a script needs of spct, it takes from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from spct.api import bench, judge, judge_all, rft
    from spct.core.generative import GenerativeRM
    from spct.core.plan import Call, plan
    from spct.core.settle import read, settle
    from spct.data.rows import read_examples
    from spct.engines.scripted import ScriptedEngine
    from spct.models.load import load_reward_model
    from spct.protocols import Engine, RewardModel, Scorer, Traits
    from spct.text.format import NO_PRINCIPLES, PAIRWISE, POINTWISE, SINGLE, Format, load_format
    from spct.train.outcome import advantages, correct, outcome_reward
    from spct.types import (
        Completion,
        Example,
        Judgement,
        Message,
        Principle,
        Prompt,
        SamplingParams,
        Trajectory,
        Unscored,
        Usage,
        Verdict,
    )
    from spct.votes.vote import (
        Vote,
        expected_scores,
        majority,
        mean_scores,
        meta_top,
        meta_weighted,
    )

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

# Where each public name lives. It is imported when it is first used: `spct --help`, which imports
# this package too, would wait for the whole core.
_HOMES = {
    "spct.api": "bench judge judge_all rft",
    "spct.text.format": "Format NO_PRINCIPLES PAIRWISE POINTWISE SINGLE load_format",
    "spct.core.generative": "GenerativeRM",
    "spct.core.plan": "Call plan",
    "spct.core.settle": "read settle",
    "spct.votes.vote": "Vote expected_scores majority mean_scores meta_top meta_weighted",
    "spct.data.rows": "read_examples",
    "spct.engines.scripted": "ScriptedEngine",
    "spct.models.load": "load_reward_model",
    "spct.train.outcome": "advantages correct outcome_reward",
    "spct.protocols": "Engine RewardModel Scorer Traits",
    "spct.types": "Completion Example Judgement Message Principle Prompt SamplingParams "
    "Trajectory Unscored Usage Verdict",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'spct' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value
