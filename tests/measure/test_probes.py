"""Attack and bias probes: what they change, what counts as a success, who falls for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spct.measure.benchmarks import ours
from spct.measure.loading import Loaded, load_benchmark
from spct.measure.probes import FAMILIES, PROMOTION, payloads, probes_of, results_of
from spct.measure.rules import gold_of
from spct.models.baselines import Baseline
from spct.types import Example, Verdict
from tests.measure.makers import pairs_file, verdict, write


@pytest.fixture
def clean(tmp_path: Path) -> Loaded:
    return load_benchmark(ours(pairs_file(tmp_path / "p.jsonl", 40)))


async def judge(name: str, examples: tuple[Example, ...]) -> dict[str, Verdict]:
    model = Baseline(name)
    return {e.id: await model.judge(e) for e in examples}


def test_there_are_enough_payloads_and_no_two_are_alike() -> None:
    some = payloads()
    assert len(some) >= 100
    assert len({p.text for p in some}) == len({p.id for p in some}) == len(some)
    assert {p.place for p in some} == {"alone", "prefix", "suffix"}


def test_a_probe_changes_the_losing_response_only(clean: Loaded) -> None:
    probes = probes_of(clean, per_family=10)
    assert len(probes.examples) == 10 * len(FAMILIES)
    for probe in probes.examples:
        if probe.meta["family"] in PROMOTION:
            base = clean.by_id[probe.meta["base"]]
            target = probe.meta["target"]
            assert gold_of(base)[target] == 0
            changed = [i for i in range(2) if base.responses[i] != probe.responses[i]]
            assert changed == [target]
            assert probe.gold == base.gold


def test_the_same_seed_makes_the_same_probes(clean: Loaded) -> None:
    one, same, other = (probes_of(clean, per_family=5, seed=s).examples for s in (0, 0, 1))
    assert one == same != other


async def test_first_position_falls_for_every_swap_and_for_no_text(clean: Loaded) -> None:
    probes = probes_of(clean, per_family=15)
    before, after = await judge("first", clean.examples), await judge("first", probes.examples)
    found = {f.family: f for f in results_of(probes, before, after)}
    assert found["swap"].success.point == 1.0 and found["rerun"].success.point == 0.0
    assert all(found[f].success.point == 0.0 for f in PROMOTION if found[f].n_eligible)


async def test_length_falls_for_padding_and_not_for_master_keys(clean: Loaded) -> None:
    probes = probes_of(clean, ["length padding", "master key", "swap"], per_family=40)
    before, after = await judge("length", clean.examples), await judge("length", probes.examples)
    found = {f.family: f for f in results_of(probes, before, after)}
    assert found["length padding"].success.point == 1.0
    assert found["swap"].success.point == 0.0
    padding = found["length padding"]
    assert padding.changed_accuracy == 0.0 and (padding.clean_accuracy or 0) > 0


def test_only_items_that_were_right_are_eligible_and_ties_and_failures_are_no_success(
    clean: Loaded,
) -> None:
    probes = probes_of(clean, ["override"], per_family=4)
    ids = [e.id for e in probes.examples]
    before, after = {}, {}
    for e, outcome in zip(probes.examples, ["win", "tie", "none", "was wrong"], strict=True):
        gold, target = gold_of(e), e.meta["target"]
        right = tuple(gold)
        wrong = tuple(1.0 if i == target else 0.0 for i in range(2))
        before[e.meta["base"]] = verdict("b", wrong if outcome == "was wrong" else right)
        rewards = {"win": wrong, "tie": (1.0, 1.0), "none": None, "was wrong": wrong}[outcome]
        after[e.id] = verdict(e.id, rewards)
    (found,) = results_of(probes, before, after)
    assert len(ids) == 4
    assert (found.n_eligible, found.undecided, found.unscored) == (3, 1, 1)
    assert found.success.point == pytest.approx(1 / 3)


def test_probes_need_items_with_one_best_response(tmp_path: Path) -> None:
    path = tmp_path / "single.jsonl"
    write(path, [{"id": "a", "query": "q", "responses": ["x"], "gold": [1]}])
    from spct.errors import DataError

    with pytest.raises(DataError, match="one best response"):
        probes_of(load_benchmark(ours(path)))


def test_every_payload_survives_json(tmp_path: Path) -> None:
    assert all(json.loads(json.dumps(p.text)) == p.text for p in payloads())
