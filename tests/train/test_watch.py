"""A run as it is shown: the line, alarms by hand-made logs, trackers, the card, a push to a hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spct.errors import ExtraMissing
from spct.text.format import SINGLE
from spct.train.checks import trackers
from spct.train.config import SftConfig
from spct.train.model_readme import about, card
from spct.train.watch import alarms, line
from tests.hub import Hub, running
from tests.train.conftest import templated_rows

WELL = {"spct/unscored": 0.05, "frac_reward_zero_std": 0.3, "completions/mean_length": 100.0,
        "completions/clipped_ratio": 0.0, "kl": 0.01}  # fmt: skip


@pytest.mark.parametrize(
    ("worse", "name", "cure"),
    [
        ({"spct/unscored": 0.4}, "unscored", "format_reward"),
        ({"frac_reward_zero_std": 0.6}, "no signal", "harder prompts"),
        ({"completions/mean_length": 151.0}, "length", "running away"),
        ({"completions/clipped_ratio": 0.2}, "length", "max_completion_tokens"),
        ({"kl": 0.5}, "kl", "raise beta"),
    ],
)
def test_an_alarm_needs_three_logs_in_a_row_and_names_its_cure(
    worse: dict[str, float], name: str, cure: str
) -> None:
    bad = {**WELL, **worse}
    assert alarms([WELL, bad, bad]) == {}
    found = alarms([WELL, {"loss": 1.0}, bad, bad, bad])
    assert list(found) == [name] and cure in found[name]
    assert alarms([WELL, bad, bad, WELL, bad, bad]) == {}


def test_a_run_that_starts_unreadable_and_learns_raises_no_alarm() -> None:
    assert alarms([{**WELL, "spct/unscored": x} for x in (0.9, 0.7, 0.5, 0.3)]) == {}


def test_the_line_says_stage_step_eta_and_what_is_logged() -> None:
    log = {"spct/correct": 0.5, "spct/unscored": 0.25, "spct/tie": 0.125, "tokens_per_second": 1234}
    assert line("rl", 10, 110, 20.0, 5, log) == (
        "rl  step 10/110  ETA 6:40  correct 0.5  unscored 0.25  ties 0.125  1,234 tokens/s"
    )
    assert "ETA ?" in line("rl", 10, 110, 0.0, 0, {})


def test_a_tracker_that_is_not_installed_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spct.train.checks.find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"'wandb'.*spct\[trackers\]"):
        trackers(SftConfig(report_to=("wandb",)))


def test_a_card_says_what_it_knows_and_calls_the_rest_not_stated(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("{}\n")
    base = tmp_path / "base"
    base.mkdir()
    run = {"stage": "rl", "model": str(base), "settings": {"batch_size": 8}, "data": "abc",
           "about": about([data], [SINGLE])}  # fmt: skip
    history = [
        {"step": 2, "spct/correct": 0.5},
        {"step": 4, "dev/accuracy_both": 0.5, "dev/n": 100},
    ]
    text = card(run, history, 16)
    assert "None" not in text and str(tmp_path) not in text
    assert text.startswith('---\nbase_model: "base"\nlibrary_name: transformers\ntags: [spct')
    assert "4 steps of 8, 16 rows" in text and "not stated" in text
    assert "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356" in text
    assert "50.0 [40.4, 59.6] %" in text and "100 dev examples" in text
    assert "Scores from 0 to 1." in text and SINGLE.template.splitlines()[0] in text
    assert "Nothing was measured" not in text
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    bare = card(run, [], is_adapter=True)
    assert "license: apache-2.0" in bare and "library_name: peft" in bare
    assert "Nothing was measured" in bare


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    with running() as (handler, environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield handler


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_run_is_read_back_from_tensorboard_and_pushed_with_its_card(
    run: Any, hub: type[Hub], tiny_model: str, toy_formats: Any, toy_examples: Any, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "rft"
    found = templated_rows(toy_examples, toy_formats)
    system = [{"role": "system", "content": "s"}]
    found.append({**found[0], "prompt": [*system, *found[0]["prompt"]]})  # type: ignore[misc]
    rows.write_text("".join(json.dumps(row) + "\n" for row in found))
    code, told, said = run(
        "train", "rft", rows, "--model", tiny_model, "--out", out, "--set", "lora_rank=2",
        "--report-to", "tensorboard", "--set", "log_steps=1", "--set", "max_steps=3",
        "--set", "batch_size=4", "--set", "micro_batch_size=4", "--set", "max_length=400",
        "--set", "use_cpu=true",
    )  # fmt: skip
    assert code == 0, said
    assert "rft  step 2/3  ETA " in said and json.loads(told)["steps"] == 3
    logged = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
    assert [log["step"] for log in logged if "loss" in log] == [1, 2, 3]
    assert (out / "curves.png").is_file() and not (out / "training_args.bin").exists()
    assert "fine-tuned version of None" not in (out / "README.md").read_text()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = out.rglob("events.out.tfevents*")
    read = EventAccumulator(str(events.parent))
    read.Reload()
    scalars = [(event.step, event.value) for event in read.Scalars("train/loss")]
    expected = [(log["step"], pytest.approx(log["loss"])) for log in logged if "loss" in log]
    assert scalars == expected

    code, url, said = run("push", out, "me/judge")
    assert code == 0, said
    assert "me/judge" in url
    assert hub.got["README.md"] == (out / "README.md").read_bytes()
    weights = (out / "adapter_model.safetensors").read_bytes()
    assert hub.got["adapter_model.safetensors"] == weights
    assert not {name for name in hub.got if "/" in name or name.endswith((".bin", "run.json"))}
    hub.got.clear()
    code, _, said = run("push", out, "me/judge", "--merge")
    assert code == 0, said
    assert "model.safetensors" in hub.got and "adapter_model.safetensors" not in hub.got
    hub.refuses = True
    code, _, said = run("push", out, "me/judge")
    assert code == 2 and "HF_TOKEN" in said
    code, _, said = run("push", tmp_path, "me/judge")
    assert code == 2 and "not the finished folder" in said
