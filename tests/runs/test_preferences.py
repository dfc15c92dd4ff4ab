"""Preferences of a run: who is chosen, what gives no row and is counted, and TRL reads them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spct.runs.store import Store
from spct.types import Example, Message, Verdict

TEXTS = ("a a", "b b", "c c")


def example_of(id: str, gold: tuple[float, ...] | None = None, n: int = 3) -> Example:
    query = (Message("system", "Be brief."), Message("user", f"query {id}"))
    return Example(id, query, TEXTS[:n], gold)


def verdict_of(id: str, rewards: tuple[float, ...] | None, agreement: float | None) -> Verdict:
    best = tuple(i for i, r in enumerate(rewards or ()) if r == max(rewards or ()))
    return Verdict(id, rewards, best, (), 0, 0, 0, agreement)


@pytest.fixture
async def stored(tmp_path: Path) -> Path:
    cases: list[tuple[Example, tuple[float, ...] | None, float]] = [
        (example_of("clear", (0.0, 1.0, 0.5)), (3.0, 9.0, 6.0), 1.0),
        (example_of("wrong", (1.0, 0.0, 0.5)), (3.0, 4.0, 2.5), 0.5),
        (example_of("tie", (1.0, 0.0, 0.0)), (8.0, 8.0, 1.0), 0.5),
        (example_of("none", (1.0, 0.0, 0.0)), None, 0.0),
        (example_of("one", (1.0,), 1), (1.0,), 1.0),
        (example_of("even", (1.0, 1.0, 0.0)), (1.0, 2.0, 9.0), 0.9),
        (example_of("bare"), (9.0, 2.0, 2.0), 0.9),
    ]
    with Store.open(tmp_path / "run", {}) as store:
        for position, (example, rewards, agreement) in enumerate(cases):
            verdict = verdict_of(example.id, rewards, agreement)
            await store.put_verdict(verdict, example, position=position)
    return tmp_path / "run"


def rows_of(printed: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, printed.splitlines())


def test_the_judge_decides_and_what_it_leaves_open_is_counted(run: Any, stored: Path) -> None:
    code, printed, said = run("export", stored, "--pairs")
    assert code == 0, said
    rows = {row["id"]: row for row in rows_of(printed)}
    assert list(rows) == ["clear", "wrong", "even", "bare"]
    assert rows["clear"] == {
        "id": "clear", "margin": 6.0, "agreement": 1.0,
        "prompt": [{"role": "system", "content": "Be brief."},
                   {"role": "user", "content": "query clear"}],
        "chosen": [{"role": "assistant", "content": "b b"}],
        "rejected": [{"role": "assistant", "content": "a a"}],
    }  # fmt: skip
    assert "4 rows of 7 verdicts" in said
    for reason in ("1 with a tie at the top", "1 without rewards", "1 of a single response"):
        assert reason in said


def test_thresholds_leave_out_close_pairs_and_split_judgements(run: Any, stored: Path) -> None:
    code, printed, said = run("export", stored, "--pairs", "--against", "all", "--min-margin", 2)
    assert code == 0
    pairs = [(r["id"], r["rejected"][0]["content"], r["margin"]) for r in rows_of(printed)]
    assert pairs == [
        ("clear", "a a", 6.0), ("clear", "c c", 3.0), ("even", "a a", 8.0), ("even", "b b", 7.0),
        ("bare", "b b", 7.0), ("bare", "c c", 7.0),
    ]  # fmt: skip
    assert "2 pairs with a margin below 2" in said
    _, printed, said = run("export", stored, "--pairs", "--min-agreement", 0.9)
    assert [row["id"] for row in rows_of(printed)] == ["clear", "even", "bare"]
    assert "1 with an agreement below 0.9" in said


def test_gold_without_a_unique_best_decides_nothing(run: Any, stored: Path) -> None:
    code, printed, said = run("export", stored, "--pairs", "--by", "gold")
    rows = {row["id"]: row for row in rows_of(printed)}
    assert code == 0 and list(rows) == ["clear", "wrong", "tie", "none"]
    assert (rows["wrong"]["chosen"][0]["content"], rows["wrong"]["margin"]) == ("a a", 1.0)
    assert "1 whose gold has no unique best" in said and "1 without gold" in said
    _, printed, said = run("export", stored, "--pairs", "--by", "both")
    assert [row["id"] for row in rows_of(printed)] == ["clear"]
    assert "1 where judge and gold differ" in said


def test_the_best_of_n_alone_with_its_lead_over_the_second(run: Any, stored: Path) -> None:
    _, printed, _ = run("export", stored, "--pairs", "--form", "sft", "--min-margin", 3)
    rows = list(rows_of(printed))
    assert [(r["id"], r["completion"][0]["content"], r["margin"]) for r in rows] == [
        ("clear", "b b", 3.0), ("even", "c c", 7.0), ("bare", "a a", 7.0),
    ]  # fmt: skip
    assert "chosen" not in rows[0]


def test_equal_worst_responses_are_not_taken_by_their_place() -> None:
    from spct.runs.preferences import Choice, Counts, preferences
    from spct.runs.rows import Sound

    def sound(id: str) -> Sound:
        found = Sound.__new__(Sound)
        found.example, found.verdict = example_of(id), verdict_of(id, (9.0, 2.0, 2.0), 1.0)
        return found

    rows = preferences((sound(str(i)) for i in range(40)), Choice(), Counts())
    assert {row["rejected"][0]["content"] for row in rows} == {"b b", "c c"}


async def test_a_run_that_decides_nothing_is_refused_and_no_file_is_left(
    run: Any, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "run", {}) as store:
        for position, id in enumerate("ab"):
            example = replace(example_of(id), gold=(1.0, 1.0, 0.0))
            await store.put_verdict(
                verdict_of(id, (3.0, 2.0, 1.0), 1.0), example, position=position
            )
    code, _, said = run("export", tmp_path / "run", "--pairs", "--by", "gold", "--to",
                        tmp_path / "x.jsonl")  # fmt: skip
    assert code == 2 and "'whose gold has no unique best': 2" in said
    assert not (tmp_path / "x.jsonl").exists()
    for options in (["--form", "sft"], ["--min-margin", "1"]):
        code, _, said = run("export", tmp_path / "run", *options)
        assert code == 2 and "give --pairs" in said
    code, _, said = run("export", tmp_path / "run", "--pairs", "--to", tmp_path / "x.csv")
    assert code == 2 and "'.csv'" in said


def test_parquet_holds_the_same_rows(run: Any, stored: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    _, printed, _ = run("export", stored, "--pairs")
    code, _, _ = run("export", stored, "--pairs", "--to", tmp_path / "pairs.parquet")
    assert code == 0
    assert pq.read_table(tmp_path / "pairs.parquet").to_pylist() == list(rows_of(printed))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trl_trains_on_both_forms(run: Any, stored: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from spct.engines.hf_load import load_tokenizer
    from tests.models.tiny import write_model

    model = str(write_model(tmp_path / "model", head=False))
    how: dict[str, Any] = {
        "max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True,
        "bf16": False, "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    kinds = {"dpo": (DPOConfig, DPOTrainer), "sft": (SFTConfig, SFTTrainer)}
    # before the trainers print their own lines
    printed = {form: run("export", stored, "--pairs", "--form", form)[1] for form in kinds}
    for form, (config, trainer_of) in kinds.items():
        trainer = trainer_of(
            model, args=config(output_dir=str(tmp_path / form), **how),
            train_dataset=Dataset.from_list(list(rows_of(printed[form]))),
            processing_class=load_tokenizer(model),
        )  # fmt: skip
        trainer.train()
        assert trainer.state.log_history[0]["loss"] > 0
