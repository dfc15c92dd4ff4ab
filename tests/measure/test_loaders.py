"""Loaders of published layouts, on fixtures written for these tests, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from spct.errors import ConfigError, DataError
from spct.measure.benchmarks import BENCHMARKS, benchmark_named, ours
from spct.measure.loading import Loaded, load_benchmark, missing_files
from spct.measure.rules import gold_of
from spct.measure.sizes import RMB_FILES
from spct.types import Example, Message
from tests.measure.makers import pairs_file, write

Rows = list[dict[str, Any]]

RB = {"prompt": "p", "chosen": "good", "rejected": "bad", "subset": "donotanswer", "id": 1}
RB2 = {
    "id": "7",
    "prompt": "p",
    "chosen": ["good"],
    "rejected": ["bad", "worse", "worst"],
    "num_correct": 1,
    "subset": "Math",
}
TIED = RB2 | {"id": "tied:3", "chosen": ["red", "blue"], "num_correct": 2, "subset": "Ties"}
REF = RB2 | {"id": "ref:3", "chosen": ["one"], "subset": "Ties", "prompt": "other"}
PPE = {"question_id": "q", "prompt": "p", "response_1": "a", "response_2": "b", "winner": "model_b"}
PPE_C = {
    "question_id": "q",
    "model_name": "m",
    "prompt": "p",
    "scores": [True, False, True],
    "sampled_conflict_pairs": [[0, 1], [1, 0], [0, 2], [2, 1]],
    "response_1": "r1",
    "response_2": "r2",
    "response_3": "r3",
}
TURN = [{"role": "user", "content": "p", "language": "English"}]
RMB_PAIR = {
    "pair_uid": "1",
    "conversation_input": TURN,
    "chosen": {"llm_name": "m", "answer": "good"},
    "reject": {"llm_name": "n", "answer": "bad"},
    "category_path": "c",
}
RMB_BON = {
    "bon_uid": "1",
    "conversation_input": TURN,
    "bon_best": {"answer": "best"},
    "loser_list": [{"answer": "bad"}, {"answer": "worse"}],
}
RM = {"id": 4, "prompt": "p", "chosen": ["c0", "c1", "c2"], "rejected": ["r0", "r1", "r2"]}
JB = {
    "pair_id": "x",
    "source": "mmlu-pro-law",
    "question": "q",
    "response_model": "gpt-4o",
    "response_A": "a",
    "response_B": "b",
    "label": "B>A",
}
LLMBAR = {"input": "i", "output_1": "a", "output_2": "b", "label": 2}
MISTAKE = {"input": "i", "llm_response": "r", "error_label": "no_error"}
AUTOJ = {"scenario": "chat", "label": 2, "prompt": "p", "response 1": "a", "response 2": "b"}
PANDA = {
    "idx": 5,
    "instruction": "i",
    "input": "",
    "response1": True,
    "response2": "b",
    "annotator1": 2,
    "annotator2": 2,
    "annotator3": 1,
}

IFRB = {
    "id": 7,
    "instruction_type": "Multi_Turn",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "again, in rhyme"},
    ],
    "checklist": ["rhymes"],
    "responses": [{"response_id": 3 + i, "response": f"r{i}", "labels": [1]} for i in range(3)],
    "preference_graph": [
        {"chosen": {"response_id": 4}, "rejected": {"response_id": 3}},
        {"chosen": {"response_id": 4}, "rejected": {"response_id": 5}},
    ],
}

# benchmark -> (a file of its published layout, a good row of it)
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rewardbench": ("filtered.jsonl", RB),
    "rewardbench2": ("data/test-00000.jsonl", RB2),
    "ppe-preference": ("data/test.jsonl", PPE),
    "ppe-correctness": ("PPE-GPQA-Best-of-K/train.jsonl", PPE_C),
    "rmb": ("Pairwise_set/Harmlessness/S1.jsonl", RMB_PAIR),
    "rm-bench": ("data/chat_filtered.jsonl", RM),
    "if-rewardbench": ("data/if_rewardbench.jsonl", IFRB),
    "judgebench": ("data/dataset=judgebench,response_model=gpt-4o.jsonl", JB),
    "llmbar": ("Dataset/LLMBar/Natural/dataset.jsonl", LLMBAR),
    "llmbar-natural": ("Dataset/LLMBar/Natural/dataset.jsonl", LLMBAR),
    "realmistake": ("data/math_word_problem_generation/gpt-4-0613.jsonl", MISTAKE),
    "autoj": ("data/test/testdata_pairwise.jsonl", AUTOJ),
    "pandalm": ("data/testset-v1.jsonl", PANDA),
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Loaded]:
    def load(name: str, files: dict[str, Rows], **options: Any) -> Loaded:
        for path, rows in files.items():
            write(tmp_path / path, rows)
        return load_benchmark(benchmark_named(name), tmp_path, **options)

    return load


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_benchmark_reads_its_published_fields(name: str, load: Any) -> None:
    path, row = LAYOUTS[name]
    found = load(name, {path: [row]})
    assert found.n_units >= 1 and not found.is_complete
    assert all(e.gold is not None and len(e.gold) == e.n for e in found.examples)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_field_is_named_with_its_file_and_line(name: str, load: Any) -> None:
    path, row = LAYOUTS[name]
    needed = {
        "rewardbench": "rejected",
        "rewardbench2": "chosen",
        "ppe-preference": "winner",
        "ppe-correctness": "sampled_conflict_pairs",
        "rmb": "reject",
        "rm-bench": "chosen",
        "if-rewardbench": "preference_graph",
        "judgebench": "label",
        "realmistake": "error_label",
        "autoj": "label",
        "pandalm": "annotator2",
    }.get(name, "output_2")
    broken = {key: value for key, value in row.items() if key != needed}
    other = {**row, **{k: f"{row[k]}9" for k in ("id", "pair_id", "idx") if k in row}}
    with pytest.raises(DataError, match=needed) as error:
        load(name, {path: [other, broken]})
    assert f"{path}:2" in str(error.value)


@pytest.mark.parametrize(
    "name", sorted(set(LAYOUTS) - {"llmbar", "llmbar-natural", "autoj"} - {"realmistake"})
)
def test_an_id_that_occurs_twice_is_named_with_both_places(name: str, load: Any) -> None:
    path, row = LAYOUTS[name]
    with pytest.raises(DataError, match="occurs once") as error:
        load(name, {path: [row, row]})
    assert f"{path}:1" in str(error.value) and f"{path}:2" in str(error.value)


def test_an_empty_file_is_an_error(load: Any) -> None:
    with pytest.raises(DataError, match="no items"):
        load("pandalm", {"testset-v1.jsonl": []})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("judgebench", {"label": "A=B"}),
        ("llmbar", {"label": "1"}),
        ("autoj", {"label": 3}),
        ("realmistake", {"error_label": "Error"}),
        ("ppe-preference", {"winner": "model_c"}),
        ("pandalm", {"annotator1": 7}),
    ],
)
def test_an_unknown_label_is_an_error_and_never_a_default(
    name: str, change: dict[str, Any], load: Any
) -> None:
    path, row = LAYOUTS[name]
    with pytest.raises(DataError, match="expected one of"):
        load(name, {path: [row | change]})


def test_a_wrong_number_of_items_makes_a_benchmark_partial_and_says_where(load: Any) -> None:
    found = load("judgebench", {LAYOUTS["judgebench"][0]: [JB]})
    assert "subset 'knowledge': 1 items, expected 154" in found.missing
    assert "subset 'math': 0 items, expected 56" in found.missing


def test_the_full_number_of_items_is_complete_and_a_limit_is_not(load: Any) -> None:
    rows = [LLMBAR | {"input": f"i{i}"} for i in range(100)]
    path = LAYOUTS["llmbar-natural"][0]
    assert load("llmbar-natural", {path: rows}).is_complete
    limited = load("llmbar-natural", {path: rows}, limit=7)
    assert not limited.is_complete and limited.n_units == 7 and len(limited.examples) == 14
    assert "--limit: 7 of 100" in limited.missing[0]


def test_a_limit_draws_the_same_units_for_the_same_seed_in_file_order(load: Any) -> None:
    rows = [LLMBAR | {"input": f"i{i}"} for i in range(50)]
    files = {LAYOUTS["llmbar-natural"][0]: rows}
    ids = [
        [e.id for e in load("llmbar-natural", files, limit=5, seed=seed).examples]
        for seed in (0, 0, 1)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == sorted(ids[0], key=lambda id: int(id.split("/")[1].split("#")[0]))


def test_a_larger_limit_holds_all_of_a_smaller_one(load: Any) -> None:
    rows = [LLMBAR | {"input": f"i{i}"} for i in range(60)]
    files = {LAYOUTS["llmbar-natural"][0]: rows}
    kept = [
        {e.id for e in load("llmbar-natural", files, limit=limit).examples}
        for limit in (1, 5, 20, 40, 59, 60)
    ]
    assert all(small < large for small, large in pairwise(kept))


def test_too_many_items_are_not_the_benchmark_either(load: Any) -> None:
    rows = [LLMBAR | {"input": f"i{i}"} for i in range(101)]
    found = load("llmbar-natural", {LAYOUTS["llmbar-natural"][0]: rows})
    assert found.missing == ("subset 'Natural': 101 items, expected 100",)


def test_equal_responses_are_kept_and_named(load: Any) -> None:
    path, row = LAYOUTS["judgebench"]
    found = load("judgebench", {path: [row | {"response_B": "a"}]})
    assert found.n_units == 1 and f"{path}:1" in found.problems[0]
    assert "equal responses" in found.problems[0]


def test_rows_of_prior_sets_are_left_out_and_counted(load: Any) -> None:
    prior = RB | {"subset": "anthropic_helpful", "id": 2}
    found = load("rewardbench", {"filtered.jsonl": [RB, prior]})
    assert found.n_units == 1 and "1 items of the unknown subset" in found.problems[-1]


# --- what the items hold ------------------------------------------------------------------------


def test_chosen_and_rejected_are_shuffled_by_id_so_that_position_tells_nothing(load: Any) -> None:
    rows = [RB | {"id": i} for i in range(100)]
    golds = [gold_of(e) for e in load("rewardbench", {"filtered.jsonl": rows}).examples]
    assert 30 < golds.count((1.0, 0.0)) < 70
    assert golds == [gold_of(e) for e in load("rewardbench", {"filtered.jsonl": rows}).examples]


def test_published_orders_are_kept_and_the_second_presentation_is_swapped(load: Any) -> None:
    first, second = load("judgebench", {LAYOUTS["judgebench"][0]: [JB]}).examples
    assert (first.responses, first.gold) == (("a", "b"), (0.0, 1.0))
    assert (second.responses, second.gold) == (("b", "a"), (1.0, 0.0))
    assert first.meta["unit"] == second.meta["unit"] and first.id != second.id


def test_ppe_correctness_skips_equal_labels_and_repeated_pairs(load: Any) -> None:
    found = load("ppe-correctness", {"mmlu_pro/train.jsonl": [PPE_C]})
    assert [(e.responses, e.gold, e.subset) for e in found.examples] == [
        (("r1", "r2"), (1.0, 0.0), "MMLU-Pro"),
        (("r3", "r2"), (1.0, 0.0), "MMLU-Pro"),
    ]
    assert len({e.meta["cluster"] for e in found.examples}) == 1


def test_ppe_correctness_wants_a_path_that_names_one_domain(load: Any) -> None:
    with pytest.raises(DataError, match="names one of"):
        load("ppe-correctness", {"MATH-and-GPQA/train.jsonl": [PPE_C]})


def test_rewardbench2_pairs_tied_prompts_with_their_references(load: Any) -> None:
    found = load("rewardbench2", {"test.jsonl": [TIED, REF, RB2]})
    tied, ref, plain = found.examples
    assert tied.meta["unit"] == ref.meta["unit"] == "Ties/3" != plain.meta["unit"]
    assert sum(gold_of(tied)) == 2 and tied.n == 5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (RB2 | {"num_correct": 2}, "num_correct"),
        (RB2 | {"chosen": ["a", "b"], "num_correct": 2}, "exactly one right response"),
        (TIED | {"id": "3"}, "'ref:7' or 'tied:7'"),
        (TIED | {"chosen": ["red"], "num_correct": 1}, "at least two right"),
    ],
)
def test_rewardbench2_refuses_what_its_formula_cannot_score(
    row: dict[str, Any], message: str, load: Any
) -> None:
    with pytest.raises(DataError, match=message):
        load("rewardbench2", {"test.jsonl": [row]})


def test_if_rewardbench_keeps_its_graph_by_place_and_its_system_prompt(load: Any) -> None:
    (found,) = load("if-rewardbench", {"data/if_rewardbench.jsonl": [IFRB]}).examples
    assert found.meta["preferred"] == [(1, 0), (1, 2)]  # by place, not by the file's numbers
    assert found.gold == (-1.0, 2.0, -1.0)
    assert [m.role for m in found.query] == ["system", "user", "assistant", "user"]
    strange = {**IFRB, "preference_graph": [{"chosen": {"response_id": 9}, "rejected": {}}]}
    with pytest.raises(DataError, match="edges between known ids"):
        load("if-rewardbench", {"data/if_rewardbench.jsonl": [strange]})


def test_a_copy_of_rmb_that_lacks_files_is_partial_whatever_its_counts(load: Any) -> None:
    assert len(RMB_FILES) == len(set(RMB_FILES)) == 98
    files = {
        f"RMB_dataset/{name}.json{'l' if i % 2 else 'l.gz'}": name
        for i, name in enumerate(RMB_FILES)
    }
    there = [replace(_bare(i), meta={"place": f"{file}:1", "source": str(i)})
             for i, file in enumerate(files)]  # fmt: skip
    assert missing_files(BENCHMARKS["rmb"], there) == []
    (said,) = missing_files(BENCHMARKS["rmb"], there[3:])
    assert said.startswith("3 of 98 files are not there: 'BoN_set/Harmlessness/S1', ")
    one_left = [e for e in there if "Harmlessness/S1." not in str(e.meta["place"])]
    (said,) = missing_files(BENCHMARKS["rmb"], one_left)  # S10 and S11 are no S1
    assert said.startswith("2 of 98")


def _bare(i: int) -> Example:
    return Example(f"e{i}", (Message("user", "q"),), ("a", "b"), (1.0, 0.0))


def test_rmb_reads_both_sets_into_four_parts(load: Any) -> None:
    files = {
        "Pairwise_set/Harmlessness/S1.jsonl": [RMB_PAIR],
        "BoN_set/Helpfulness/Chat/x.jsonl": [RMB_BON],
    }
    bon, pair = load("rmb", files).examples
    assert (bon.subset, bon.n) == ("Helpfulness BoN", 3)
    assert bon.responses[gold_of(bon).index(1.0)] == "best"
    assert (pair.subset, pair.responses[gold_of(pair).index(1.0)]) == (
        "Harmlessness Pairwise",
        "good",
    )


def test_rm_bench_remembers_the_style_of_every_shuffled_response(load: Any) -> None:
    (found,) = load("rm-bench", {"chat_filtered.jsonl": [RM]}).examples
    for text, gold, style in zip(
        found.responses, gold_of(found), found.meta["styles"], strict=True
    ):
        assert text == f"{'c' if gold else 'r'}{style}"


def test_rm_bench_reads_the_total_once_where_the_domains_lie_beside_it(load: Any) -> None:
    total = RM | {"domain": "math"}
    found = load("rm-bench", {"chat_filtered.jsonl": [RM], "total_dataset.jsonl": [total]})
    assert [e.subset for e in found.examples] == ["math"]


def test_pandalm_takes_the_majority_and_reads_parsed_booleans_as_text(load: Any) -> None:
    (found,) = load("pandalm", {"testset-v1.jsonl": [PANDA]}).examples
    assert (found.responses, found.gold) == (("True", "b"), (0.0, 1.0))
    with pytest.raises(DataError, match="two annotators share"):
        load("pandalm", {"testset-v1.jsonl": [PANDA | {"annotator2": 0}]})


def test_json_arrays_are_read_like_lines(tmp_path: Path) -> None:
    (tmp_path / "testset-v1.json").write_text(json.dumps([PANDA]))
    assert load_benchmark(BENCHMARKS["pandalm"], tmp_path).n_units == 1


# --- a file of one's own, and sources -----------------------------------------------------------


def test_a_file_in_our_schema_is_a_benchmark(tmp_path: Path) -> None:
    found = load_benchmark(ours(pairs_file(tmp_path / "mine.jsonl", 6)))
    assert found.is_complete and found.n_units == 6
    assert {e.subset for e in found.examples} == {"odd", "even"}


def test_a_file_without_gold_or_with_mixed_kinds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    row = {"id": "a", "query": "q", "responses": ["x", "y"]}
    write(path, [row])
    with pytest.raises(DataError, match="needs gold"):
        load_benchmark(ours(path))
    write(
        path, [row | {"gold": [1, 0]}, {"id": "b", "query": "q", "responses": ["x"], "gold": [1]}]
    )
    with pytest.raises(DataError, match="split the file"):
        load_benchmark(ours(path))


def test_an_unknown_benchmark_is_named_with_its_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'judgebench'"):
        benchmark_named("judgebensh")


def test_a_folder_without_the_files_says_which_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="testset-v1"):
        load_benchmark(BENCHMARKS["pandalm"], tmp_path)


def test_a_folder_of_folders_is_a_source_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pandalm_testset" / "testset-v1.jsonl", [PANDA])
    monkeypatch.setenv("SPCT_DATA", str(tmp_path))
    found = load_benchmark(BENCHMARKS["pandalm"])
    assert found.n_units == 1
    assert found.sha256 == load_benchmark(BENCHMARKS["pandalm"], tmp_path).sha256


def test_the_hub_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SPCT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"allenai/reward-bench.*--data DIR"):
        load_benchmark(BENCHMARKS["rewardbench"])


def test_a_benchmark_that_is_not_on_the_hub_asks_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPCT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="--data DIR"):
        load_benchmark(BENCHMARKS["realmistake"])
