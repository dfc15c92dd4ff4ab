"""The training commands, through Typer."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spct.cli.train import app as train
from spct.cli.train import show
from spct.cli.train_data import app as data
from spct.config import EngineConfig
from spct.errors import OverBudget
from spct.models.engines import build_engine
from spct.runs.codec import dump_example
from spct.runs.store import Store
from spct.train import sft
from spct.train.config import SftConfig
from spct.train.sampling import Formats
from spct.types import Example, Message
from tests.train.conftest import templated_rows


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    rows = [
        Example(
            f"e{i}",
            (Message("user", "Name the capital of France and its river"),),
            ("The capital of France is Paris on the river Seine", "Berlin"),
            (1.0, 0.0),
        )
        for i in range(6)
    ]
    path.write_text("".join(json.dumps(dump_example(e)) + "\n" for e in rows))
    return path


def test_rft_data_then_meta_data_from_the_same_run(examples: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = CliRunner().invoke(
        data,
        ["rft", str(examples), "--out", str(out), "--engine", "scripted", "--layout", "messages",
         "--set", "n_samples=4"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    funnel = json.loads(run.stdout)
    assert funnel["totals"]["asked"] == 6
    assert (out / "rows.jsonl").is_file()
    assert (out / "messages.jsonl").is_file()
    labelled = CliRunner().invoke(data, ["meta", str(out), "--out", str(tmp_path / "meta.jsonl")])
    assert labelled.exit_code == 0, labelled.output
    report = json.loads(labelled.stdout)
    assert report["offered"] == 6 * 5
    assert report["hinted"] == 6


def test_rft_filter_writes_what_is_not_too_easy(examples: Path, tmp_path: Path) -> None:
    out = tmp_path / "hard.jsonl"
    run = CliRunner().invoke(
        data, ["rft-filter", str(examples), "--out", str(out), "--engine", "scripted"]
    )
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert report["kept"] + report["too_easy"] == report["asked"] == 6
    assert len(out.read_text().splitlines()) == report["kept"]


def test_standard_output_is_the_reports_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def trained() -> dict[str, int]:
        print("* a tracker greets")
        return {"steps": 3}

    show(trained)
    said = capsys.readouterr()
    assert json.loads(said.out) == {"steps": 3} and "* a tracker greets" in said.err


def test_labelled_rows_without_a_label_are_named(run: Any, tmp_path: Path) -> None:
    rows = tmp_path / "meta.jsonl"
    turns = [{"role": "user", "content": "a"}]
    for row, wrong in (({"messages": turns}, "label"), ({"label": 1}, "messages")):
        rows.write_text(json.dumps(row) + "\n")
        code, _, said = run("train", "meta", rows, "--model", tmp_path, "--out", tmp_path / "o")
        assert code == 2 and "meta.jsonl:1" in said and wrong in said


def test_rl_without_a_prompt_says_what_became_of_the_examples(run: Any, tmp_path: Path) -> None:
    given = tmp_path / "ties.jsonl"
    given.write_text(json.dumps({"query": "q", "responses": ["a", "b"], "gold": [1, 1]}) + "\n")
    code, _, said = run(
        "train", "rl", given, "--model", tmp_path, "--out", tmp_path / "o", "--set",
        "drop_easy=false",
    )  # fmt: skip
    assert code == 2 and "none is left (1 no unique best)" in said


def test_rft_filter_counts_gold_that_cannot_decide_apart(tmp_path: Path) -> None:
    given, out = tmp_path / "examples.jsonl", tmp_path / "hard.jsonl"
    rows = [{"query": f"q{i}", "responses": ["a", "b"], "gold": [1, 0]} for i in range(3)]
    rows += [{"query": "tie", "responses": ["a", "b"], "gold": [1, 1]}]
    given.write_text("\n".join(map(json.dumps, rows)))
    run = CliRunner().invoke(
        data, ["rft-filter", str(given), "--out", str(out), "--engine", "scripted"]
    )
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert report["skipped"] == {"no unique best": 1}
    assert report["kept"] + report["too_easy"] == 3 and report["asked"] == 4


def test_an_unknown_layout_is_refused(examples: Path, tmp_path: Path) -> None:
    argv = ["rft", str(examples), "--out", str(tmp_path / "r"), "--layout", "xml"]
    run = CliRunner().invoke(data, argv)
    assert run.exit_code == 2 and "messages" in run.output


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_an_adapter_judges_trains_a_meta_rm_on_it(
    tiny_model: str,
    examples: Path,
    tmp_path: Path,
    toy_formats: Formats,
    toy_examples: list[Example],
) -> None:
    """The last three commands of recipes/qwen_0_6b/run.sh, as it runs them with SIZE=_lora."""
    adapter, run, head = (tmp_path / name for name in ("adapter", "run", "meta"))
    config = SftConfig(
        max_steps=1, batch_size=4, micro_batch_size=4, max_length=320, lora_rank=2, use_cpu=True
    )
    sft.train(tiny_model, templated_rows(toy_examples, toy_formats), adapter, config)
    drawn = CliRunner().invoke(
        data,
        ["rft", str(examples), "--out", str(run), "--engine", "hf", "--model", tiny_model,
         "--adapter", str(adapter), "--set", "n_samples=1", "--set", "max_tokens=4"],
    )  # fmt: skip
    # four tokens are no judgement: nothing is scored, which is said and ends with 3
    assert isinstance(drawn.exception, OverBudget), drawn.output
    assert "12 of 12 judgements are unscored" in str(drawn.exception)
    with Store.read(run) as store:
        fingerprints = {t.fingerprint for v in store.verdicts() for t in v.trajectories}
    plain = build_engine(EngineConfig(kind="hf", model=tiny_model)).fingerprint
    assert len(fingerprints) == 1
    assert not any(name.startswith(f"{plain}/") for name in fingerprints)
    rows = [
        {"messages": [{"role": "user", "content": "must"}, {"role": "assistant", "content": word}],
         "label": int(word == "yes"), "example_id": word, "source": "toy"}
        for word in ("yes", "no")
    ]  # fmt: skip
    labelled = tmp_path / "meta.jsonl"
    labelled.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    trained = CliRunner().invoke(
        train,
        ["meta", str(labelled), "--model", str(adapter), "--out", str(head),
         "--set", "max_steps=1", "--set", "batch_size=2", "--set", "micro_batch_size=2",
         "--set", "use_cpu=true"],
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert (head / "model.safetensors").is_file()
