"""The SmolLM2 recipe: judgements written from labels are right; floors and intervals by hand."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.smollm2_135m import carry
from recipes.smollm2_135m.critiques import (
    CLIP,
    PRINCIPLES,
    QUOTE,
    clip,
    finding,
    judgement_text,
    quoted,
    verdict_spans,
)
from recipes.smollm2_135m.floors import longest_credit, words_credits
from recipes.smollm2_135m.leaning import first_verdicts, words_apart
from recipes.smollm2_135m.measure import SUBSET, SUBSET_SIZE, How, first_share, measure_model
from recipes.smollm2_135m.mix import (
    HERE,
    SIZES,
    balanced,
    cold_rows,
    cut,
    is_good,
    longer_wins,
    mixture,
    recipe_formats,
    shown,
)
from recipes.smollm2_135m.readout_tests import earned, first_wins, mean_of, pairs_in
from recipes.smollm2_135m.report import gap, health_table, share
from recipes.smollm2_135m.reproduce import compare
from recipes.smollm2_135m.run import NOMINAL_MINUTES, first_config, main, pipeline_config
from recipes.smollm2_135m.ship import reported, ship, ship_readout, unpack
from spct.engines.hf_load import base_of
from spct.measure.intervals import Interval
from spct.models.model_card import ModelCard, read_card
from spct.train.outcome import correct
from spct.types import (
    Completion,
    Example,
    Judgement,
    Message,
    Prompt,
    SamplingParams,
    Unscored,
)

EVIDENCE: dict[str, list[dict[str, Any]]] = {
    "truthfulqa": [{"true": True, "helpful": True}, {"true": True, "helpful": False},
                   {"true": False, "helpful": True}, {"true": False, "helpful": False}],
    "evouna": [{"correct": True}, {"correct": False}],
    "gsm8k": [{"final": "18", "step_off_gold": None},
              {"final": "20", "step_off_gold": {"text": "9 x 2 = 20 [The End of Response 1]"}}],
    "finegrained": [{}, {"errors": [{"type": "Irrelevant", "text": "Scores: \\boxed{9, 1}"}]}],
    "halueval": [{"spans": ['says "so"']}],
    "ukp": [], "hh": [],
}  # fmt: skip


def example(
    name: str, n: int, *, reference: str | None = None, gold: tuple[float, ...] = ()
) -> Example:
    evidence = EVIDENCE[name][:n]
    return Example(
        f"{name}-1", (Message("user", "How many?"),), tuple(f"It is {i + 18}." for i in range(n)),
        gold or (1.0, *(0.0,) * (n - 1)), reference=reference,
        meta={"golden_answers": ["18"], **({"evidence": evidence} if evidence else {})},
    )  # fmt: skip


CASES = [
    *(example(name, 2) for name in PRINCIPLES if name not in ("reference", "halueval")),
    example("truthfulqa", 4),
    example("evouna", 2, reference="18"),
    example("gsm8k", 2, reference="18"),
    *(example(name, 1, gold=(g,)) for name in ("halueval", "truthfulqa") for g in (0.0, 1.0)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda e: f"{e.id} n={e.n} {e.gold}")
def test_every_judgement_written_from_a_label_reads_as_a_right_one(case: Example) -> None:
    rng = random.Random(0)
    for _ in range(10):
        order = tuple(rng.sample(range(case.n), case.n))
        text = judgement_text(case, order)
        read = recipe_formats().of(case).read(Completion(text), order)
        assert isinstance(read, Judgement), text
        assert len(read.principles) == 2
        assert correct(read.scores, case.gold or ())


def test_without_a_unique_best_there_is_nothing_to_write() -> None:
    with pytest.raises(ValueError, match="no unique best"):
        judgement_text(example("ukp", 2, gold=(1.0, 1.0)), (0, 1))


def test_evidence_is_quoted_without_markers_and_short() -> None:
    wrong = finding(example("finegrained", 2), 1)
    assert "\\" not in wrong.said and "{" not in wrong.said
    assert "has a flaw (irrelevant)" in wrong.said
    long = clip("word " * 40)
    assert len(long) <= CLIP and not long.endswith("wor")
    seen = finding(example("gsm8k", 2, reference="18"), 1)
    assert seen.said == "ends with 20; the reference is 18: different"
    quoted = finding(example("evouna", 2, reference="18 / eighteen"), 1)
    assert quoted.said == 'should have "18": missing'


@pytest.mark.parametrize("case", CASES, ids=lambda e: f"{e.id} n={e.n} {e.gold}")
def test_what_decides_is_a_word_on_each_response_and_the_scores(case: Example) -> None:
    text = judgement_text(case, tuple(range(case.n)))
    words = [text[a:b] for a, b in verdict_spans(text)]
    assert len(words) == case.n + 1
    assert words[-1].count(",") == case.n - 1
    assert not any("reference is" in w or "should have" in w for w in words)


def test_a_critique_quotes_where_the_reference_is_named_or_else_the_beginning() -> None:
    long = "The novel, written in 1814 by a lady, is " + "very " * 20 + "good."
    case = replace(example("evouna", 2), responses=(long, "Emma, 1815"), reference="1814 / x")
    assert quoted(case, 0).startswith("novel, written in 1814 by a lady")
    assert len(quoted(case, 0)) <= QUOTE
    assert quoted(case, 1) == "Emma, 1815"
    assert quoted(replace(case, reference=None), 0).startswith("The novel, written")


def test_the_reference_is_compared_in_the_wording_that_the_response_uses() -> None:
    case = replace(
        example("evouna", 2), responses=("In Duisburg.", "Bonn"), reference="Essen / Duisburg"
    )
    first, second = judgement_text(case, (0, 1)).splitlines()[-3:-1]
    assert first.startswith('Response 1 "In Duisburg." should have "Duisburg": ')
    assert second.startswith('Response 2 "Bonn" should have "Essen": ')


def test_what_decides_is_found_behind_a_quotation_with_a_colon() -> None:
    case = replace(example("ukp", 2), responses=("First: it is cheap", "No"))
    text = judgement_text(case, (0, 1))
    assert '"First: it is cheap"' in text
    said = [text[a:b] for a, b in verdict_spans(text)]
    assert said == ["makes the more convincing case.", "is less convincing.", "8, 3"]


def test_the_lean_is_read_where_two_verdicts_part() -> None:
    assert words_apart("is true and short.", "is false.") == ("is", "true", "false.")
    case = replace(example("ukp", 2), gold=(0.0, 1.0), responses=("No", "It is cheap"))
    (_, good_first, *words), (_, bad_first, *again) = first_verdicts(case)
    assert good_first.endswith('Analysis:\nResponse 1 "It is cheap"')
    assert bad_first.endswith('Analysis:\nResponse 1 "No"')
    assert words == again == ["makes", "is"]


def test_a_pair_is_shown_in_both_orders() -> None:
    rows = cold_rows([example("ukp", 2)], recipe_formats(), verdicts_only=True)
    scores = [r["completion"][0]["content"].rpartition("Scores: ")[2] for r in rows]
    assert sorted(scores) == ["\\boxed{3, 8}", "\\boxed{8, 3}"]


def test_one_cold_start_row_in_eight_shows_the_hint_and_never_a_single_response() -> None:
    rows = cold_rows([example("evouna", 3)] * 16 + [example("halueval", 1)] * 16, recipe_formats())
    hinted = ["The best response is" in r["prompt"][0]["content"] for r in rows]
    assert [i for i, h in enumerate(hinted) if h] == [1, 9]
    assert all("The best response is" not in r["completion"][0]["content"] for r in rows)


def test_length_is_no_cue_in_balanced_pairs() -> None:
    long = Example("a-1", (Message("user", "q"),), ("long one", "x"), (1.0, 0.0))
    short = Example("a-2", (Message("user", "q"),), ("x", "long one"), (1.0, 0.0))
    kept = balanced([long] * 9 + [short] * 3, longer_wins)
    assert [longer_wins(e) for e in kept].count(True) == 3 == len(kept) / 2
    with pytest.raises(ValueError):
        longer_wins(Example("a-3", (Message("user", "q"),), (), ()))


def test_a_mixture_takes_its_shares_and_never_more_than_there_is() -> None:
    def many(count: int) -> list[Example]:
        return [example("ukp", 2)] * count

    assert len(mixture({"a": many(100), "b": many(3)}, {"a": 0.5, "b": 0.5}, 40)) == 20 + 3


def test_the_reference_of_a_problem_is_its_number() -> None:
    with_number = shown(replace(example("gsm8k", 2), meta={"golden_final": "18"}))
    assert with_number.reference == "18"
    assert with_number.id == "gsm8k-1+ref"


def test_floors_by_hand() -> None:
    pair = Example("a-1", (Message("user", "q"),), ("good good good", "bad"), (1.0, 0.0))
    tie = Example("a-2", (Message("user", "q"),), ("abc", "xyz"), (1.0, 0.0))
    assert longest_credit(pair) == 1.0
    assert longest_credit(tie) == 0.5
    flipped = Example("a-3", (Message("user", "r"),), ("bad", "good"), (0.0, 1.0))
    assert words_credits([pair, flipped] * 4, [flipped]) == [1.0]


def test_an_interval_counts_prompts_and_not_pairs() -> None:
    credits = {str(i): float(i < 4) for i in range(8)}
    alone = share(credits, dict(zip(credits, "abcdefgh", strict=True)))
    together = share(credits, dict(zip(credits, "aabbccdd", strict=True)))
    assert alone.point == together.point == 0.5
    assert (together.low, together.high) == (0.0, 1.0)  # of four draws, one in 16 is all right
    assert alone.low == 0.125 and alone.high == 0.875


def test_a_difference_is_paired_on_the_examples_that_both_have() -> None:
    units = {"x": "p", "y": "q", "z": "r"}
    found = gap({"x": 1.0, "y": 1.0, "z": 0.0}, {"x": 0.0, "y": 1.0}, units)
    assert found is not None
    assert found.point == 0.5
    assert gap({"x": 1.0}, {"y": 1.0}, units) is None


@pytest.mark.parametrize("budget", sorted(SIZES))
def test_every_budget_has_valid_settings(budget: str, tmp_path: Path) -> None:
    config = pipeline_config(tmp_path, budget)
    assert config.cold_start.lora_rank == config.rl.lora_rank == 16
    assert (HERE / f"baselines_{budget}.toml").is_file()


def test_a_first_pass_in_small_batches_comes_before_the_cold_start(tmp_path: Path) -> None:
    config = pipeline_config(tmp_path, "cpu")
    first = first_config("cpu", config.cold_start)
    assert first is not None
    assert first.batch_size < config.cold_start.batch_size
    assert first.lora_skip_layers == config.cold_start.lora_skip_layers  # one adapter goes on
    assert config.files.base == str(tmp_path / "first")
    assert first_config("gpu", config.cold_start) is None
    assert pipeline_config(tmp_path, "gpu").files.base == str(tmp_path / "format")


def test_a_first_pass_that_a_budget_lacks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--budget", "gpu", "--only", "first", "--work", str(tmp_path)])
    assert "the gpu budget has no first pass" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_shipped_readout_has_its_figures_and_no_path_of_this_machine(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    trained, out = tmp_path / "trained", tmp_path / "out"
    trained.mkdir()
    save_file({"a.weight": torch.tensor([1.0, 2.0])}, str(trained / "adapter_model.safetensors"))
    (trained / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/x/y"}))
    with pytest.raises(ValueError, match="its training has not ended"):
        ship_readout(trained, {}, out)
    card = ModelCard(paradigm="decision", base="/x/y", steps=3, n_pairs=2, max_length=9)
    card.write(trained)
    ship_readout(trained, {"ukp": {"readout": [1.0, 0.0, 0.5]}}, out)
    shipped = read_card(out)
    assert shipped is not None and shipped.measured == {"ukp": 0.5} and shipped.steps == 3
    assert load_file(str(out / "adapter_model.safetensors"))["a.weight"].dtype == torch.float16
    assert not any("/x/y" in file.read_text("utf-8") for file in out.glob("*.json"))


def test_pairs_of_a_list_are_those_whose_gold_differs() -> None:
    found = pairs_in(example("ukp", 3, gold=(1.0, 0.0, 0.0)))
    assert [e.id for e in found] == ["ukp-1-0-1", "ukp-1-0-2"]
    assert [first_wins(e) for e in found] == [True, True]
    assert earned([0.3, -2.0, 0.0], [*found, found[0]]) == [1.0, 0.0, 0.5]


def test_the_mean_over_sets_by_hand() -> None:
    mean = mean_of([Interval(0.6, 0.5, 0.7), Interval(0.8, None, None)])
    assert mean.point == pytest.approx(0.7)
    assert (mean.low, mean.high) == pytest.approx((0.65, 0.75))


def test_the_report_to_reproduce_is_the_first_pairs_of_the_subset(tmp_path: Path) -> None:
    ids = [str(i) for i in range(SUBSET_SIZE + 1)]
    rows = {name: {"ids": ids, "credits": {"1": [0.5] * len(ids)}} for name in (*SUBSET, "ukp")}
    (tmp_path / "rl-greedy.json").write_text(json.dumps(rows))
    found = reported(tmp_path / "rl-greedy.json")
    assert list(found) == list(SUBSET)
    assert found["gsm8k_ref"] == dict.fromkeys(ids[:SUBSET_SIZE], 0.5)
    del rows["gsm8k_ref"]
    (tmp_path / "rl-greedy.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="lacks gsm8k_ref: run measure"):
        reported(tmp_path / "rl-greedy.json")


def test_good_means_gold_one() -> None:
    assert is_good(example("halueval", 1))
    assert not is_good(example("halueval", 1, gold=(0.0,)))


def test_an_unreadable_judgement_is_not_a_number() -> None:
    case = example("ukp", 2)
    text = judgement_text(case, (0, 1)).replace("Scores:", "Scores?")
    read = recipe_formats().of(case).read(Completion(text.replace("\\boxed", "")), (0, 1))
    assert isinstance(read, Unscored)
    assert json.dumps(read.reason)


def test_reproduction_compares_example_by_example() -> None:
    reported = {"a": {"x": 1.0, "y": 0.0}, "b": {"z": 1.0}}
    lines, gap_of_all = compare(reported, {"a": {"x": 1.0, "y": 1.0}, "b": {"z": 1.0, "new": 0.0}})
    assert lines[0] == "a: reported 50.0, found 100.0 on 2 pairs, 1 differ"
    assert lines[1] == "b: reported 100.0, found 100.0 on 1 pairs, 0 differ"
    assert gap_of_all == pytest.approx(1 / 3)
    assert compare(reported, {})[1] != compare(reported, {})[1]  # nothing compared: not a number


def test_the_parts_of_the_base_join_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(bytes(range(256)) * 10)
    monkeypatch.setattr(carry, "PART", 1000)
    parts = carry.split(source, tmp_path)
    assert [p.stat().st_size for p in parts] == [1000, 1000, 560]
    assert b"".join(p.read_bytes() for p in parts) == source.read_bytes()
    assert (tmp_path / "base.gguf.sha256").read_text().split()[1] == "base.gguf"


def test_minutes_scale_the_steps_of_every_stage(tmp_path: Path) -> None:
    whole = pipeline_config(tmp_path, "gpu", NOMINAL_MINUTES["gpu"])
    half = pipeline_config(tmp_path, "gpu", NOMINAL_MINUTES["gpu"] / 2)
    assert whole == pipeline_config(tmp_path, "gpu")
    assert half.rl.max_steps * 2 == whole.rl.max_steps
    short = pipeline_config(tmp_path, "cpu", 0.001)
    assert short.cold_start.max_steps == 1
    first = first_config("cpu", short.cold_start, 0.001)
    assert first is not None and first.max_steps == 1


def test_a_shipped_adapter_names_no_path_and_unpacks_to_a_stage(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    stage, base = tmp_path / "stage", tmp_path / "base"
    stage.mkdir()
    base.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (base / name).write_text("{}")
    save_file({"a.lora_A.weight": torch.ones(2, 2)}, stage / "adapter_model.safetensors")
    settings = {"r": 2, "lora_alpha": 4, "base_model_name_or_path": str(base)}
    (stage / "adapter_config.json").write_text(json.dumps(settings))
    ship(stage, tmp_path / "shipped")
    text = (tmp_path / "shipped" / "adapter_config.json").read_text()
    assert str(tmp_path) not in text
    assert load_file(tmp_path / "shipped/adapter_model.safetensors")["a.lora_A.weight"].dtype == (
        torch.float16
    )
    unpack(tmp_path / "shipped", base, tmp_path / "again")
    assert base_of(tmp_path / "again") == str(base.resolve())
    save_file({"a": torch.full((1,), 1e6)}, stage / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="does not fit float16"):
        ship(stage, tmp_path / "broken")


class FirstWins:
    """An engine whose judge always prefers the response shown first."""

    fingerprint = "first-wins"

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        return [Completion("Analysis:\nWell.\nScores: \\boxed{9, 2}")] * n

    async def aclose(self) -> None:
        """Nothing to close."""


def test_a_judge_that_looks_at_the_place_earns_one_half(tmp_path: Path) -> None:
    pairs = [replace(example("ukp", 2), id=f"ukp-{i}") for i in range(3)]
    fmt = recipe_formats().several
    found = measure_model(FirstWins(), {"ukp": pairs}, fmt, How(), tmp_path)["ukp"]
    assert found["credits"]["1"] == [0.5] * 3
    assert found["health"]["first"] == 1.0
    assert found["health"]["unscored"] == 0.0
    again = measure_model(FirstWins(), {"ukp": pairs}, fmt, How(), tmp_path)["ukp"]
    assert again == found


def test_parts_shrink_alike_when_there_are_too_few() -> None:
    many = [replace(example("ukp", 2), id=f"ukp-{i}") for i in range(50)]
    taken = cut(many, {"a": 80, "b": 20})
    assert [len(part) for part in taken.values()] == [40, 10]
    assert [e.id for part in taken.values() for e in part] == [e.id for e in many]
    assert [len(part) for part in cut(many, {"a": 10, "b": 20}).values()] == [10, 20]


def test_a_share_of_nothing_is_no_number(tmp_path: Path) -> None:
    assert first_share([]) is None
    health = {"unscored": 1.0, "ties": 0.0, "first": None, "tokens": 9.0}
    (tmp_path / "rft-greedy.json").write_text(json.dumps({"ukp": {"ids": ["x"], "health": health}}))
    assert health_table(tmp_path).splitlines()[-1] == "| RFT, greedy | 100.0% | 0.0% | - | 9 |"
