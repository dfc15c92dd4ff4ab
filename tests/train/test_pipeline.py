"""Which model each stage starts from, what is skipped, and what the settings refuse."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from spct.errors import ConfigError
from spct.settings import validated
from spct.train import pipeline
from spct.train.evaluate import ks_up_to
from spct.train.pipeline import STAGES, Pipeline, PipelineConfig, Stage, run


def config(tmp_path: Path, **changes: Any) -> PipelineConfig:
    files = {"out": str(tmp_path / "run"), "base": "BASE", "rft": "r", "rl": "l", "test": "t"}
    return validated(PipelineConfig, {"files": files, **changes}, "test")


@pytest.mark.parametrize(
    ("stages", "models"),
    [
        (STAGES, ["BASE", "cold_start", "rft", "rl"]),
        (("rft_data", "rft", "rl"), ["BASE", "BASE", "rft", "rl"]),  # no cold start
        (("cold_start", "rl"), ["BASE", "cold_start", "cold_start", "rl"]),  # without RFT
        (("cold_start", "rft_data", "rft"), ["BASE", "cold_start", "rft", "rft"]),  # without RL
    ],
)
def test_a_stage_that_is_left_out_passes_the_model_before_it_on(
    tmp_path: Path, stages: tuple[Stage, ...], models: list[str]
) -> None:
    p = Pipeline(config(tmp_path, stages=stages), list)
    found = [Path(p.model(name)).name for name in ("base", "cold_start", "rft", "rl")]
    assert found == models


def test_finished_stages_are_skipped_and_only_runs_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def stage(name: str) -> Callable[[Pipeline], Mapping[str, Any]]:
        def work(p: Pipeline) -> Mapping[str, Any]:
            ran.append(name)
            p.folder(name).mkdir(exist_ok=True)
            return {"name": name}

        return work

    monkeypatch.setattr(pipeline, "RUN", {name: stage(name) for name in STAGES})
    chosen = config(tmp_path)
    reports = run(chosen)
    assert ran == list(STAGES) == list(reports)
    assert run(chosen).keys() == reports.keys()
    assert ran == list(STAGES)
    assert list(run(chosen, ["rl"])) == ["rl"]
    assert ran[-1] == "rl"
    assert len(ran) == len(STAGES) + 1
    written = json.loads((tmp_path / "run/config.json").read_text())
    assert written["rl"]["beta"] == 0.08


def test_a_stage_done_with_other_settings_is_refused_unless_they_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline, "RUN", {name: lambda p, name=name: _folder(p, name) for name in STAGES}
    )
    run(config(tmp_path))
    assert "made_of" not in run(config(tmp_path, rl={"log_steps": 7}))["rl"]
    with pytest.raises(ConfigError, match=r"max_steps: was \d+, now 9999.*--only"):
        run(config(tmp_path, rl={"max_steps": 9999}))
    with pytest.raises(ConfigError, match=r"beta: was 0\.08, now 0\.5"):
        run(config(tmp_path, rl={"beta": 0.5}))
    assert json.loads((tmp_path / "run/config.json").read_text())["rl"]["beta"] == 0.08


def test_a_stage_done_from_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline, "RUN", {name: lambda p, name=name: _folder(p, name) for name in STAGES}
    )
    monkeypatch.chdir(tmp_path)
    Path("l").write_text("one", encoding="utf-8")
    run(config(tmp_path))
    Path("l").write_text("two", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rl.*files\.rl: was"):
        run(config(tmp_path))
    assert list(run(config(tmp_path), ["rl"])) == ["rl"]


def _folder(p: Pipeline, name: str) -> Mapping[str, Any]:
    p.folder(name).mkdir(exist_ok=True)
    return {"name": name}


def test_unknown_keys_are_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        config(tmp_path, rl={"learnin_rate": 1e-5})
    with pytest.raises(ConfigError, match="stages"):
        config(tmp_path, stages=["rlhf"])


def test_cold_start_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"files\.cold_start"):
        pipeline.cold_start(Pipeline(config(tmp_path), list))


def test_ks_are_powers_of_two_and_k_itself() -> None:
    assert ks_up_to(1) == [1]
    assert ks_up_to(8) == [1, 2, 4, 8]
    assert ks_up_to(12) == [1, 2, 4, 8, 12]
