"""Generalist reward models: train, run, measure and serve judges that write principles.

Importing this loads the standard library only; engines and trainers are loaded when used.
"""

__version__ = "0.1.0"

from spct.api import judge
from spct.core.format import NO_PRINCIPLES, PAIRWISE, POINTWISE, SINGLE, Format, load_format
from spct.core.generative import GenerativeRM
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
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

__all__ = [
    "NO_PRINCIPLES",
    "PAIRWISE",
    "POINTWISE",
    "SINGLE",
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
    "Trajectory",
    "Unscored",
    "Usage",
    "Verdict",
    "Vote",
    "expected_scores",
    "judge",
    "load_format",
    "majority",
    "mean_scores",
    "meta_top",
    "meta_weighted",
]
