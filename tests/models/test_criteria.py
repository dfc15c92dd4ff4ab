"""Sources of criteria: dropout by group, general lists, one writing for all who ask."""

import asyncio
import json

import pytest

from spct.config import Config, EngineConfig, JudgeConfig
from spct.errors import ConfigError
from spct.models.judges import build_judge
from spct.types import Criteria, Criterion, Example, Message

LIST = Criteria(tuple(Criterion(f"c{i}", f"States {i}.", required=i == 0) for i in range(6)))


def example(*responses, criteria=LIST, id="e", group=None):
    query = (Message("user", "Explain gravity"),)
    return Example(id, query, responses, criteria=criteria, group=group)


def judge(tmp_path=None, **settings):
    named = {"format": "met", "k": 1, **settings}
    return build_judge(Config(engine=EngineConfig(kind="scripted"), judge=JudgeConfig(**named)))


def shown(model, asked):
    verdict = asyncio.run(model.judge(asked))
    return [c.name for c in verdict.trajectories[0].criteria.items]


def test_dropout_is_one_subset_for_a_group_and_keeps_gates_and_general_ones(tmp_path):
    general = tmp_path / "general.jsonl"
    general.write_text(json.dumps({"name": "kind", "text": "Is kind"}) + "\n")
    model = judge(criteria_dropout=0.4, general_criteria=str(general))
    groups = [shown(model, example("a", "b", id=f"step{i}")) for i in range(8)]
    assert all(len(names) == 6 - 2 + 1 for names in groups)
    assert all({"c0", "kind"} <= set(names) for names in groups)
    assert len(set(map(tuple, groups))) > 1
    assert shown(model, example("a", "b", id="step0")) == groups[0]
    assert model.identity()["criteria"] != judge(criteria_dropout=0.5).identity()["criteria"]


def test_members_of_a_group_that_come_one_by_one_have_one_subset():
    model = judge(criteria_dropout=0.4)
    alone = [shown(model, example(text, id=f"call{i}")) for i, text in enumerate("abcdef")]
    assert all(names == alone[0] for names in alone) and len(alone[0]) == 6 - 2


def test_a_group_that_is_judged_in_parts_has_the_subset_of_its_name():
    model = judge(criteria_dropout=0.4)
    parts = [("a",), ("a", "b"), ("a", "c")]
    found = {
        name: [shown(model, example(*some, id=f"{name}{some}", group=name)) for some in parts]
        for name in ("one", "two", "three", "four")
    }
    assert all(names == some[0] for some in found.values() for names in some)
    assert len({tuple(some[0]) for some in found.values()}) > 1


def test_one_query_is_written_once_for_all_who_ask_at_the_same_time():
    model = judge(criteria="write")
    asked = [example("a", criteria=None, id=f"e{i}") for i in range(5)]

    async def all_of_them():
        return await asyncio.gather(*(model.judge(one) for one in asked))

    verdicts = asyncio.run(all_of_them())
    assert model.engine.n_samples == 5 + 1  # five responses, one list
    assert len({v.trajectories[0].criteria.fingerprint for v in verdicts}) == 1
    assert sum(v.usage.calls for v in verdicts) == 6


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--format met"):
        judge(format="pointwise", criteria="write")
    with pytest.raises(ConfigError, match="--aggregate"):
        judge(vote="majority")
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps({"text": "Is kind"}) + "\n")
    with pytest.raises(ConfigError, match="nothing to swap"):
        judge(criteria=f"swapped:{one}")
