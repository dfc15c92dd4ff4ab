import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spct.errors import ConfigError, TrainError
from spct.models.hf_scorer import load_scorer
from spct.models.load import load_reward_model
from spct.models.model_card import read_card
from spct.models.scalar import conversation
from spct.settings import validated
from spct.train import frozen, pairwise, scalar
from spct.train.config import PairwiseConfig, ScalarConfig
from spct.train.linear import PENALTIES, Features, choose, fit, held_out
from spct.train.pairs import Pair, PairFunnel, pairs_of
from spct.train.scalar import conversation_pairs
from spct.types import Example, Message
from tests.models.tiny import toy_example, write_model

# peft 0.21 asks transformers 5.23 by a name that the latter has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")
QUICK = ScalarConfig(frozen=True, micro_batch_size=8, max_length=200, save_steps=2, use_cpu=True)
EXAMPLES = [toy_example(i) for i in range(24)]


def toy_pairs(examples: list[Example] = EXAMPLES) -> list[Pair]:
    return pairs_of(examples, PairFunnel())


def one_feature(first: list[float], second: list[float], *, both_orders: bool = False) -> Features:
    left, right = (torch.tensor(side, dtype=torch.float64)[:, None] for side in (first, second))
    return Features(left, right, torch.zeros(len(first), dtype=torch.float64), both_orders)


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "lm", head=False)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frozen") / "model"
    dev = [
        Example(f"dev-{i}", (Message("user", "who ."),), ("good", "bad"), (1.0, 0.0))
        for i in range(4)
    ]
    pairs, unseen = conversation_pairs(toy_pairs()), conversation_pairs(toy_pairs(dev))
    scalar.train(str(base), pairs, out, QUICK, dev=unseen)
    return out


def test_the_bradley_terry_fit_ends_where_its_slope_is_zero() -> None:
    """Differences 2 at spread 1: the slope is 2 sigmoid(-2 w) - penalty w."""
    weights, _ = fit(one_feature([3.0, 3.0], [1.0, 1.0]), penalty=0.1)
    w = float(weights[0])
    assert w > 0
    assert 2 / (1 + math.exp(2 * w)) == pytest.approx(0.1 * w, abs=1e-6)


def test_the_scale_of_a_feature_changes_no_logit() -> None:
    small = one_feature([3.0, 2.0, 1.0], [1.0, 1.5, 2.0])
    large = replace(small, first_P_H=small.first_P_H * 500, second_P_H=small.second_P_H * 500)
    assert float(fit(small, 0.1)[0][0]) == pytest.approx(500 * float(fit(large, 0.1)[0][0]))


def test_a_margin_asks_for_more() -> None:
    plain = one_feature([3.0, 3.0], [1.0, 1.0])
    asked = replace(plain, margin_P=torch.full((2,), 3.0, dtype=torch.float64))
    assert float(fit(asked, 0.1)[0][0]) > float(fit(plain, 0.1)[0][0])


def test_the_pairwise_loss_labels_each_order_alone() -> None:
    """Logits 2 (label 1) and -1 (label 0), weight 1."""
    features = one_feature([2.0], [-1.0], both_orders=True)
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert float(features.loss(torch.ones(1, dtype=torch.float64))) == pytest.approx(by_hand)


def test_a_tenth_of_the_queries_is_held_out_with_all_their_pairs() -> None:
    queries = [f"q{i // 3}" for i in range(60)]
    apart = held_out(queries, seed=0)
    assert len(apart) == 2
    assert apart == held_out(queries, seed=0)
    assert apart != held_out(queries, seed=1)
    noise = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = Features(noise, -noise, torch.zeros(60, dtype=torch.float64))
    penalty, tried = choose(features, queries, seed=0)
    assert [entry["held_out_pairs"] for entry in tried] == [6] * len(PENALTIES)
    assert penalty == min(tried, key=lambda entry: entry["held_out_loss"])["penalty"]


def test_the_penalty_is_chosen_on_what_was_held_out_alone() -> None:
    """The held-out pairs contradict the others: the largest penalty does least harm."""
    queries = [f"q{i}" for i in range(20)]
    apart = held_out(queries, seed=0)
    first = [-1.0 if query in apart else 1.0 for query in queries]
    features = one_feature(first, [-value for value in first])
    assert choose(features, queries, seed=0)[0] == max(PENALTIES)
    agreeing = one_feature([1.0] * 20, [-1.0] * 20)
    assert choose(agreeing, queries, seed=0)[0] == min(PENALTIES)


def test_pairs_of_one_query_cannot_choose_a_penalty() -> None:
    with pytest.raises(TrainError, match="pairs of 1 query, expected at least 2"):
        held_out(["q", "q"], seed=0)


async def test_a_frozen_head_separates_a_toy_set_and_loads_by_its_card(trained: Path) -> None:
    model = load_reward_model(trained)
    verdicts = {v.example_id: v async for v in model.judge_many(EXAMPLES)}
    assert all(verdicts[e.id].winner == e.gold.index(1.0) for e in EXAMPLES if e.gold)


def test_the_folder_is_small_and_says_what_it_is(trained: Path) -> None:
    card = read_card(trained)
    assert card is not None and card.steps > 0
    assert (card.paradigm, card.n_pairs, card.settings["frozen"]) == ("bradley-terry", 24, True)
    assert (trained / "adapter_model.safetensors").stat().st_size < 1000
    assert not (trained / "model.safetensors").exists()


def test_the_metrics_name_every_penalty_and_the_fit(trained: Path) -> None:
    *tried, final = metrics(trained)
    assert [entry["penalty"] for entry in tried] == list(PENALTIES)
    assert all(0 <= entry["held_out_accuracy"] <= 1 for entry in tried)
    assert final["penalty"] in PENALTIES
    assert final["accuracy"] == final["eval_accuracy"] == 1.0


async def logits_as_fitted(out: Path) -> None:
    """The scorer's logits are the saved head times the features that were kept."""
    from safetensors.torch import load_file

    kept = load_file(out / "features.safetensors")["pooled"]
    (weights,) = load_file(out / "adapter_model.safetensors").values()
    scorer = load_scorer(out)
    offered = [conversation(p.example, i) for p in toy_pairs() for i in (p.chosen, p.rejected)]
    logits = await scorer.score(list(dict.fromkeys(offered)))
    fitted = (kept @ weights[0]).tolist()[: len(logits)]
    assert logits == pytest.approx(fitted, abs=1e-4)
    assert max(logits) - min(logits) > 1


async def test_the_loaded_folder_scores_as_the_fit_saw(trained: Path) -> None:
    await logits_as_fitted(trained)


async def test_a_head_on_fewer_layers_loads_with_as_many(base: Path, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"layer": 1})
    scalar.train(str(base), conversation_pairs(toy_pairs()), tmp_path, config)
    assert load_scorer(tmp_path).model.config.num_hidden_layers == 1
    assert len(load_scorer(tmp_path).model.model.layers) == 1
    await logits_as_fitted(tmp_path)


async def test_a_pairwise_head_is_fitted_on_both_orders(base: Path, tmp_path: Path) -> None:
    examples = [toy_example(i, n=2 + i % 2) for i in range(24)]
    config = PairwiseConfig(frozen=True, micro_batch_size=8, max_length=200, use_cpu=True)
    report = pairwise.train(str(base), toy_pairs(examples), tmp_path, config)
    final = metrics(tmp_path)[-1]
    assert (report.n_rows, final["accuracy"]) == (36, 1.0)  # two bad ones of three tie
    model = load_reward_model(tmp_path)
    verdicts = {v.example_id: v async for v in model.judge_many(examples)}
    assert all(verdicts[e.id].winner == e.gold.index(1.0) for e in examples if e.gold)


def test_critiques_of_one_query_are_held_out_together() -> None:
    from spct.train.cloud import OwnCritiques, critique_pairs

    own = [OwnCritiques(e.id, i, ("fine", "poor")) for e in EXAMPLES for i in range(e.n)]
    pairs = critique_pairs(toy_pairs(), own)
    assert pairs[0].query == pairs[1].query == EXAMPLES[0].query
    assert len(pairs) == 48


async def test_clouds_head_is_fitted_on_the_critics_weights(base: Path, tmp_path: Path) -> None:
    from spct.engines.scripted import ScriptedEngine
    from spct.models.critique import CritiqueScalarRM
    from spct.models.model_card import ModelCard
    from spct.train.cloud import OwnCritiques, critique_pairs

    own = [
        OwnCritiques(e.id, i, ("yes" if "good" in e.responses[i] else "no",))
        for e in EXAMPLES
        for i in range(e.n)
    ]
    card = ModelCard(paradigm="cloud", base=str(base), steps=0, n_pairs=0, max_length=300)
    config = QUICK.model_copy(update={"max_length": 300})
    scalar.train(str(base), critique_pairs(toy_pairs(), own), tmp_path, config, card=card)
    written = read_card(tmp_path)
    assert written is not None and (written.paradigm, written.n_pairs) == ("cloud", 24)
    engine = ScriptedEngine(
        lambda prompt, _: "yes" if "is good" in prompt.messages[0].content else "no"
    )
    verdict = await CritiqueScalarRM(engine, load_scorer(tmp_path), k=1).judge(EXAMPLES[0])
    assert verdict.winner == 0


def test_a_killed_run_goes_on_with_the_features_it_has(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, whole, cut = conversation_pairs(toy_pairs()), tmp_path / "whole", tmp_path / "cut"
    config = QUICK.model_copy(update={"micro_batch_size": 2})
    read, sizes, dies_at = frozen._read, [], 0

    def counted(*arguments: Any) -> torch.Tensor:
        sizes.append(len(arguments[1]))
        if len(sizes) == dies_at:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(frozen, "_read", counted)
    scalar.train(str(base), pairs, whole, config)
    in_all = list(sizes)
    dies_at = len(in_all) + 4
    with pytest.raises(KeyboardInterrupt):
        scalar.train(str(base), pairs, cut, config)
    sizes.clear()
    report = scalar.train(str(base), pairs, cut, config)
    assert sizes == in_all[2:]  # features are kept every second batch
    assert report.resumed_from == str(cut / "features.safetensors")
    assert metrics(cut) == metrics(whole)


def test_frozen_goes_without_adapters_and_layer_with_frozen_only(
    base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="frozen = true goes without adapters, got lora_rank = 8"):
        validated(ScalarConfig, {"frozen": True, "lora_rank": 8}, "settings")
    with pytest.raises(ConfigError, match="layer = 1 goes with frozen = true only"):
        validated(PairwiseConfig, {"layer": 1}, "settings")
    config = QUICK.model_copy(update={"layer": 3})
    with pytest.raises(ConfigError, match="layer = 3: the backbone has 2 layers"):
        scalar.train(str(base), conversation_pairs(toy_pairs()), tmp_path, config)


def test_the_command_passes_the_settings(base: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from spct.cli.train import app
    from spct.runs.codec import dump_example

    rows = "".join(json.dumps(dump_example(e)) + "\n" for e in EXAMPLES)
    (tmp_path / "pairs.jsonl").write_text(rows, encoding="utf-8")
    arguments = ["bradley-terry", "--model", str(base), "--data", str(tmp_path / "pairs.jsonl")]
    flags = ["frozen=true", "layer=1", "use_cpu=true", "max_length=200"]
    for flag in flags:
        arguments += ["--set", flag]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path / "out")
    assert card is not None and card.settings["layer"] == 1


async def test_bf16_features_make_a_head_that_ranks_alike(base: Path, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"bf16": True, "attention": "eager"})
    scalar.train(str(base), conversation_pairs(toy_pairs()), tmp_path, config)
    example = EXAMPLES[0]
    good, bad = await load_scorer(tmp_path).score([conversation(example, i) for i in (0, 1)])
    assert good > bad
