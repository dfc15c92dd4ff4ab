"""One way from a name to a model: judge, sample and bench take what serve and compare take."""

import json
from pathlib import Path

import pytest

from tests.models.tiny import write_model


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scorer")
    write_model(root / "head", head=True)
    (root / "scorer.toml").write_text(f'[scorer]\nfolder = "{root / "head"}"\n')
    return root / "scorer.toml"


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"query": "what is one", "responses": ["good", f"bad {i}"]} for i in range(3)]
    rows = [row | {"gold": [1.0, 0.0]} for row in rows]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Path("pairs.jsonl")


def rewards(text: str) -> list[list[float]]:
    return [json.loads(line)["rewards"] for line in text.splitlines()]


@pytest.mark.parametrize("name", ["scorer.toml", "folder"])
def test_every_command_takes_a_scalar_model_by_its_name(
    run, pairs: Path, scorer: Path, name
) -> None:
    spec = scorer if name == "scorer.toml" else scorer.parent / "head"
    code, judged, err = run("judge", pairs, "--reward-model", spec, "--json")
    assert code == 0 and len(rewards(judged)) == 3, err
    code, folder, err = run("sample", pairs, "--reward-model", spec, "--progress", "none")
    assert code == 0, err
    code, exported, err = run("export", folder.strip())
    assert sorted(rewards(exported)) == sorted(rewards(judged)), err
    code, _, err = run("rescore", folder.strip())
    assert code == 2 and "sample again" in err
    bench = ["-b", pairs, "-k", 1, "--resamples", 100, "--out", "bench", "--json"]
    code, report, err = run("bench", spec, *bench)
    assert code == 0 and json.loads(report)["benchmarks"][0]["units"] == 3, err


def test_a_baseline_and_the_fake_judge_take_k(run, pairs: Path) -> None:
    assert run("judge", pairs, "--reward-model", "length", "--json")[0] == 0
    code, out, err = run("judge", pairs, "--reward-model", "scripted", "-k", 3, "--json")
    assert code == 0 and json.loads(out.splitlines()[0])["k_drawn"] == 3, err


def test_settings_that_would_be_ignored_are_refused(run, pairs: Path) -> None:
    code, _, err = run("judge", pairs, "--reward-model", "length", "--vote", "majority")
    assert code == 2 and "judge.vote would be ignored" in err
    code, _, err = run("judge", pairs, "--reward-model", "lenght")
    assert code == 2 and "did you mean 'length'" in err
    code, _, err = run("judge", pairs, "--reward-model", "length", "--dry-run")
    assert code == 2 and "--dry-run" in err
