"""One judge under several lists of criteria: given, written, another query's, and none.

The four rows of `spct bench --criteria`. `given` is the judge as it is; `written` has its own model
write each list, whatever an example brings; `swapped` gives each query the list of the next one, a
control under which accuracy must fall if the judge uses its list; `none` asks the same engine for
scores in the listwise format. Models that take no criteria stay one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spct.data.criteria_files import CriteriaFile, Listed
from spct.errors import ConfigError
from spct.measure.config import Way
from spct.models.criteria import Lists
from spct.models.writer import CriteriaWriter
from spct.protocols import RewardModel
from spct.text.format import POINTWISE
from spct.types import Example
from spct.votes.vote import mean_scores


def arms(
    models: Mapping[str, RewardModel], ways: Sequence[Way], examples: Sequence[Example]
) -> dict[str, RewardModel]:
    """Every model that takes criteria once for each way, by its label and the way's name."""
    found: dict[str, RewardModel] = {}
    for label, model in models.items():
        if not model.traits.takes_criteria:
            found[label] = model
            continue
        if not {"source", "fmt", "vote"} <= model.traits.settings:
            raise ConfigError(
                f"--criteria {','.join(ways)}: {label} judges by criteria without a written "
                "judgement, so its rows have no list to change; leave it out, or the option"
            )
        found |= {f"{label}, {way}": _arm(model, way, examples) for way in ways}
    return found


def _arm(model: RewardModel, way: Way, examples: Sequence[Example]) -> RewardModel:
    identity, own = model.identity(), getattr(model, "source", None)
    seed = int(str(identity["seed"]))
    source = own if isinstance(own, Lists) else Lists(seed=seed)
    match way:
        case "given":
            return model
        case "written":
            writer = CriteriaWriter(seed=seed)
            return model.with_(source=replace(source, file=None, writer=writer, anew=True))
        case "swapped":
            lists = _lists(source, examples)
            return model.with_(source=replace(source, file=lists, writer=None, swapped=True))
        case "none":
            voted = {"vote": mean_scores} if identity["pattern"] == "met" else {}
            return model.with_(fmt=POINTWISE, source=None, **voted)


def _lists(source: Lists, examples: Sequence[Example]) -> CriteriaFile:
    """The lists to swap: those of the judge's file, or those that the examples bring."""
    if source.file is not None and source.file.common is None:
        return source.file
    own = {e.query: Listed(e.query, e.reference, e.criteria) for e in examples if e.criteria}
    if len(own) < 2:
        raise ConfigError(
            f"--criteria swapped: the examples bring lists for {len(own)} queries; expected two or "
            "more, or a judge with a file of lists by query"
        )
    return CriteriaFile("the examples", None, tuple(own.values()))
